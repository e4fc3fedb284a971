"""Answers in memory, so that the same question about the same events runs once.

An answer is kept under the query and the version of its data. That is the positions below which
its events lie; or, for a query of which no event is missing any more, the version of the closed
period (see `arrivals`): such an answer stays as it is until an event comes too late, and keeps the
positions at which it was worked out.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

MAX_BYTES: Final = 32 << 20
MAX_ANSWER_BYTES: Final = 1 << 20
CLOSED_S: Final = 600.0
# An answer says until when its events are complete: it must not be much older than that. Nor may an
# answer of a closed period lack events that came too late for longer.
OPEN_S: Final = 10.0
_ENTRY_BYTES: Final = 1_000  # of a key and its places, about


class _Entry(NamedTuple):
    body: bytes
    until: float


class AnswerCache:
    """The latest answers, bounded in bytes; for one event loop.

    Attributes:
        hits: how many answers it had.
        misses: how many it did not have.
        bytes: how much memory the answers take, about.
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.hits = 0
        self.misses = 0
        self.bytes = 0
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(self, key: Hashable) -> bytes | None:
        """Return an answer, and count whether it was there."""
        entry = self._entries.get(key)
        if entry is not None and entry.until <= self._clock():
            self._remove(key)
            entry = None
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry.body

    def put(self, key: Hashable, body: bytes, lasting_s: float) -> None:
        """Keep an answer for some seconds at most; one that is too large is not kept."""
        if len(body) > MAX_ANSWER_BYTES:
            return
        self._remove(key)
        self._entries[key] = _Entry(body, self._clock() + lasting_s)
        self.bytes += len(body) + _ENTRY_BYTES
        while self.bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _remove(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= len(entry.body) + _ENTRY_BYTES
