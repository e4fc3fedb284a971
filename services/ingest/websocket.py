"""The WebSocket at `/v1/stream`: takes batches and answers them in order, while it reads more.

The write key is in the `Authorization` header. Browsers cannot set one, so their first message is
`{"write_key": "awk_…"}`; keys are not accepted in the address, which logs would show. Then:

    ◀ {"ready": {"project_id": "default"}}
    ▶ {"id": 1, "events": [{"event": "purchase", "distinct_id": "u1", …}, …], "sent_at": …}
    ◀ {"id": 1, "results": [{"event_id": "…", "result": "ok"}]}
    ▶ {"id": 2, "events": 7}
    ◀ {"id": 2, "error": {"code": "invalid", "message": "…", "field": "events"}}

Every message after the key is a batch like the body of `POST /v1/events`. Each gets one answer, in
the order of the messages, with the same results. `id` is text or a whole number; the answer repeats
it, and it may be absent. If a result is `retry`, or an error has `retry_after_s`, send the batch
again after that time.

At most `max_stream_batches` may wait for the broker; beyond that, or while the client does not read
its answers, the server reads no more. At most `max_sockets` connections with a valid key are open:
when all are taken, a project that has fewer than another gets the place of the other's newest
connection, which is answered and closed. Connections that have not shown a key yet are counted
apart (`max_strangers`), and have `key_timeout_s` to do so.

An `error` without `id` is the last message before the connection closes with one of the codes in
`services.sockets`. Batches without an answer by then may or may not be delivered: sent again with
the same `event_id`, their events count once.
"""

import asyncio
import contextlib
import time
from typing import Final, NamedTuple

import msgspec
import structlog
from starlette.types import Receive, Scope, Send
from websockets.frames import CloseCode

from schemas.errors import AvilaError, BackOff, InvalidRequest, NotFound, Unauthorized
from services.ingest.access import Access
from services.ingest.admission import Admission
from services.ingest.body import TooSlow
from services.ingest.events import EventResult
from services.ingest.formats.credentials import key_in
from services.ingest.formats.native_body import read_credential, read_message
from services.ingest.limits import Limits
from services.ingest.pipeline import IngestPipeline
from services.ingest.refusals import headers, refuse
from services.ingest.request_log import RequestLog
from services.ingest.streams import BatchStream, OpenStreams
from services.places import Places
from services.sockets import Gone, MessageId, SlowReader, Socket, close_code, trouble

STREAM_PATH: Final = "/v1/stream"
FORMAT: Final = "websocket"

_OK: Final = 200

_log = structlog.get_logger()


class BatchAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The results of a batch, in the order of its events."""

    id: MessageId
    results: list[EventResult]
    retry_after_s: float = 0


class _PendingBatch(NamedTuple):
    """A batch that was read: the task with its results, or the reason for its refusal."""

    id: MessageId
    results: asyncio.Task[list[EventResult]] | AvilaError
    size: int
    start: float


class _Sender(NamedTuple):
    """The write key of a connection, its origin, and the project of the key."""

    key: str
    origin: str
    project_id: str


class WebSocketEndpoint:
    """Serves the connections of one server. Create and use it in the server's event loop."""

    def __init__(
        self,
        pipeline: IngestPipeline,
        access: Access,
        admission: Admission,
        limits: Limits,
        request_log: RequestLog,
    ) -> None:
        self._pipeline = pipeline
        self._access = access
        self._admission = admission
        self._limits = limits
        self._request_log = request_log
        self._streams = OpenStreams(limits.retry_after_s)
        self._places = Places(
            limits.max_sockets, limits.max_strangers, "sockets (max_sockets)", limits.retry_after_s
        )

    @property
    def open(self) -> int:
        """The number of open connections."""
        return self._streams.open

    async def drain(self) -> None:
        """Stop reading, and close each connection once all it has sent is answered."""
        await self._streams.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it closes."""
        start = time.perf_counter()
        socket = Socket(scope, receive, send, self._limits.write_timeout_s)
        with self._streams.counted():
            try:
                await self._serve(socket)
            except Gone:
                self._request_log.disconnected(FORMAT)
            except AvilaError as error:
                await self._refuse(socket, error, start)
            except Exception:  # noqa: BLE001  # the client gets an answer whatever happens
                _log.exception("ingest_defect", format=FORMAT)
                await socket.close(
                    CloseCode.INTERNAL_ERROR, "an internal error; it has been logged"
                )

    async def refuse_path(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a connection to a path that is not `STREAM_PATH`."""
        socket = Socket(scope, receive, send, self._limits.write_timeout_s)
        answer = refuse(NotFound(f"a WebSocket is accepted at {STREAM_PATH} only"))
        with contextlib.suppress(Gone):
            await socket.deny(answer.status, headers(answer), answer.body)
        self._request_log.answered_elsewhere(
            int(answer.status), 0, client=socket.client, path=scope["path"]
        )

    async def _serve(self, socket: Socket) -> None:
        self._streams.check()
        with self._admission.admit() as reservation:
            stream = BatchStream[_PendingBatch](
                self._limits.max_stream_batches, reservation, self._admission
            )

            async def answer(batch: _PendingBatch) -> None:
                await socket.send(await self._answer(socket, batch))
                stream.release(batch.size)

            try:
                await self._streams.pump(stream, self._read_batches(socket, stream), answer)
            except Gone:
                if reservation.size:  # some batches have no answer
                    raise

    async def _read_batches(self, socket: Socket, stream: BatchStream[_PendingBatch]) -> None:
        """Read and send batches until the client leaves, or its key or its place is lost."""
        sender = await self._authorize(socket)
        with self._places.member(sender.project_id):
            if not socket.accepted:
                await socket.accept()
            ready = {"ready": {"project_id": sender.project_id}}
            await socket.send(msgspec.json.encode(ready))
            while True:
                await stream.room.acquire()
                body = await _receive(socket, self._limits.max_idle_s, "max_idle_s")
                await self._read_batch(body, sender, stream)

    async def _read_batch(
        self, body: bytes, sender: _Sender, stream: BatchStream[_PendingBatch]
    ) -> None:
        """Send the batch of one message, and add it to those that wait for their answers."""
        start = time.perf_counter()
        full: BackOff | None = None
        try:
            await stream.reserve(len(body))
        except BackOff as error:
            full = error
        message_id, batch = read_message(body, self._limits)
        results: asyncio.Task[list[EventResult]] | AvilaError
        if isinstance(batch, InvalidRequest):
            results = batch
        elif full is not None:
            results = full
        else:
            batch.key = batch.key or sender.key
            batch.origin = sender.origin
            try:
                results = await self._pipeline.send(batch)
            except Unauthorized:
                raise
            except AvilaError as error:
                results = error
        stream.pending.put_nowait(_PendingBatch(message_id, results, len(body), start))

    async def _authorize(self, socket: Socket) -> _Sender:
        """Return who sends if the header or the first message has a valid key.

        Only a connection whose header has none is accepted before it has shown its key.
        """
        origin = socket.headers.get(b"origin", b"").decode("latin-1")
        key = key_in(socket.headers)
        if not key:
            with self._places.stranger():
                await socket.accept()
                limit_s = self._limits.key_timeout_s
                key = read_credential(await _receive(socket, limit_s, "key_timeout_s"))
        return _Sender(key, origin, self._access.admit(key, origin, 0))

    async def _answer(self, socket: Socket, batch: _PendingBatch) -> bytes:
        results: list[EventResult] = []
        if isinstance(batch.results, AvilaError):
            status, body = refuse(batch.results).status, trouble(batch.results, batch.id)
        else:
            results = await batch.results
            retry = any(result.result == "retry" for result in results)
            after = self._limits.retry_after_s if retry else 0
            status, body = _OK, msgspec.json.encode(BatchAnswer(batch.id, results, after))
        seconds = time.perf_counter() - batch.start
        self._request_log.answered(FORMAT, int(status), seconds, results, client=socket.client)
        return body

    async def _refuse(self, socket: Socket, error: AvilaError, start: float) -> None:
        """Close the connection with the reason; over HTTP if it was not accepted yet."""
        answer = refuse(error)
        seconds = time.perf_counter() - start
        self._request_log.answered(FORMAT, int(answer.status), seconds, client=socket.client)
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
    """Return the next message; waits at most `limit_s`, a limit named `limit`."""
    try:
        async with asyncio.timeout(limit_s):
            return await socket.receive()
    except TimeoutError:
        raise TooSlow(f"no complete message came for {limit_s:g} s ({limit})") from None
