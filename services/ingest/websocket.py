"""The WebSocket at `/v1/stream`: batches in, answered in their order while more of them are read.

The write key is in the `Authorization` header or, as browsers cannot set one, the first message is
`{"write_key": "awk_…"}`: neither an address nor a header, so no log has it. Then both sides go on:

    ◀ {"ready": {"project_id": "default"}}
    ▶ {"id": 1, "events": [{"event": "purchase", "distinct_id": "u1", …}, …], "sent_at": …}
    ◀ {"id": 1, "results": [{"event_id": "…", "result": "ok"}]}
    ▶ {"id": 2, "events": 7}
    ◀ {"id": 2, "error": {"code": "invalid", "message": "…", "field": "events"}}

Every message after the key is a batch, as in the body of `POST /v1/events`, and has one answer, in
the order of the messages; `id` (text or a whole number, may be left out) comes back as it was sent.
Results are those of that door; where one is `retry`, or the error says so, `retry_after_s` is when
to send it again. `max_stream_batches` may wait for the broker; while there are so many, or their
answers are not read, no more is read. An `error` without `id` is the last message, and a code of
`services.sockets` follows. What is not answered by then may stand or not: sent again with the same
`event_id`, it counts once.
"""

import asyncio
import time
from typing import Final, NamedTuple

import msgspec
import structlog
from starlette.types import Receive, Scope, Send
from websockets.frames import CloseCode

from schemas.errors import AvilaError, BackOff, InvalidRequest, Unauthorized
from services.ingest.access import Access
from services.ingest.admission import Admission
from services.ingest.body import TooSlow
from services.ingest.events import Result
from services.ingest.formats.credentials import key_in
from services.ingest.formats.native import read_credential, read_message
from services.ingest.limits import Limits
from services.ingest.pipeline import IngestPipeline
from services.ingest.refusals import headers, refuse
from services.ingest.request_log import RequestLog
from services.ingest.streams import Stream, Streams
from services.sockets import Gone, MessageId, SlowReader, Socket, close_code, trouble

STREAM: Final = "/v1/stream"
DOOR: Final = "websocket"

_OK: Final = 200

_log = structlog.get_logger()


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """The results of a batch, in the order of its events."""

    id: MessageId
    results: list[Result]
    retry_after_s: float = 0


class _Read(NamedTuple):
    """A batch that was read: what gives its results, or why it is refused."""

    id: MessageId
    results: asyncio.Task[list[Result]] | AvilaError
    size: int
    start: float


class _Sender(NamedTuple):
    """Who sends, as far as batches do not say."""

    key: str
    origin: str


class Sockets:
    """Serves the connections of one server; to be made and used in its event loop."""

    def __init__(
        self,
        path: IngestPipeline,
        access: Access,
        admission: Admission,
        limits: Limits,
        journal: RequestLog,
    ) -> None:
        self._path = path
        self._access = access
        self._admission = admission
        self._limits = limits
        self._journal = journal
        self._streams = Streams(limits.max_sockets, "max_sockets", limits.retry_after_s)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self._streams.open

    async def drain(self) -> None:
        """Read no more, and close every connection when what was read from it is answered."""
        await self._streams.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        start = time.perf_counter()
        socket = Socket(scope, receive, send, self._limits.write_timeout_s)
        with self._streams.counted():
            try:
                await self._serve(socket)
            except Gone:
                self._journal.gone(DOOR)
            except AvilaError as error:
                await self._refuse(socket, error, start)
            except Exception:  # noqa: BLE001  # whatever it is, this client gets an answer
                _log.exception("ingest_defect", door=DOOR)
                await socket.close(CloseCode.INTERNAL_ERROR, "an error of ours; it has been logged")

    async def _serve(self, socket: Socket) -> None:
        self._streams.check()
        with self._admission.admit() as hold:
            stream = Stream[_Read](self._limits.max_stream_batches, hold, self._admission)

            async def answer(read: _Read) -> None:
                await socket.send(await self._answer(socket, read))
                stream.forget(read.size)

            try:
                await self._streams.pump(stream, self._read_on(socket, stream), answer)
            except Gone:
                if hold.size:  # else it has all its answers
                    raise

    async def _read_on(self, socket: Socket, stream: Stream[_Read]) -> None:
        """Send what comes, until the other side leaves or its key is not good any more."""
        sender = await self._admit(socket)
        idle_s = self._limits.max_idle_s
        while True:
            await stream.room.acquire()
            body = await _receive(socket, idle_s, "max_idle_s")
            start = time.perf_counter()
            full: BackOff | None = None
            try:
                await stream.hold_when_there_is_room(len(body))
            except BackOff as error:
                full = error
            name, batch = read_message(body)
            results: asyncio.Task[list[Result]] | AvilaError
            if isinstance(batch, InvalidRequest):
                results = batch
            elif full is not None:
                results = full
            else:
                batch.key = batch.key or sender.key
                batch.origin = sender.origin
                try:
                    results = await self._path.send(batch)
                except Unauthorized:
                    raise
                except AvilaError as error:
                    results = error
            stream.sent.put_nowait(_Read(name, results, len(body), start))

    async def _admit(self, socket: Socket) -> _Sender:
        """Take the connection of whoever shows a good key: before that in the header, or after."""
        origin = socket.headers.get(b"origin", b"").decode("latin-1")
        key = key_in(socket.headers)
        if key:
            project_id = self._access.admit(key, origin, 0)
            await socket.accept()
        else:
            await socket.accept()
            first = await _receive(socket, self._limits.read_timeout_s, "read_timeout_s")
            key = read_credential(first)
            project_id = self._access.admit(key, origin, 0)
        await socket.send(msgspec.json.encode({"ready": {"project_id": project_id}}))
        return _Sender(key, origin)

    async def _answer(self, socket: Socket, read: _Read) -> bytes:
        results: list[Result] = []
        if isinstance(read.results, AvilaError):
            status, body = refuse(read.results).status, trouble(read.results, read.id)
        else:
            results = await read.results
            retry = any(result.result == "retry" for result in results)
            after = self._limits.retry_after_s if retry else 0
            status, body = _OK, msgspec.json.encode(Answered(read.id, results, after))
        seconds = time.perf_counter() - read.start
        self._journal.answered(DOOR, int(status), seconds, results, client=socket.client)
        return body

    async def _refuse(self, socket: Socket, error: AvilaError, start: float) -> None:
        """End the connection, in HTTP if it has not begun."""
        answer = refuse(error)
        seconds = time.perf_counter() - start
        self._journal.answered(DOOR, int(answer.status), seconds, client=socket.client)
        try:
            if not socket.accepted:
                await socket.deny(answer.status, headers(answer), answer.body)
                return
            if not isinstance(error, SlowReader):
                await socket.send(trouble(error))
        except (Gone, SlowReader):
            pass
        code = CloseCode.SERVICE_RESTART if self._streams.stopping else close_code(error)
        await socket.close(code, str(error))


async def _receive(socket: Socket, limit_s: float, limit: str) -> bytes:
    """The next message, which is waited for as long as the limit called `limit` says."""
    try:
        async with asyncio.timeout(limit_s):
            return await socket.receive()
    except TimeoutError:
        raise TooSlow(f"no message was whole for {limit_s:g} s ({limit})") from None
