"""A thread that follows topics and hands what it reads to the event loop, where the views live.

Views are changed and read on the loop alone: no locks, and whoever waits for a change is a
coroutine. The thread does what would hold the loop up (waiting for the broker, decoding), and does
not read on before the loop has taken the last batch, so a long read at the start fills no memory.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import structlog
from confluent_kafka import Message

from schemas.errors import AvilaError, BackOff, Unavailable
from schemas.follower import Partition, TopicReader

log = structlog.get_logger(__name__)

T = TypeVar("T")

_POLL_S: Final = 0.5
_RETRY_S: Final = 0.5


class TopicView(Generic[T]):
    """Keeps a view at the newest record of its topics, from `start` to `stop`.

    `decode` is called in the thread with records of `topics`, in order, and may block; if it raises
    `Unavailable` it is called again with the same. What it returns is given to `apply` on the loop.
    Any other exception ends the following, and `failure` says why: the view stands still then, and
    the process is not ready until it is started anew.

    Attributes:
        caught_up: the view holds all that was there when following began.
        failure: why following has ended by itself; empty while it has not.
        lag: entries that the broker holds beyond the view.
        records: how many have been read.
        positions: the offset that comes next, by partition.
    """

    def __init__(
        self,
        name: str,
        bootstrap: str,
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
        self._bootstrap = bootstrap
        self._topics = topics
        self._decode = decode
        self._apply = apply
        self._stopped = threading.Event()
        self._moved = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow-{name}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to follow; call it once, on the loop that the view belongs to."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; nothing is applied once this has returned."""
        self._stopped.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    @property
    def trouble(self) -> str:
        """Why the view is not to be relied on; empty if it is."""
        if self.failure:
            return self.failure
        return "" if self.caught_up else "still reading what was there before"

    def require(self) -> None:
        """Return if the view may be relied on.

        Raises:
            BackOff: it is still being read.
            Unavailable: following has failed.
        """
        self._check()
        if not self.caught_up:
            raise BackOff(f"the view of {self.name} is still being read", 1)

    async def catch_up(self) -> None:
        """Return when the view holds all that was there when following began.

        Waits for as long as it takes.

        Raises:
            Unavailable: following has failed, so it never will.
        """
        while not self.caught_up:
            self._check()
            await self._moved.wait()

    async def reach(self, partition: Partition, offset: int) -> None:
        """Return when the view holds all committed records of `partition` before `offset`.

        Waits for as long as it takes.

        Raises:
            Unavailable: following has failed, so it never will.
        """
        while self.positions.get(partition, 0) < offset:
            self._check()
            await self._moved.wait()

    def _check(self) -> None:
        if self.failure:
            raise Unavailable(f"the view of {self.name} has failed: {self.failure}")

    def _run(self) -> None:
        try:
            with TopicReader(self._bootstrap, self._topics) as follower:
                while not self._stopped.is_set():
                    messages = follower.poll(_POLL_S)
                    update = self._decode_patiently(messages) if messages else None
                    if not self._stopped.is_set():
                        self._hand_over(update, len(messages), follower)
        except Exception as error:
            # Whatever it was, it must show: `trouble` makes the service unready.
            expected = isinstance(error, AvilaError)
            log.error("view failed", view=self.name, reason=str(error), exc_info=not expected)
            self._fail(str(error) or repr(error))

    def _decode_patiently(self, messages: list[Message]) -> T | None:
        while True:
            try:
                return self._decode(messages)
            except Unavailable as error:
                log.warning("view waits", view=self.name, reason=str(error))
                if self._stopped.wait(_RETRY_S):
                    return None

    def _hand_over(self, update: T | None, records: int, follower: TopicReader) -> None:
        assert self._loop is not None
        positions, caught_up, lag = dict(follower.positions), follower.caught_up, follower.lag()
        if (positions, caught_up, lag) == (self.positions, self.caught_up, self.lag):
            return
        taken = threading.Event()

        def take() -> None:
            try:
                if update is not None:
                    self._apply(update)
                self.records += records
                self.positions, self.caught_up, self.lag = positions, caught_up, lag
            except Exception as error:
                log.exception("view failed", view=self.name)
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
        """Wake all who wait now; those who come later wait for the next change."""
        self._moved.set()
        self._moved = asyncio.Event()
