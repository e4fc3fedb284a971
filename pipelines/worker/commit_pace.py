"""Decides when a worker commits: soon while commits are cheap, seldom while they cost much.

A commit costs the worker the time of a flush, and the system the round trips of a transaction.
While little comes, both are small beside what waiting would cost, so the worker commits as soon as
the input is drained and the last commit is through. Under load, the interval is a multiple of what
the last commit took: commits then take a bounded share of the time, whatever the number of
definitions.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from pipelines.kafka.records import Records

# An interval in units of what the last commit took. A worker whose input is drained would be idle
# otherwise, so its flushes count most; but others read what they write, and need time for it.
_DRAINED_FLUSHES: Final = 6.0
_LOADED_COMMITS: Final = 4.0
# A fetch of fewer records has taken all that was there.
_FEW_RECORDS: Final = 1_000
# What a commit has written to a topic that the same worker reads comes back within this time. Its
# results then join the next commit instead of the one after that.
_OWN_INPUT_S: Final = 0.005


class CommitPace:
    """The times of one worker's commits; all are seconds of the same monotonic clock."""

    def __init__(self, longest_s: float, now: float) -> None:
        self._longest_s = longest_s
        self._begun_at = now
        self._flush_s = 0.0
        self._flight_s = 0.0
        self._held_until = 0.0
        self._subscribed: set[str] = set()
        self._own_input: set[str] = set()  # topics that are written, and then read
        self.drained = True  # whether the last fetch took all that was there

    def subscribe(self, topics: Iterable[str]) -> None:
        """Note the topics that the worker reads."""
        self._subscribed = set(topics)

    # ── what happens ─────────────────────────────────────────────────────────────────────────────

    def read(self, epoch: Sequence[Records]) -> None:
        """Note what a fetch has returned."""
        self.drained = sum(map(len, epoch)) < _FEW_RECORDS
        if self._own_input.intersection(records.source.topic for records in epoch):
            self._own_input.clear()
            self._held_until = 0.0

    def written(self, topics: Iterable[str]) -> None:
        """Note to which topics the open transaction writes."""
        self._own_input |= self._subscribed.intersection(topics)

    def begin(self, now: float) -> None:
        """Note that a commit begins with its flush."""
        self._begun_at = now
        self._held_until = 0.0

    def flushed(self, now: float) -> None:
        """Note that the flush of the commit is done."""
        self._flush_s = now - self._begun_at

    def settled(self, flight_s: float) -> None:
        """Note that the commit is through, `flight_s` after its flush."""
        self._flight_s = flight_s
        if self._own_input:
            self._held_until = self._begun_at + self._flush_s + flight_s + _OWN_INPUT_S

    # ── what to do ───────────────────────────────────────────────────────────────────────────────

    def since_commit(self, now: float) -> float:
        """Return how long ago the last commit began."""
        return now - self._begun_at

    def overdue(self, now: float) -> bool:
        """Return whether the longest interval is over: a commit under way is waited for, then."""
        return self.since_commit(now) >= self._longest_s

    def due_in(self, now: float, *, drained: bool) -> float:
        """Return in how many seconds to commit what is processed: 0 if now."""
        if drained:
            interval_s = _DRAINED_FLUSHES * self._flush_s + self._flight_s
        else:
            interval_s = _LOADED_COMMITS * (self._flush_s + self._flight_s)
        due_at = max(self._begun_at + interval_s, self._held_until)
        return max(0.0, min(due_at, self._begun_at + self._longest_s) - now)
