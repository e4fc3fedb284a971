"""Up to which time the questions of each source partition are learned.

Live, it is the partition's own clock. While any partition still reads history, partitions are
merged: nothing is learned that a partition which reads could still precede, so that history is
learned in the order of time, whatever the order in which it is read.

    own clock   ──▶ all outcomes of a question have come        ┐
                                                                ├─▶ limit: the lesser of both
    merged time ──▶ the least clock of those that read history  ┘

What waits is bounded. If more waits, merged time moves on to the earliest of it: questions that
are read afterwards, and were due before, are learned late, and counted as `unmerged`.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

NOT_BEGUN: Final = -(2**62)  # a clock that no event has set


@dataclass
class SourceClock:
    """The clock of one source partition.

    Attributes:
        clock: the partition's own clock (ms); it never goes back.
        history: whether the partition still reads history.
        limit: the time (ms) up to which its questions have been learned.
    """

    clock: int = NOT_BEGUN
    history: bool = False
    limit: int = NOT_BEGUN


class Merge(NamedTuple):
    """How far source partitions are merged.

    `history` and `limits` are those of the partitions, in their order; `partitions` is how many
    there are, 0 if it is not known.
    """

    merged_to: int
    partitions: int
    history: tuple[bool, ...]
    limits: tuple[int, ...]


class SourceClocks:
    """The clocks of all source partitions of one definition, as a fold of its records.

    Attributes:
        merged_to: the time (ms) up to which partitions have been merged; it never goes back.
        partitions: how many source partitions there are; 0 if the first record did not say so.
            Then an earlier version has written it, and partitions that are not known are live.
    """

    def __init__(self) -> None:
        self.merged_to = NOT_BEGUN
        self.partitions = 0
        self._sources: dict[int, SourceClock] = {}
        self._begun = False

    def of(self, number: int) -> SourceClock:
        """Return the clock of a source partition, which begins with the first call."""
        return self._sources.setdefault(number, SourceClock())

    def take_in(self, number: int, clock: int, partitions: int, *, history: bool) -> None:
        """Take in what a record says of its source partition."""
        if self.partitions or not self._begun:
            self.partitions = max(self.partitions, partitions)
        self._begun = True
        source = self.of(number)
        source.clock = max(source.clock, clock)
        source.history = history
        if self.merging:
            self.merged_to = max(self.merged_to, self._least_clock())

    @property
    def merging(self) -> bool:
        """Whether any source partition still reads history, or has not begun to."""
        return self._incomplete or any(source.history for source in self._sources.values())

    def next_limit(self, number: int) -> int:
        """Return the time up to which the questions of a source partition can be learned now."""
        source = self._sources[number]
        reached = min(source.clock, self.merged_to) if self.merging else source.clock
        return max(source.limit, reached)

    def merge(self) -> Merge:
        """Return how far partitions are merged, in the order of their numbers."""
        ordered = [source for _, source in sorted(self._sources.items())]
        return Merge(
            self.merged_to,
            self.partitions,
            tuple(source.history for source in ordered),
            tuple(source.limit for source in ordered),
        )

    def resume(self, numbers: tuple[int, ...], clocks: tuple[int, ...], merge: Merge) -> None:
        """Continue from what `merge` returned, and the clocks of these partitions."""
        self.merged_to, self.partitions, self._begun = merge.merged_to, merge.partitions, True
        of_sources = zip(numbers, clocks, merge.history, merge.limits, strict=True)
        for number, clock, history, limit in of_sources:
            self._sources[number] = SourceClock(clock, history, limit)

    @property
    def _incomplete(self) -> bool:
        """Whether a source partition has sent nothing yet."""
        return len(self._sources) < self.partitions

    def _least_clock(self) -> int:
        if self._incomplete:
            return NOT_BEGUN
        return min(source.clock for source in self._sources.values() if source.history)
