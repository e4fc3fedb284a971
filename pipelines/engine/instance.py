"""A definition as one partition runs it: its state, its aggregates, and how far they have come."""

from collections import deque
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, Self, TypeAlias

import msgspec
import numpy as np
import structlog

from pipelines.columnar.arithmetic import Float64s
from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.constants import NEVER, NONE, TOTAL
from pipelines.engine.differing_rows import differing_rows
from pipelines.engine.events import OffsetRange
from pipelines.engine.history import Corrections, SelectedEvents
from pipelines.engine.operator import (
    NO_ROWS,
    Aggregates,
    C,
    D,
    Expired,
    FoldResult,
    PersonState,
    Record,
)
from pipelines.matching.match import Key, Match
from pipelines.worker.telemetry import LATE
from schemas import definitions
from schemas.definitions import Definition
from schemas.time.since import ALL_TIME

log = structlog.get_logger(__name__)

_MAX_REASON: Final = 1_000  # characters: it is published


class Backfill(msgspec.Struct):
    """How far a definition has caught up with history.

    It holds the events below offset `at`. `clock_offset` is how far the newest of these events is
    ahead of the broker's clock (ms).
    """

    at: int = 0
    clock_offset: int = NEVER


class UnloggedRows(NamedTuple):
    """Rows that events from offset `since` on have touched, to be logged at `due` (ms)."""

    rows: Int32s
    since: int
    due: int


class PersonEvents(NamedTuple):
    """Events as states fold them: who, when, and at which offset; one entry an event.

    `slots` are persons of an index of `persons` of them. Only those of matched events are set.
    `record_times` are the times of day at which the events were stored (ms).
    """

    persons: int
    slots: Int32s
    at: Int64s
    offsets: Int64s
    record_times: Int64s


class OperatorInstance(Generic[D, C]):
    """A definition in one partition. Each operator derives one, with its own state and aggregates.

    A subclass sets `state` and `aggregates`, and annotates them with its own types.

    Attributes:
        key: names the definition's version.
        tag: names it in the changelog's records.
        backfill: how far it has come in history; None as soon as it is live.
        unlogged: rows that wait to be logged, in the order in which they are due.
        flush_now: rows to be logged by the next commit.
        late: how many events are not counted, since they came too late.
        behind: how many of them a recount would count (`pipelines.engine.recount`).
        behind_since: when the first of these was noticed (ms); None if there are none.
        recounted_to: the offset below which a recount has folded all events in the order of time.
        settling: it has caught up with history, in which events came too late: until its first
            recount has counted them, it is published as backfilling.
        clock: the project's time (ms) as of which time has passed; None before.
        unpublished: periods whose record differs from what is published.
        total: the record of the total as it was last published.
        live_since: the offset at which it became live.
        failed: why nothing more is counted; empty as long as it runs.
        suspended: it has failed only because its definition cannot be read at present.
        has_previous: an earlier version of the definition still counts in its place.
        predictions: those whose scores the definition asks for, by id.
        scores_since: since when these count (ms); None before the first commit.
        merges_history: its history is best read in the order of time over all partitions.
    """

    predictions: frozenset[str] = frozenset()
    merges_history = False

    state: PersonState[C]
    aggregates: Aggregates[C]

    def __init__(self, definition: D) -> None:
        self.definition = definition
        self.key = key_of(definition)
        self.tag = tag_of(definition)
        self._begin()

    def _begin(self) -> None:
        self.backfill: Backfill | None = None
        self.unlogged: deque[UnloggedRows] = deque()
        self.flush_now: list[Int32s] = []
        self.late = 0
        self.behind = 0
        self.behind_since: int | None = None
        self.recounted_to = 0
        self.settling = False
        self.clock: int | None = None
        self.unpublished: set[int] = set()
        self.total: Record | None = None
        self.live_since: int | None = None
        self.failed = ""
        self.suspended = False
        self.has_previous = False
        self.scores_since: int | None = None

    def set_partitions(self, count: int) -> None:
        """Take in how many partitions the event store has, before the first event."""

    def redefine(self, definition: D) -> None:
        """Take over a later revision of the definition, which counts the same."""
        self.definition = definition

    @property
    def live(self) -> bool:
        """Whether it counts events as they come."""
        return self.backfill is None and not self.failed

    @property
    def backfilling(self) -> bool:
        """Whether it is catching up with history."""
        return self.backfill is not None and not self.failed

    @property
    def failed_before(self) -> bool:
        """Whether it has failed for the reason that is published, and for no other since."""
        return bool(self.failed) and self.total is not None and self.total["failed"] == self.failed

    @property
    def keeps_rows(self) -> bool:
        """Whether its rows are still of use after a restart."""
        return not self.failed or self.suspended

    def process(
        self, events: PersonEvents, match: Match, within: OffsetRange, due: int, *, replay: bool
    ) -> C | None:
        """Fold the matched events `within` a range of offsets, and count what they change.

        Rows that are touched wait to be logged until `due`. In a replay, what changes is counted
        and published already. Returns the changes; None if there are none, or if it fails.
        """
        match = self._cut(events, match, within)
        rows, masks, values = match
        if not len(rows):
            return None
        offsets = events.offsets.take(rows)
        with self.failing_alone():
            selected = SelectedEvents(
                events.slots.take(rows), events.at.take(rows), masks, offsets, values
            )
            result = self.fold(events.persons, selected, events.record_times.take(rows))
            if len(result.newly_dirty):
                self.unlogged.append(UnloggedRows(result.newly_dirty, int(offsets[0]), due))
            if replay:
                return None
            self.unpublished |= self.aggregates.apply(result.changes)
            if len(result.flush_now):
                self.flush_now.append(result.flush_now)
            if result.late:
                self.leave_out(result.late, result.overflow)
            return result.changes
        return None

    def fold(
        self,
        persons: int,
        events: SelectedEvents,
        times_of_day: Int64s,  # noqa: ARG002 (for states with a clock)
    ) -> FoldResult[C]:
        """Fold events into the state; `persons` is the size of the index of their slots.

        An event moves the state's clock up to the time of day at which it came, at most.
        """
        return self.state.fold(persons, *events)

    def take_scores(self, persons: int, prediction: str, slots: Int32s, scores: Float64s) -> None:
        """Take the newest scores of a prediction, of some persons, each once; NaN for none.

        `persons` is the size of the index of their slots. Called only for one of `predictions`.
        """
        raise NotImplementedError(f"{self.key.operator} takes no scores")

    def leave_out(self, late: int, overflow: int) -> None:
        """Note events that came too late; for `overflow` of them there was no room in their row."""
        self.late += late
        if self.state.by_person:
            self.behind += late - overflow
        LATE.labels(self.key.operator).inc(late)
        self.unpublished.add(TOTAL)

    def note_behind(self, now_ms: int) -> None:
        """Note since when events are missing, if any are."""
        if not self.behind:
            self.behind_since = None
        elif self.behind_since is None:
            self.behind_since = now_ms

    def _cut(self, events: PersonEvents, match: Match, within: OffsetRange) -> Match:
        bounds = np.searchsorted(events.offsets, within)
        match = match.cut(slice(*np.searchsorted(match.rows, bounds)))
        since_ms = self.definition.since_ms
        return match if since_ms == ALL_TIME else match.cut(events.at.take(match.rows) >= since_ms)

    def expire(self, now_ms: int) -> Expired[C] | None:
        """Let time pass up to `now_ms`, or a part of it, and count what it changes."""
        self.clock = now_ms
        with self.failing_alone():
            expired = self.state.expire(now_ms)
            if expired is None:
                return None
            if expired.changes is not None:
                self.unpublished |= self.aggregates.apply(expired.changes)
            if len(expired.rows):
                self.flush_now.append(expired.rows)
            return expired
        return None

    @property
    def awaits_time(self) -> bool:
        """Whether it needs to know that time passes, also in a partition without events."""
        return False

    def read_to(self, clock: int) -> C | None:  # noqa: ARG002 (for those that await it)
        """Note that all events up to the project's time `clock` (ms) are folded.

        They are those that were acknowledged before that time. Returns what is to be published.
        """
        return None

    def persons_due(self, now_ms: int) -> list[Int32s]:
        """Take the rows that are due to be logged, and return their persons."""
        persons = []
        with self.failing_alone():
            while self.unlogged and self.unlogged[0].due <= now_ms:
                rows = self.state.unlogged(self.unlogged.popleft().rows)
                persons.append(self.state.persons_of(rows))
        return persons

    def recovery_offset(self, position: int) -> int:
        """Return the first offset whose event may be missing from what is logged.

        `position` is the offset of the next event that it will be given.
        """
        return self.unlogged[0].since if self.unlogged else position

    def fail(self, error: Exception) -> None:
        """Stop counting, and publish why. What was counted stays; a new version begins empty."""
        self.failed = reason_of(error)
        self.suspended = False
        self.unlogged.clear()
        self.flush_now.clear()
        self.unpublished.add(TOTAL)
        log.error("definition failed", definition=self.key.name, exc_info=error)

    def suspend(self, reason: str, position: int, clock_offset: int) -> None:
        """Stop counting for as long as the definition cannot be read, and publish why.

        `position` and `clock_offset` are those of its partition.
        """
        if self.failed:
            return
        if self.backfill is None:
            self.backfill = Backfill(position, clock_offset)
        self.failed = reason
        self.suspended = True
        self.unpublished.add(TOTAL)
        log.error("definition suspended", definition=self.key.name, reason=reason)

    def resume(self) -> None:
        """Go on where it was suspended, by a backfill from there."""
        self.failed = ""
        self.suspended = False
        self.unpublished.add(TOTAL)

    def corrections(self, announced: Self, right: Self) -> Corrections[C] | None:  # noqa: ARG002 (see below)
        """Return what finds how a recount corrects what was announced of persons.

        `announced` and `right` are instances that hold nothing. None: all is corrected by what
        `succeed` returns.
        """
        return None

    def settle(self, position: int) -> None:
        """Be published as live, at the partition's position, if it was backfilled."""
        if self.settling:
            self.settling, self.live_since = False, position
            self.unpublished.add(TOTAL)

    def succeed(self, recounted: Self) -> C | None:
        """Go on with the state and aggregates of another instance of the same definition.

        Both hold the same events, the other in another order. The next commit logs the rows that
        differ, and publishes all periods. Returns what is to be published for persons besides.
        """
        before, after = self.state, recounted.state
        waiting = [before.unlogged(unlogged.rows) for unlogged in self.unlogged] + self.flush_now
        persons = before.persons_of(np.concatenate([NO_ROWS, *waiting]))
        differ = differing_rows(before, after)
        recounted.aggregates.succeed(self.aggregates)
        self.state, self.aggregates = after, recounted.aggregates
        self.unlogged.clear()
        rows = after.rows_of(np.unique(persons))
        self.flush_now = [rows[rows != NONE], differ]
        self.late, self.behind = recounted.late, recounted.behind
        self.behind_since = None
        self.unpublished |= {*self.aggregates, TOTAL}
        return None

    def failing_alone(self) -> "_FailingAlone":
        """Return a context in which whatever is raised fails this definition, and nothing else."""
        return _FailingAlone(self)


class _FailingAlone:
    def __init__(self, instance: OperatorInstance[D, C]) -> None:
        self._fail = instance.fail

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Handle an error, but for those that are no fault of one definition."""
        if not isinstance(error, Exception) or isinstance(error, MemoryError):
            return False
        self._fail(error)
        return True


def reason_of(error: Exception) -> str:
    """Return why a definition has failed, in a text of bounded length."""
    return f"{type(error).__name__}: {error}"[:_MAX_REASON]


# Instances of all operators side by side: see `AnyOperator`.
AnyInstance: TypeAlias = OperatorInstance[Any, Any]


def key_of(definition: Definition) -> Key:
    """Return the key of a definition."""
    return Key(definition.KIND, definition.project_id, definition.id, definition.version)


def tag_of(definition: Definition) -> np.uint64:
    """Return what names a definition's version in the changelog's records."""
    return np.uint64(definitions.tag_of(definition))
