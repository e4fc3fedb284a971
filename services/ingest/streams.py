"""What streams of batches share on any protocol: bounds, answers in order, and draining."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from schemas.errors import BackOff
from services.ingest.admission import Admission, Reservation

T = TypeVar("T")


class BatchStream(Generic[T]):
    """The batches of one stream that are being processed: at most `max_batches`.

    Attributes:
        room: acquire it before reading another batch.
        pending: the batches in the order they were read; None ends the stream.
    """

    def __init__(self, max_batches: int, reservation: Reservation, admission: Admission) -> None:
        self.room = asyncio.Semaphore(max_batches)
        self.pending: asyncio.Queue[T | None] = asyncio.Queue()
        self._reservation = reservation
        self._admission = admission
        self._answered = asyncio.Event()

    async def reserve(self, size: int) -> None:
        """Reserve the memory of a message; waits for this stream's own batches if memory is short.

        Raises:
            BackOff: memory is short and this stream holds nothing else; the memory is reserved all
                the same, until `release`.
        """
        self._reservation.take(size)
        while True:
            try:
                return self._admission.check()
            except BackOff:
                if self._reservation.size == size:
                    raise
            self._answered.clear()
            await self._answered.wait()

    def release(self, size: int) -> None:
        """Release the memory and the place of a batch that has been answered."""
        self._reservation.shrink(size)
        self._answered.set()
        self.room.release()


class OpenStreams:
    """The open calls or connections of a server, which end together when it stops.

    Attributes:
        stopping: no more streams are accepted.
        open: the number of open streams.
    """

    def __init__(self, retry_after_s: float) -> None:
        self.stopping = False
        self.open = 0
        self._retry_after_s = retry_after_s
        self._readers: set[asyncio.Task[None]] = set()
        self._drained = asyncio.Event()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count one open stream for the duration of the block; `drain` waits for it."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            if self.stopping and not self.open:
                self._drained.set()

    def check(self) -> None:
        """Raise `BackOff` if the server is stopping."""
        if self.stopping:
            raise self._stopped()

    async def pump(
        self,
        stream: BatchStream[T],
        reading: Coroutine[object, object, None],
        answer: Callable[[T], Awaitable[None]],
    ) -> None:
        """Run `reading`, which fills `stream.pending`, and answer its batches in order meanwhile.

        Returns, or raises what `reading` raised, after all batches read until then are answered.

        Raises:
            BackOff: the server is stopping; all batches that were read are answered.
        """
        reader = asyncio.create_task(reading)
        self._readers.add(reader)
        reader.add_done_callback(lambda _: stream.pending.put_nowait(None))
        try:
            while (batch := await stream.pending.get()) is not None:
                await answer(batch)
            if reader.cancelled():
                raise self._stopped()
            reader.result()
        finally:
            self._readers.discard(reader)
            reader.cancel()

    async def drain(self) -> None:
        """Stop reading and accepting streams; return when the open ones have their answers."""
        self.stopping = True
        for reader in self._readers:
            reader.cancel()
        if self.open:
            await self._drained.wait()

    def _stopped(self) -> BackOff:
        return BackOff("the service is stopping: connect again", self._retry_after_s)
