"""Responses: ClickHouse's headers, the streamed result, and errors at any point of it."""

import asyncio
import json
import secrets
from typing import Final

import msgspec
from starlette.types import Send

from services.sql.messages import without_statement
from services.store.bodies import Spool
from services.store.compression import Compressor, NoCompression, choose_compressor
from services.store.engine import Engine
from services.store.errors import StoreError
from services.store.jobs import Outcome
from services.store.native import (
    BlockCompressor,
    Framing,
    NativeFraming,
    NoFraming,
)
from services.store.requests import Call
from services.store.running import Running
from services.store.statements import Query

# A client that reads nothing for this long is disconnected: it holds a slot.
_SEND_TIMEOUT_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 20

Headers = dict[str, str]


class ClientGone(Exception):
    """The client has disconnected, or has stopped reading."""


# Errors that no query is to blame for: LOGICAL_ERROR, STD_EXCEPTION, UNKNOWN_EXCEPTION.
_DEFECTS: Final = {49, 1001, 1002}


class Reply:
    """One response being sent: a head, then chunks.

    Attributes:
        blames_query: whether errors of the engine have the status 400, if they have no other one,
            and do not quote the statement that ran: it is not the client's.
    """

    def __init__(self, send: Send, headers: Headers) -> None:
        self._send = send
        self._headers = headers
        self.started = False
        self.blames_query = False

    def add(self, headers: Headers) -> None:
        """Add headers to the head, whichever is sent."""
        self._headers |= headers

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head."""
        self.started = True
        raw = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in (self._headers | headers).items()
        ]
        await self._message({"type": "http.response.start", "status": status, "headers": raw})

    async def chunk(self, data: bytes) -> None:
        """Send a part of the body; wait until the client accepts it."""
        if data:
            await self._message({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self._message({"type": "http.response.body", "body": data})

    async def fail(
        self, error: StoreError, version: str, compressor: Compressor | None = None
    ) -> None:
        """Send an error instead of a result, compressed as that would have been."""
        body = f"{error.text} (version {version})\n".encode(errors="replace")
        if compressor is not None:
            body = await compressor.compress(body) + compressor.finish()
            self.add({"Content-Encoding": compressor.encoding} if compressor.encoding else {})
        headers = {
            "X-ClickHouse-Exception-Code": str(error.code),
            "Content-Type": "text/plain; charset=UTF-8",
            "Content-Length": str(len(body)),
        }
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        if error.status == 503:
            headers["Retry-After"] = "1"
        await self.start(self._status(error), headers)
        await self.end(body)

    def shown(self, outcome: Outcome) -> Outcome:
        """Return an outcome as the client may see it."""
        error = outcome.error
        if error is None or not self.blames_query:
            return outcome
        message = without_statement(error.text.partition("DB::Exception: ")[2])
        return msgspec.structs.replace(outcome, error=StoreError(error.code, message, error.status))

    def _status(self, error: StoreError) -> int:
        """Return 400 for a query that fails, where a server answers 500 for most errors."""
        blamed = self.blames_query and error.status == 500 and error.code not in _DEFECTS
        return 400 if blamed else error.status

    async def _message(self, message: dict[str, object]) -> None:
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self._send(message)
        except (OSError, TimeoutError) as error:
            raise ClientGone from error


async def answer(reply: Reply, running: Running, call: Call, engine: Engine, accept: str) -> None:
    """Send the result of `running`: in one piece if it is small, else as a stream.

    With `wait_end_of_query` nothing is sent before the statement has ended, so that an error always
    has its own status; until then the result is held in memory, then in a file. Otherwise an error
    that occurs after the first part is written at the end of the stream, between tags that the
    headers announce.
    """
    compressor = _compressor(call, accept)
    framing = _framing(call, engine)
    with Spool(engine.path) as held:
        streaming = False
        refused: StoreError | None = None
        while data := await running.read():
            try:
                compressed = await compressor.compress(await framing.frame(data))
            except StoreError as error:
                refused = error
                break
            if streaming:
                await reply.chunk(compressed)
                continue
            held.write(compressed)
            may_start = framing.settled and not call.wait_for_end
            if may_start and held.size > call.buffer_bytes:
                streaming = True
                tag = secrets.token_hex(8)
                head = _result_headers(running, call, compressor, Outcome())
                await reply.start(200, head | {"X-ClickHouse-Exception-Tag": tag})
                await _send_held(reply, held)
        outcome = reply.shown(Outcome(refused) if refused else await running.done)
        rest = await compressor.compress(framing.finish())
        if streaming:
            await reply.chunk(rest)
            await _finish(reply, compressor, outcome, tag, engine.version)
            return
        if outcome.error is not None:
            await reply.fail(outcome.error, engine.version, _compressor(call, accept))
            return
        held.write(rest)
        held.write(compressor.finish() if held.size or running.has_result else b"")
        head = _result_headers(running, call, compressor, outcome)
        await reply.start(200, head | {"Content-Length": str(held.size)})
        await _send_held(reply, held)
        await reply.end()


def _compressor(call: Call, accept: str) -> Compressor:
    if call.in_blocks:
        return BlockCompressor()
    return choose_compressor(accept) if call.compressed else NoCompression()


def _framing(call: Call, engine: Engine) -> Framing:
    statement = call.job.statement
    named = statement.format.decode(errors="replace") if isinstance(statement, Query) else ""
    if call.revision and (named or call.job.format).lower() == "native":
        return NativeFraming(call.revision, lambda: engine.column_types(call.job))
    return NoFraming()


async def _finish(
    reply: Reply, compressor: Compressor, outcome: Outcome, tag: str, version: str
) -> None:
    if outcome.error is None:
        await reply.end(compressor.finish())
        return
    text = f"{outcome.error.text} (version {version})\n".encode(errors="replace")
    block = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (
        *(tag.encode(), text, len(text), tag.encode()),
    )
    await reply.chunk(await compressor.compress(block))
    await reply.chunk(compressor.finish())
    # Without the last chunk the transfer is incomplete, also for clients that ignore the tags.
    raise ClientGone


async def _send_held(reply: Reply, held: Spool) -> None:
    held.rewind()
    while data := held.read(_CHUNK_BYTES):
        await reply.chunk(data)


def _result_headers(
    running: Running, call: Call, compressor: Compressor, outcome: Outcome
) -> Headers:
    summary = {
        "read_rows": outcome.read_rows,
        "read_bytes": outcome.read_bytes,
        "written_rows": outcome.written_rows,
        "written_bytes": outcome.written_bytes,
        "total_rows_to_read": "0",
        "result_rows": outcome.result_rows or outcome.written_rows,
        "result_bytes": outcome.read_bytes,
        "elapsed_ns": outcome.elapsed_ns,
    }
    headers = {
        "X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in summary.items()}),
        "Content-Type": "text/plain; charset=UTF-8",
    }
    statement = call.job.statement
    if running.has_result and isinstance(statement, Query):
        name = statement.format.decode(errors="replace") or call.job.format
        headers["X-ClickHouse-Format"] = name
        headers["Content-Type"] = content_type(name)
        if compressor.encoding:
            headers["Content-Encoding"] = compressor.encoding
    return headers


def content_type(format_name: str) -> str:
    """Return the media type that ClickHouse sends for a format."""
    name = format_name.lower()
    if name.startswith(("jsoneachrow", "jsoncompacteachrow", "jsonstringseachrow", "ndjson")):
        return "application/x-ndjson; charset=UTF-8"
    if name.startswith("json"):
        return "application/json; charset=UTF-8"
    if name.startswith("csv"):
        present = "present" if "withnames" in name else "absent"
        return f"text/csv; charset=UTF-8; header={present}"
    if name.startswith(("tabseparated", "tsv")):
        return "text/tab-separated-values; charset=UTF-8"
    if name == "xml":
        return "application/xml; charset=UTF-8"
    if name.startswith(("native", "rowbinary", "arrow", "parquet", "avro", "orc", "msgpack")):
        return "application/octet-stream"
    return "text/plain; charset=UTF-8"
