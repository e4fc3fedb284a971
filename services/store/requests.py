"""Requests: statement, rows and options, read from the URL, the headers and the body.

Nothing reaches the engine before the body is complete and decompressed.
"""

import asyncio
import re
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from services.store.bodies import Decompressor, Spool
from services.store.errors import Code, StoreError
from services.store.forms import read_form
from services.store.jobs import Job, Table
from services.store.native import BlockDecompressor
from services.store.statements import Insert, Query, is_column_list, read_statement

# The text of an INSERT ends within this much of the body; rows follow.
_HEAD_BYTES: Final = 1 << 20
_MAX_STATEMENT_BYTES: Final = 64 << 20
_MAX_FORM_BYTES: Final = 256 << 20
_BUFFER_BYTES: Final = 1 << 20
_REVISION: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_WORD: Final = re.compile(r"\w+", re.ASCII)

# The arguments of ClickHouse's HTTP interface itself; every other argument is a setting.
_OWN_ARGUMENTS: Final = frozenset(
    {
        *("query", "query_id", "database", "default_format", "user", "password", "quota_key"),
        *("role", "session_id", "session_timeout", "session_check", "close_session"),
        *("buffer_size", "wait_end_of_query", "client_protocol_version", "stacktrace"),
        *("compress", "decompress"),
    }
)


class Call(msgspec.Struct, frozen=True):
    """A request that is ready to run, and how to send its response."""

    job: Job
    wait_for_end: bool
    buffer_bytes: int
    compressed: bool  # as Accept-Encoding allows
    in_blocks: bool  # compressed in ClickHouse's own blocks
    revision: int  # of the Native format
    values: Sequence[Spool]  # rows in the format Values


def read_arguments(request: Request) -> dict[str, str]:
    """Return the URL's arguments; bytes that are not UTF-8 are kept (surrogateescape)."""
    raw = request.scope["query_string"].decode("latin-1")
    return dict(parse_qsl(raw, keep_blank_values=True, errors="surrogateescape"))


async def read_call(
    request: Request, arguments: dict[str, str], directory: Path, spools: ExitStack
) -> Call | None:
    """Read the request to its end; return None if it has no statement.

    The files with its rows live until `spools` is closed.

    Raises:
        StoreError: the request is malformed or too large; nothing has run.
    """
    in_blocks = _is_set(arguments, "decompress")
    tables: list[tuple[Table, Spool]] = []
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        if in_blocks:
            raise StoreError(
                Code.NOT_IMPLEMENTED, "decompress=1 does not work with a form: use Content-Encoding"
            )
        reader = _BodyReader(b"", directory, spools)
        fields, files = read_form(await _read_body(request, _MAX_FORM_BYTES), request.headers)
        arguments = arguments | fields
        tables = [
            _external_table(name, data, arguments, directory, spools)
            for name, data in files.items()
        ]
        reader.write(arguments.get("query", "").encode(errors="surrogateescape"))
    else:
        query = arguments.get("query", "").encode(errors="surrogateescape")
        reader = _BodyReader(query, directory, spools)
        await _read_into(request, reader, in_blocks=in_blocks)
    statement = reader.finish()
    if statement is None:
        return None
    return _call(request, arguments, statement, reader, tables)


class _BodyReader:
    """Separates a statement from the rows that follow it; rows go straight into a spool."""

    def __init__(self, query: bytes, directory: Path, spools: ExitStack) -> None:
        self._head = bytearray(query + b"\n" if query else b"")
        self._directory = directory
        self._spools = spools
        self._statement: Insert | Query | None = None
        self._looked = False
        self.rows: Spool | None = None
        self._find_rows()
        self._looked = False

    def write(self, data: bytes) -> None:
        if self.rows is not None:
            self.rows.write(data)
            return
        self._head += data
        if not self._looked and len(self._head) > _HEAD_BYTES:
            self._find_rows()
        if self.rows is None and len(self._head) > _MAX_STATEMENT_BYTES:
            raise StoreError(
                Code.QUERY_IS_TOO_LARGE, f"The query has more than {_MAX_STATEMENT_BYTES} bytes"
            )

    def finish(self) -> Insert | Query | None:
        if self.rows is None:
            self._find_rows()
        if self.rows is not None:
            self.rows.rewind()
        return self._statement

    def _find_rows(self) -> None:
        """Parse the head; if it is an INSERT, move the rows behind it into a spool."""
        self._looked = True
        head = bytes(self._head)
        if not head.strip(b" \t\r\n;"):
            return
        self._statement = read_statement(head)
        if isinstance(self._statement, Insert):
            self.rows = self._spools.enter_context(Spool(self._directory))
            self.rows.write(head[self._statement.data_at :])
            self._head.clear()


async def _read_into(request: Request, reader: _BodyReader, *, in_blocks: bool) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"", "identity"} and not in_blocks:
        async for chunk in request.stream():
            reader.write(chunk)
        return
    blocks = BlockDecompressor(reader)
    if encoding in {"", "identity"}:
        async for chunk in request.stream():
            await asyncio.to_thread(blocks.write, chunk)
    else:
        decompressor = Decompressor(encoding)
        sink = blocks if in_blocks else reader
        async for chunk in request.stream():
            decompressor.feed(chunk, sink)
        decompressor.finish()
    blocks.finish()


async def _read_body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise StoreError(Code.QUERY_IS_TOO_LARGE, f"The form has more than {limit} bytes")
    return bytes(body)


def _call(
    request: Request,
    arguments: dict[str, str],
    statement: Insert | Query,
    reader: _BodyReader,
    tables: list[tuple[Table, Spool]],
) -> Call:
    own, settings, parameters = _sort(arguments, {table.name for table, _ in tables})
    if request.method != "POST" and settings.get("readonly", "0") == "0":
        # As on a server: a GET must be safe to repeat.
        settings["readonly"] = "2"
    format_name = (
        request.headers.get("x-clickhouse-format") or own.get("default_format") or "TabSeparated"
    )
    if role := own.get("role", ""):
        raise StoreError(Code.UNKNOWN_ROLE, f"There is no role {role!a}: this store has no roles")
    database = request.headers.get("x-clickhouse-database") or own.get("database", "")
    session_id = own.get("session_id", "")
    if database == "default" and not session_id:
        database = ""  # every statement starts there
    query_id = _text("query_id", own.get("query_id", "")) or str(uuid.uuid4())
    if not query_id.isprintable():
        raise StoreError(Code.BAD_ARGUMENTS, "The query_id has characters that cannot be printed")
    values = [spool for table, spool in tables if table.format.lower() == "values"]
    if isinstance(statement, Insert) and reader.rows and statement.format.lower() == b"values":
        values.append(reader.rows)
    job = Job(
        statement=statement,
        query_id=query_id,
        rows_path=reader.rows.path if reader.rows else "",
        format=_word(format_name, Code.UNKNOWN_FORMAT),
        database=_text("database", database),
        settings=settings,
        parameters=parameters,
        tables=[table for table, _ in tables],
        session_id=session_id,
    )
    return Call(
        job=job,
        wait_for_end=_is_set(own, "wait_end_of_query"),
        # Who asks not to wait gets each part at once.
        buffer_bytes=_number(
            own, "buffer_size", 0 if own.get("wait_end_of_query") == "0" else _BUFFER_BYTES
        ),
        compressed=_is_set(settings, "enable_http_compression"),
        in_blocks=_is_set(own, "compress"),
        revision=_revision(own),
        values=values,
    )


def _sort(
    arguments: Mapping[str, str], tables: set[str]
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    own, settings, parameters = {}, {}, {}
    described = {f"{name}_{what}" for name in tables for what in ("format", "structure", "types")}
    for name, value in arguments.items():
        if name in _OWN_ARGUMENTS:
            own[name] = value
        elif name.startswith("param_"):
            parameters[name.removeprefix("param_")] = _text(name, value)
        elif name not in described:
            settings[name] = _text(name, value)
    return own, settings, parameters


def _external_table(
    name: str, data: bytes, arguments: Mapping[str, str], directory: Path, spools: ExitStack
) -> tuple[Table, Spool]:
    structure = arguments.get(f"{name}_structure", "")
    if not structure:
        types = arguments.get(f"{name}_types", "")
        structure = ", ".join(f"_{at} {kind}" for at, kind in enumerate(types.split(","), 1))
        structure = structure if types else ""
    if not is_column_list(structure.encode(errors="surrogateescape")):
        raise StoreError(
            Code.BAD_ARGUMENTS,
            f"External table {name} needs {name}_structure or {name}_types: a list of columns",
        )
    spool = spools.enter_context(Spool(directory))
    spool.write(data)
    spool.rewind()
    format_name = _word(arguments.get(f"{name}_format", "TabSeparated"), Code.UNKNOWN_FORMAT)
    return Table(name, structure, format_name, spool.path), spool


def _is_set(arguments: Mapping[str, str], name: str) -> bool:
    return arguments.get(name, "0").lower() in {"1", "true"}


def _revision(arguments: Mapping[str, str]) -> int:
    value = arguments.get("client_protocol_version", "0")
    if not _REVISION.fullmatch(value):
        raise StoreError(
            Code.BAD_ARGUMENTS, f"client_protocol_version must be a number, not {value!a}"
        )
    return int(value)


def _number(arguments: Mapping[str, str], name: str, default: int) -> int:
    value = arguments.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else default


def _word(value: str, code: Code) -> str:
    if not _WORD.fullmatch(value):
        raise StoreError(code, f"'{value}' is not a name")
    return value


def _text(name: str, value: str) -> str:
    try:
        (name + value).encode()
    except UnicodeEncodeError:
        raise StoreError(Code.BAD_ARGUMENTS, f"{name!a} or its value is not UTF-8") from None
    return value
