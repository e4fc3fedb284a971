"""gRPC's two ways in, on the path of all doors: a call with one batch, and a stream of them.

Both are served as streams, so that a call is refused before its message is read.
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
from services.ingest.admission import Admission, Hold
from services.ingest.body import TooSlow
from services.ingest.events import Batch, Result
from services.ingest.formats import protobuf
from services.ingest.limits import Limits
from services.ingest.pipeline import IngestPipeline
from services.ingest.request_log import RequestLog
from services.ingest.streams import Stream, Streams

# What is read is bytes, or at the end of a call `grpc.aio.EOF`.
Context = grpc.aio.ServicerContext[bytes | object, bytes]

DOOR: Final = "grpc"

_log = structlog.get_logger()


class _Sent(NamedTuple):
    """A batch of a stream that waits for the broker."""

    results: asyncio.Task[list[Result]]
    size: int
    start: float


class Calls:
    """Serves the calls of one server; to be made and used in its event loop."""

    def __init__(
        self, path: IngestPipeline, admission: Admission, limits: Limits, journal: RequestLog
    ) -> None:
        self._path = path
        self._admission = admission
        self._limits = limits
        self._journal = journal
        self._streams = Streams(limits.max_calls, "max_calls", limits.retry_after_s)

    async def drain(self) -> None:
        """Read no more, take no more calls, and return when those there are have their answers.

        A stream ends when what was read from it is answered; its client is told to come again.
        """
        await self._streams.drain()

    async def track(self, _: AsyncIterator[bytes], context: Context) -> bytes:
        """Answer a call with one batch."""
        start = time.perf_counter()
        async with self._statuses(context, start):
            with self._admission.admit() as hold:
                body = await self._receive(context)
                hold.grow(len(body))
                results = await self._path.take(self._read(body, _key(context)))
            if any(result.result == "retry" for result in results):
                context.set_trailing_metadata(_come_again(self._limits.retry_after_s))
            return self._answer(context, results, start)

    async def track_stream(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Answer a stream of batches, in their order, while more of them are read."""
        async with self._statuses(context, time.perf_counter()):
            with self._admission.admit() as hold:
                await self._pump(context, hold)

    async def _pump(self, context: Context, hold: Hold) -> None:
        stream = Stream[_Sent](self._limits.max_stream_batches, hold, self._admission)

        async def answer(sent: _Sent) -> None:
            await context.write(self._answer(context, await sent.results, sent.start))
            stream.forget(sent.size)

        await self._streams.pump(stream, self._read_on(context, stream), answer)

    async def _read_on(self, context: Context, stream: Stream[_Sent]) -> None:
        """Send what comes on the stream, until its end or until something is refused."""
        key = _key(context)
        while True:
            await stream.room.acquire()
            body = await context.read()
            if not isinstance(body, bytes):
                return
            start = time.perf_counter()
            await stream.hold_when_there_is_room(len(body))
            results = await self._path.send(self._read(body, key))
            stream.sent.put_nowait(_Sent(results, len(body), start))

    async def _receive(self, context: Context) -> bytes:
        """The message of a call."""
        limit_s = self._limits.read_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                body = await context.read()
        except TimeoutError:
            raise TooSlow(
                f"the message was not whole after {limit_s:g} s (read_timeout_s)"
            ) from None
        if not isinstance(body, bytes):
            raise InvalidRequest("the call has no message")
        return body

    def _read(self, body: bytes, key: str) -> Batch:
        """The one place where a message of either kind becomes a batch."""
        return protobuf.parse(body, key, self._limits)

    def _answer(self, context: Context, results: list[Result], start: float) -> bytes:
        seconds = time.perf_counter() - start
        self._journal.answered(
            DOOR, grpc.StatusCode.OK.name, seconds, results, client=_client(context)
        )
        return protobuf.answer(results)

    @asynccontextmanager
    async def _statuses(self, context: Context, start: float) -> AsyncIterator[None]:
        """Count a call as open, and end it with the status of whatever is raised."""
        with self._streams.counted():
            try:
                self._streams.check()
                yield
            except asyncio.CancelledError:
                self._journal.gone(DOOR)
                raise
            except AvilaError as error:
                await self._refuse(context, error, start)
            except Exception:  # whatever it is, this client gets an answer
                if context.cancelled():  # but for one that has left: gRPC knows
                    self._journal.gone(DOOR)
                    raise
                _log.exception("ingest_defect", door=DOOR)
                await self._abort(
                    context, "INTERNAL", "an error of ours; it has been logged", "defect", start
                )

    async def _refuse(self, context: Context, error: AvilaError, start: float) -> None:
        again = _come_again(error.retry_after) if isinstance(error, BackOff) else ()
        await self._abort(context, code_of(error), str(error), error.code, start, again)

    async def _abort(
        self,
        context: Context,
        status: str,
        details: str,
        code: str,
        start: float,
        more: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._journal.answered(DOOR, status, time.perf_counter() - start, client=_client(context))
        await context.abort(grpc.StatusCode[status], details, (("error-code", code), *more))


def _client(context: Context) -> str:
    """The address of whoever calls: gRPC gives `ipv4:192.0.2.1:50000` or `ipv6:[…]:50000`."""
    kind, _, rest = str(context.peer()).partition(":")
    return unquote(rest.rpartition(":")[0]).strip("[]") if kind in {"ipv4", "ipv6"} else kind


def _key(context: Context) -> str:
    """The write key of a call, "" if there is none."""
    for name, value in context.invocation_metadata() or ():
        scheme, _, key = str(value).partition(" ")
        if name == "authorization" and scheme.lower() == "bearer":
            return key.strip()
    return ""


def _come_again(after_s: float) -> tuple[tuple[str, str], ...]:
    """What tells people, and what tells gRPC's own retry policy, when to try again."""
    return (
        ("retry-after", str(max(1, math.ceil(after_s)))),
        ("grpc-retry-pushback-ms", str(math.ceil(after_s * 1_000))),
    )
