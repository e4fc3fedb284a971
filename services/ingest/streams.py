"""What streams of batches share, on whatever protocol: bounds, answers in order, and the drain."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from schemas.errors import BackOff
from services.ingest.admission import Admission, Hold

T = TypeVar("T")


class Stream(Generic[T]):
    """What one stream has under way: bounded in batches, and in memory as all requests are.

    `sent` has the batches in the order they were read; None is the end.
    """

    def __init__(self, most: int, hold: Hold, admission: Admission) -> None:
        self.room = asyncio.Semaphore(most)
        self.sent: asyncio.Queue[T | None] = asyncio.Queue()
        self._hold = hold
        self._admission = admission
        self._answered = asyncio.Event()

    async def hold_when_there_is_room(self, size: int) -> None:
        """Take the memory of a message, if need be after this stream's own batches are answered.

        Raises:
            BackOff: there is no room for it, and nothing of this stream that could make some. It is
                taken nevertheless, until it is forgotten.
        """
        self._hold.take(size)
        while True:
            try:
                return self._admission.check()
            except BackOff:
                if self._hold.size == size:
                    raise
            self._answered.clear()
            await self._answered.wait()

    def forget(self, size: int) -> None:
        """Make room of a batch that is answered."""
        self._hold.shrink(size)
        self._answered.set()
        self.room.release()


class Streams:
    """The calls or connections that are open: at most `most`, which the limit `limit` says."""

    def __init__(self, most: int, limit: str, retry_after_s: float) -> None:
        self.stopping = False
        self.open = 0
        self._most = most
        self._limit = limit
        self._retry_after_s = retry_after_s
        self._readers: set[asyncio.Task[None]] = set()
        self._drained = asyncio.Event()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count one more as open inside the block, which `drain` waits for."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            if self.stopping and not self.open:
                self._drained.set()

    def check(self) -> None:
        """Raise `BackOff` if those that are counted are too many, or there may be none any more."""
        if self.stopping:
            raise self._stopped()
        if self.open > self._most:
            what = f"{self._most} {self._limit.removeprefix('max_')} ({self._limit})"
            raise BackOff(f"{what} are open: try again later", self._retry_after_s)

    async def pump(
        self,
        stream: Stream[T],
        reading: Coroutine[Any, Any, None],
        answer: Callable[[T], Awaitable[None]],
    ) -> None:
        """Answer what `reading` puts on the stream, in its order and while it goes on reading.

        Returns, or raises what `reading` raised, when all that was read before is answered.

        Raises:
            BackOff: the service stops; all that was read is answered.
        """
        reader = asyncio.create_task(reading)
        self._readers.add(reader)
        reader.add_done_callback(lambda _: stream.sent.put_nowait(None))
        try:
            while (sent := await stream.sent.get()) is not None:
                await answer(sent)
            if reader.cancelled():
                raise self._stopped()
            reader.result()
        finally:
            self._readers.discard(reader)
            reader.cancel()

    async def drain(self) -> None:
        """Read no more, open no more, and return when those there are have their answers."""
        self.stopping = True
        for reader in self._readers:
            reader.cancel()
        if self.open:
            await self._drained.wait()

    def _stopped(self) -> BackOff:
        return BackOff("the service stops: connect again", self._retry_after_s)
