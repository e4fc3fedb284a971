"""Up to which moment everything that was acknowledged has been read. Pure.

What was acknowledged before a moment lies, at that moment, below the end of the inbox. So it is
read once the worker has read the inbox up to there, and then the event store up to the end that it
had by then: that is where the worker's events are.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from services.query.http.params import Source

_MAX_SAMPLES: Final = 3_600

Ends = Mapping[int, int]


class Sample(NamedTuple):
    """The ends of both topics, and how far they had been read, by partition.

    They are read in this order, all after the moment `at` (ms). `events_read` is by reader of the
    event store.
    """

    at: int
    inbox: Ends
    inbox_read: Ends
    events: Ends
    events_read: Mapping[Source, Ends]


class ReadUntil:
    """Finds, from one sample after the other, up to when each reader has read everything."""

    def __init__(self) -> None:
        self._inbox: deque[tuple[int, Ends]] = deque(maxlen=_MAX_SAMPLES)
        self._events: deque[tuple[int, Ends]] = deque(maxlen=_MAX_SAMPLES)
        self._until: dict[Source, int] = {}

    def of(self, reader: Source) -> int | None:
        """Return the moment (ms) before which a reader has read everything; None if unknown."""
        return self._until.get(reader)

    def add(self, sample: Sample) -> None:
        """Take in the next sample."""
        self._inbox.append((sample.at, sample.inbox))
        tracked = _reached(self._inbox, sample.inbox_read)
        if tracked is not None:
            self._events.append((tracked, sample.events))
        for reader, read in sample.events_read.items():
            until = _reached(self._events, read)
            if until is not None:
                self._until[reader] = max(until, self._until.get(reader, until))


def _reached(samples: deque[tuple[int, Ends]], read: Ends) -> int | None:
    """Return the moment of the newest sample all of whose ends have been read."""
    for at, ends in reversed(samples):
        if all(read.get(number, 0) >= end for number, end in ends.items()):
            return at
    return None
