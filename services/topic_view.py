"""A thread that reads topics and applies what it reads to a view on the event loop.

Views are changed and read on the loop only: they need no locks, and coroutines wait for changes.
The thread does what would block the loop: it waits for the broker and decodes. It reads the next
batch only when the loop has applied the last one, so a long topic does not fill the memory.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog
from confluent_kafka import Message

from schemas.cluster import Address
from schemas.errors import AvilaError, BackOff, Unavailable
from schemas.follower import Partition, TopicReader

log = structlog.get_logger(__name__)

T = TypeVar("T")

_POLL_S: Final = 0.5
_RETRY_S: Final = 0.5


class TopicView(Generic[T]):
    """Keeps a view up to date with its topics, from `start` to `stop`.

    `decode` is called in the thread with records of `topics`, in order, and may block; if it raises
    `Unavailable`, it is called again with the same records. `apply` is called on the loop with what
    it returns. Any other exception ends the reading, and `failure` is the reason: the view changes
    no more, and the process is not ready until it is restarted.

    Attributes:
        caught_up: the view has all records that existed when reading began.
        failure: why reading has ended by itself; empty otherwise.
        lag: entries of the topics that the view has not read yet.
        records: the number of records that were read.
        positions: the next offset of each partition.
        observe_delay: called on the loop with the seconds from the writing of a record to its
            place in the view, for the oldest record of each batch, once the view is caught up.
    """

    def __init__(
        self,
        name: str,
        cluster: Address,
        topics: list[str],
        decode: Callable[[list[Message]], T],
        apply: Callable[[T], None],
    ) -> None:
        self.name = name
        self.caught_up = False
        self.failure = ""
        self.lag = 0
        self.records = 0
        self.positions: dict[Partition, int] = {}
        self.observe_delay: Callable[[float], object] | None = None
        self._cluster = cluster
        self._topics = topics
        self._decode = decode
        self._apply = apply
        self._stopped = threading.Event()
        self._moved = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"view-{name}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start reading; call it once, on the loop that the view belongs to."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Stop the thread; nothing is applied after this has returned."""
        self._stopped.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    @property
    def trouble(self) -> str:
        """Why the view is not up to date; empty if it is."""
        if self.failure:
            return self.failure
        return "" if self.caught_up else "still reading the topic from its beginning"

    def require(self) -> None:
        """Return if the view is up to date.

        Raises:
            BackOff: it is still being read.
            Unavailable: reading has failed.
        """
        self._check()
        if not self.caught_up:
            raise BackOff(f"the view of {self.name} is still being read", 1)

    async def catch_up(self) -> None:
        """Return when the view has all records that existed when reading began.

        Waits for as long as it takes.

        Raises:
            Unavailable: reading has failed, so it never will.
        """
        while not self.caught_up:
            self._check()
            await self._moved.wait()

    async def reach(self, partition: Partition, offset: int) -> None:
        """Return when the view has all committed records of `partition` before `offset`.

        Waits for as long as it takes.

        Raises:
            Unavailable: reading has failed, so it never will.
        """
        while self.positions.get(partition, 0) < offset:
            self._check()
            await self._moved.wait()

    def _check(self) -> None:
        if self.failure:
            raise Unavailable(f"the view of {self.name} has failed: {self.failure}")

    def _run(self) -> None:
        try:
            with TopicReader(self._cluster, self._topics) as follower:
                while not self._stopped.is_set():
                    messages = follower.poll(_POLL_S)
                    update = self._decode_with_retries(messages) if messages else None
                    if not self._stopped.is_set():
                        self._hand_over(update, messages, follower)
        except Exception as error:
            # Reported by `trouble`, which makes the service unready.
            expected = isinstance(error, AvilaError)
            log.error("view_failed", view=self.name, reason=str(error), exc_info=not expected)
            self._fail(str(error) or repr(error))

    def _decode_with_retries(self, messages: list[Message]) -> T | None:
        while True:
            try:
                return self._decode(messages)
            except Unavailable as error:
                log.warning("view_waiting", view=self.name, reason=str(error))
                if self._stopped.wait(_RETRY_S):
                    return None

    def _hand_over(self, update: T | None, messages: list[Message], follower: TopicReader) -> None:
        assert self._loop is not None
        positions, caught_up, lag = dict(follower.positions), follower.caught_up, follower.lag()
        if (positions, caught_up, lag) == (self.positions, self.caught_up, self.lag):
            return
        taken = threading.Event()

        def take() -> None:
            try:
                if update is not None:
                    self._apply(update)
                self.records += len(messages)
                if messages and self.caught_up and self.observe_delay is not None:
                    # Clocks of two machines may differ; a record has no time in the future.
                    _, written_ms = messages[0].timestamp()
                    self.observe_delay(max(0.0, time.time() - written_ms / 1000))
                self.positions, self.caught_up, self.lag = positions, caught_up, lag
            except Exception as error:
                log.exception("view_failed", view=self.name)
                self.failure = repr(error)
                self._stopped.set()
            finally:
                taken.set()
                self._announce()

        self._loop.call_soon_threadsafe(take)
        taken.wait()

    def _fail(self, reason: str) -> None:
        def fail() -> None:
            self.failure = reason
            self._announce()

        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(fail)

    def _announce(self) -> None:
        """Wake all coroutines that wait; later ones wait for the next change."""
        self._moved.set()
        self._moved = asyncio.Event()
