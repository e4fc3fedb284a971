"""The calls of `avila.v1.Ingest`: one batch a call, or a stream of batches.

Both are registered as streams, so that a call can be refused before its message is read. The key is
in the metadata: a call without a valid one ends at once, and takes no place of those that have one
(`max_calls`, shared between projects as `services.places` says). A call has its place while its
messages are received; what waits for the broker then is bounded by `services.ingest.admission`.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple
from urllib.parse import unquote

import grpc
import structlog

from schemas.errors import AvilaError, BackOff, InvalidRequest
from services.errors import code_of
from services.ingest.access import Access
from services.ingest.admission import Admission, Reservation
from services.ingest.body import TooSlow
from services.ingest.events import Batch, EventResult
from services.ingest.formats import protobuf
from services.ingest.limits import Limits
from services.ingest.pipeline import IngestPipeline
from services.ingest.request_log import RequestLog
from services.ingest.streams import BatchStream, OpenStreams
from services.places import Places

# `read` returns bytes, or `grpc.aio.EOF` at the end of a call.
Context = grpc.aio.ServicerContext[bytes | object, bytes]

FORMAT: Final = "grpc"

_log = structlog.get_logger()


class _PendingBatch(NamedTuple):
    """A batch of a stream that waits for the broker."""

    results: asyncio.Task[list[EventResult]]
    size: int
    start: float


class IngestService:
    """Serves the calls of one server. Create and use it in the server's event loop."""

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
            limits.max_calls, what="calls (max_calls)", retry_after_s=limits.retry_after_s
        )

    async def drain(self) -> None:
        """Stop reading and accepting calls; return when the open ones are answered.

        A stream ends when all batches read from it are answered; its client is told to reconnect.
        """
        await self._streams.drain()

    async def track(self, _: AsyncIterator[bytes], context: Context) -> bytes:
        """Answer a call with one batch."""
        start = time.perf_counter()
        async with self._errors_as_statuses(context, start):
            key, project_id = self._authorize(context)
            with self._admission.admit() as reservation:
                with self._places.member(project_id):
                    body = await self._receive(context)
                reservation.grow(len(body))
                results = await self._pipeline.take(self._parse(body, key))
            if any(result.result == "retry" for result in results):
                context.set_trailing_metadata(_retry_metadata(self._limits.retry_after_s))
            return self._answer(context, results, start)

    async def track_stream(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Answer a stream of batches in order, while reading more of them."""
        async with self._errors_as_statuses(context, time.perf_counter()):
            with self._admission.admit() as reservation:
                await self._pump(context, reservation)

    async def _pump(self, context: Context, reservation: Reservation) -> None:
        stream = BatchStream[_PendingBatch](
            self._limits.max_stream_batches, reservation, self._admission
        )

        async def answer(batch: _PendingBatch) -> None:
            await context.write(self._answer(context, await batch.results, batch.start))
            stream.release(batch.size)

        await self._streams.pump(stream, self._read_batches(context, stream), answer)

    async def _read_batches(self, context: Context, stream: BatchStream[_PendingBatch]) -> None:
        """Read and send batches until the stream ends, a batch is refused or its place is lost."""
        key, project_id = self._authorize(context)
        with self._places.member(project_id):
            while True:
                await stream.room.acquire()
                body = await context.read()
                if not isinstance(body, bytes):
                    return
                start = time.perf_counter()
                await stream.reserve(len(body))
                results = await self._pipeline.send(self._parse(body, key))
                stream.pending.put_nowait(_PendingBatch(results, len(body), start))

    def _authorize(self, context: Context) -> tuple[str, str]:
        """Return the write key of a call and its project."""
        key = _key(context)
        return key, self._access.admit(key, "", 0)

    async def _receive(self, context: Context) -> bytes:
        """Return the message of a call."""
        limit_s = self._limits.read_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                body = await context.read()
        except TimeoutError:
            raise TooSlow(
                f"the message was not complete after {limit_s:g} s (read_timeout_s)"
            ) from None
        if not isinstance(body, bytes):
            raise InvalidRequest("the call has no message")
        return body

    def _parse(self, body: bytes, key: str) -> Batch:
        return protobuf.parse(body, key, self._limits)

    def _answer(self, context: Context, results: list[EventResult], start: float) -> bytes:
        seconds = time.perf_counter() - start
        self._request_log.answered(
            FORMAT, grpc.StatusCode.OK.name, seconds, results, client=_client(context)
        )
        return protobuf.answer(results)

    @asynccontextmanager
    async def _errors_as_statuses(self, context: Context, start: float) -> AsyncIterator[None]:
        """Count the call as open, and end it with the status of whatever the block raises."""
        with self._streams.counted():
            try:
                self._streams.check()
                yield
            except asyncio.CancelledError:
                self._request_log.disconnected(FORMAT)
                raise
            except AvilaError as error:
                await self._refuse(context, error, start)
            except Exception:
                if context.cancelled():  # the client has left, and needs no answer
                    self._request_log.disconnected(FORMAT)
                    raise
                _log.exception("ingest_defect", format=FORMAT)
                await self._abort(
                    context, "INTERNAL", "an internal error; it has been logged", "defect", start
                )

    async def _refuse(self, context: Context, error: AvilaError, start: float) -> None:
        retry = _retry_metadata(error.retry_after) if isinstance(error, BackOff) else ()
        await self._abort(context, code_of(error), str(error), error.code, start, retry)

    async def _abort(
        self,
        context: Context,
        status: str,
        details: str,
        code: str,
        start: float,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        seconds = time.perf_counter() - start
        self._request_log.answered(FORMAT, status, seconds, client=_client(context))
        await context.abort(grpc.StatusCode[status], details, (("error-code", code), *metadata))


def _client(context: Context) -> str:
    """Return the client's address; gRPC gives `ipv4:192.0.2.1:50000` or `ipv6:[…]:50000`."""
    kind, _, rest = str(context.peer()).partition(":")
    return unquote(rest.rpartition(":")[0]).strip("[]") if kind in {"ipv4", "ipv6"} else kind


def _key(context: Context) -> str:
    """Return the write key of a call, "" without one."""
    for name, value in context.invocation_metadata() or ():
        scheme, _, key = str(value).partition(" ")
        if name == "authorization" and scheme.lower() == "bearer":
            return key.strip()
    return ""


def _retry_metadata(after_s: float) -> tuple[tuple[str, str], ...]:
    """Return metadata that tells people, and gRPC's own retry policy, when to try again."""
    return (
        ("retry-after", str(max(1, math.ceil(after_s)))),
        ("grpc-retry-pushback-ms", str(math.ceil(after_s * 1_000))),
    )
