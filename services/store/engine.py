"""The engine: ClickHouse in this process on one path, running one statement per slot.

How it works around the limits of chDB:

- A handle runs one query at a time and keeps the effects of `SET` and `USE`. Opening one takes a
  fifth of a millisecond, so each query has its own and never sees another's settings. One more
  handle stays open as long as the engine, since closing the last one shuts the engine down.
- Each chunk of a streamed result is a complete document of its format (with a CSV header, or as an
  Arrow file). So INTO OUTFILE writes the result into a pipe: that is one document in every format,
  in bounded memory, since the engine waits while the pipe is full.
- FROM INFILE reads the rows of an INSERT from a file in memory; the engine parses them.
- A query cannot have an id of the caller's choice. `log_comment` carries that id, and KILL QUERY
  finds it there. The engine does not notice that the reader of the pipe has gone.
- Its database `default` finds any file of the machine by its path. So we attach the part of it that
  has the tables instead, each time the engine is opened.
- The engine's threads do not survive a fork: nothing may fork once the engine is open.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import chdb
import structlog
from chdb import ChdbError

from schemas.errors import Misconfigured
from services.store.errors import Code, StoreError, engine_error
from services.store.jobs import Job, Outcome, Table
from services.store.reach import refused_names
from services.store.running import Running
from services.store.statements import Insert, Query

log = structlog.get_logger(__name__)

# Defaults of clickhouse-local that a server does not have
_SERVER_DEFAULTS: Final = {"implicit_select": "0", "allow_introspection_functions": "0"}
# A server's mark cache is too large for a laptop. A server's memory watcher wakes up every few
# milliseconds, which takes a tenth of a core from an idle store.
# Statements of clients cannot back up or restore (`reach`), so any path is allowed.
_ENGINE_OPTIONS: Final = (
    f"mark_cache_size={256 << 20}&memory_worker_period_ms=1000&backups.allowed_path=/"
)
# Settings that forbid to create and fill the temporary tables of external data
_BARS_EXTERNAL_DATA: Final = re.compile(r"\b(?:readonly|allow_ddl|async_insert)\b", re.IGNORECASE)
_SETTING_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_WAIT_S: Final = 30.0
_MAX_SESSIONS: Final = 1_000
_MAX_SESSION_STATEMENTS: Final = 100


class Engine:
    """ClickHouse's engine on `path`: `handles` statements run at once, `waiting` more queue."""

    def __init__(self, path: Path, *, handles: int, waiting: int) -> None:
        self.path = path.resolve()
        self.version = ""
        self.timezone = ""
        self.refused: frozenset[bytes] = frozenset()  # see `services.store.reach`
        self._workers = ThreadPoolExecutor(handles, "query")
        self._control = ThreadPoolExecutor(1, "control")
        self._describers = ThreadPoolExecutor(2, "describe")
        self._slots = asyncio.Semaphore(handles)
        self._handles = handles
        self._max_waiting = waiting
        self._waiting = 0
        self._running: dict[str, Running] = {}
        self._sessions: OrderedDict[str, list[bytes]] = OrderedDict()
        self._keeper: Any = None
        self._lock = -1

    def open(self) -> None:
        """Lock the path and start the engine, unless it is open; blocks for a moment.

        Raises:
            Misconfigured: another process uses the path, or it cannot be read or written.
        """
        if self._keeper is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "store.lock", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise Misconfigured(
                f"the store in {self.path} is in use by another process: each store needs its own "
                "directory; stop the other one, or set another AVILA_DATA_DIR"
            ) from None
        except OSError as error:
            raise Misconfigured(
                f"the store's directory {self.path} cannot be used: {error}"
            ) from error
        try:
            self._keeper = chdb.connect(f"{self.path}?{_ENGINE_OPTIONS}")
            row = self._keeper.query("SELECT version(), timezone()", "TabSeparated").bytes()
        except (ChdbError, RuntimeError) as error:
            os.close(self._lock)
            raise Misconfigured(
                f"the store in {self.path} cannot be opened: {engine_error(str(error))}"
            ) from error
        self.version, self.timezone = row.decode().strip().split("\t")
        self._open_tables_only()
        functions, engines, databases = (
            [row[0] for row in self._rows(sql)]
            for sql in (
                "SELECT name FROM system.table_functions",
                "SELECT name FROM system.table_engines",
                "SELECT name FROM system.database_engines",
            )
        )
        self.refused = refused_names(functions, [*engines, *databases])

    def _open_tables_only(self) -> None:
        """Replace the database `default`, in which clickhouse-local finds files by their paths.

        Its tables are in the usual database that is a part of it, and has the same id.
        """
        (engine, uuid), *_ = self._rows(
            "SELECT engine, uuid FROM system.databases WHERE name = 'default'"
        )
        if engine != "Atomic":
            self._keeper.query("DETACH DATABASE default")
            self._keeper.query(f"ATTACH DATABASE default UUID '{uuid}' ENGINE = Atomic")

    def _rows(self, sql: str) -> list[list[str]]:
        text = self._keeper.query(sql, "TabSeparated").bytes().decode()
        return [line.split("\t") for line in text.splitlines()]

    async def close(self) -> None:
        """Cancel running statements and shut the engine down; acknowledged inserts are on disk."""
        for running in list(self._running.values()):
            running.cancel()
        await asyncio.gather(*(running.close() for running in list(self._running.values())))
        await asyncio.to_thread(self._shut)

    def run_own(self, statement: str) -> str:
        """Run a statement of this process, which nothing restricts, and return its result; blocks.

        Raises:
            StoreError: the engine refuses it.
        """
        handle: Any = chdb.connect(str(self.path))
        try:
            text: str = handle.query(statement, "TabSeparated").bytes().decode()
            return text
        except (ChdbError, RuntimeError) as error:
            raise engine_error(str(error)) from error
        finally:
            handle.close()

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the slots inside the block, after a bounded wait.

        Raises:
            StoreError: TOO_MANY_SIMULTANEOUS_QUERIES if the queue is full or the wait is too long.
        """
        if self._slots.locked() and self._waiting >= self._max_waiting:
            raise self._too_many()
        self._waiting += 1
        try:
            async with asyncio.timeout(_MAX_WAIT_S):
                await self._slots.acquire()
        except TimeoutError:
            raise self._too_many() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    @contextlib.asynccontextmanager
    async def run(self, job: Job) -> AsyncIterator[Running]:
        """Run `job`, which holds a slot. Leaving the block early cancels it and waits for its end.

        Raises:
            StoreError: a query with the same id or in the same session is running.
        """
        if job.query_id in self._running:
            raise StoreError(
                Code.QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING,
                f"Query with id = {job.query_id} is already running",
            )
        sessions = {running.job.session_id for running in self._running.values()}
        if job.session_id and job.session_id in sessions:
            raise StoreError(
                Code.SESSION_IS_LOCKED,
                f"Session {job.session_id} is locked by a concurrent client",
            )
        running = Running(job, self._workers, self._execute, self._kill_from_loop)
        self._running[job.query_id] = running
        running.done.add_done_callback(lambda _: self._running.pop(job.query_id, None))
        try:
            yield running
        finally:
            running.cancel()
            # The engine uses the handle until then, even if this task is cancelled meanwhile.
            await asyncio.shield(running.close())

    async def column_types(self, job: Job) -> list[bytes]:
        """Return the types of the columns of `job`'s result; none if the engine does not say."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._describers, self._describe, job)

    async def _kill_from_loop(self, query_id: str) -> None:
        await asyncio.get_running_loop().run_in_executor(self._control, self._kill, query_id)

    def _execute(self, running: Running, target: int) -> Outcome:
        """Run the statement on this thread, and write its result to the descriptor `target`.

        Raises:
            ChdbError: the engine's error, as text.
            StoreError: the statement is not supported here.
        """
        job = running.job
        handle: Any = chdb.connect(str(self.path))
        try:
            self._prepare(handle, job)
            if isinstance(job.statement, Insert):
                sql = job.statement.reading(job.rows_path)
                return _outcome(handle.query(sql, job.format, params=dict(job.parameters)))
            return self._query(handle, running, job.statement, target)
        finally:
            handle.close()

    def _describe(self, job: Job) -> list[bytes]:
        if not isinstance(job.statement, Query):
            return []
        handle: Any = chdb.connect(str(self.path))
        try:
            self._prepare(handle, job, rows=False)
            described = handle.query(
                job.statement.describing(), "JSONCompactEachRow", params=dict(job.parameters)
            )
            return [json.loads(line)[1].encode() for line in described.bytes().splitlines()]
        except (ChdbError, RuntimeError) as error:
            log.debug("columns not described", query_id=job.query_id, error=str(error))
            return []
        finally:
            handle.close()

    def _prepare(self, handle: Any, job: Job, *, rows: bool = True) -> None:
        comment = job.settings.get("log_comment", "")
        settings = {
            **_SERVER_DEFAULTS,
            **job.settings,
            "log_comment": f"{comment} {job.query_id}".strip(),
        }
        for name in settings:
            if not _SETTING_NAME.fullmatch(name):
                raise StoreError(Code.UNKNOWN_SETTING, f"Unknown setting '{name}'")
        of_session = self._sessions.get(job.session_id, ())
        if job.tables:
            # External data is parsed with the settings of its query; some would prevent the insert.
            for statement in of_session:
                if not _BARS_EXTERNAL_DATA.search(statement.decode(errors="replace")):
                    handle.query(statement)
            _set(handle, {k: v for k, v in settings.items() if not _BARS_EXTERNAL_DATA.search(k)})
            for table in job.tables:
                _create(handle, table)
                if rows:
                    _fill(handle, table)
        for statement in of_session:
            handle.query(statement)
        if job.database:
            handle.query(f"USE {_name(job.database)}")
        _set(handle, settings)

    def _query(self, handle: Any, running: Running, query: Query, target: int) -> Outcome:
        job = running.job
        # The binding has no public function for the engine's own classifier.
        facts = handle._conn.classify_query(query.text.decode(errors="replace"))  # noqa: SLF001
        if facts["statement_count"] > 1:
            raise StoreError(Code.SYNTAX_ERROR, "Syntax error: Multi-statements are not allowed")
        kind = facts["query_class"].name
        parameters = dict(job.parameters)
        if kind == "READ_ONLY":
            running.mark_reading()
            try:
                sql = query.writing(f"/dev/fd/{target}", job.format)
                outcome = _outcome(handle.query(sql, job.format, params=parameters))
                return outcome.within(job.settings)
            except ChdbError as error:
                if engine_error(str(error)).code != Code.SYNTAX_ERROR:
                    raise
        # Other statements have small results; and a syntax error should quote the original text.
        words = query.text.upper().split(maxsplit=2)
        if job.session_id and words[:2] == [b"CREATE", b"TEMPORARY"]:
            raise StoreError(
                Code.NOT_IMPLEMENTED,
                "Sessions keep SET and USE, not temporary tables: send external data instead",
            )
        text = self._with_engine_ids(query.text) if words[:1] == [b"KILL"] else query.text
        result = handle.query(text, job.format, params=parameters)
        body = result.bytes()
        if not facts["statement_count"] and not body and not result.rows_written():
            # The engine ignores an unclosed comment or stray bytes; a server refuses them.
            raise StoreError(Code.SYNTAX_ERROR, "Syntax error: Empty query")
        running.has_result = running.has_result or bool(body)
        if job.session_id and words[0] in {b"SET", b"USE"}:
            self._remember(job.session_id, query.text)
        with contextlib.suppress(BrokenPipeError):
            _write(target, body)
        return _outcome(result)

    def _remember(self, session_id: str, statement: bytes) -> None:
        statements = [*self._sessions.pop(session_id, []), statement]
        self._sessions[session_id] = statements[-_MAX_SESSION_STATEMENTS:]
        while len(self._sessions) > _MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def _with_engine_ids(self, text: bytes) -> bytes:
        """Replace callers' query ids with the engine's own, for KILL QUERY."""
        for query_id in list(self._running):
            literal = _literal(query_id)
            if literal.encode() in text:
                found = f"(SELECT query_id FROM system.processes WHERE {_is_query(query_id)})"  # noqa: S608
                text = text.replace(literal.encode(), found.encode())
        return text

    def _kill(self, query_id: str) -> None:
        try:
            self._keeper.query(f"KILL QUERY WHERE {_is_query(query_id)} ASYNC")
        except (ChdbError, RuntimeError) as error:
            log.warning("query not cancelled", query_id=query_id, error=str(error))

    def _shut(self) -> None:
        self._workers.shutdown()
        self._control.shutdown()
        self._describers.shutdown()
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _too_many(self) -> StoreError:
        return StoreError(
            Code.TOO_MANY_SIMULTANEOUS_QUERIES,
            f"Too many simultaneous queries: {self._handles} running, {self._waiting} queued",
        )


def _set(handle: Any, settings: Mapping[str, str]) -> None:
    handle.query("SET " + ", ".join(f"{k} = {_literal(v)}" for k, v in settings.items()))


def _create(handle: Any, table: Table) -> None:
    """Create the temporary table of external data."""
    handle.query(f"CREATE TEMPORARY TABLE {_name(table.name)} ({table.structure})")


def _fill(handle: Any, table: Table) -> None:
    source = f"FROM INFILE '{table.path}' FORMAT {table.format}"
    try:
        handle.query(f"INSERT INTO {_name(table.name)} {source}")
    except ChdbError as error:
        raise engine_error(str(error), inserting=True) from error


def _outcome(result: Any) -> Outcome:
    return Outcome(
        read_rows=result.storage_rows_read() or result.rows_read(),
        read_bytes=result.storage_bytes_read() or result.bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )


def _is_query(query_id: str) -> str:
    return f"endsWith(Settings['log_comment'], {_literal(query_id)})"


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _name(value: str) -> str:
    return "`" + value.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
