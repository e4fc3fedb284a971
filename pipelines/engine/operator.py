"""What an operator is: one kind of definition (a funnel, a cohort …), evaluated person by person.

    event ─▶ matcher ─▶ PersonState.fold ─▶ changes ─▶ Figures.apply ─▶ Publisher
             (looks)    a row a person                 sums over them    result topics

A partition (`pipelines.engine.partition`) keeps a `OperatorInstance` for every definition: how far
it has caught up with history, which rows are still to be logged. It knows of no kind: what is a
kind's own is named by its `Operator`, and everything else (restoring, the log, backfill, time) is
the same for all.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from pipelines.columnar.jit import Bytes, Int32s, Int64s
from pipelines.columnar.key_index import KeyIndex
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching import matcher
from pipelines.matching.selectors import PropertyRead
from schemas.definitions import Definition
from schemas.event_filter import EventSelector
from schemas.registry.client import SchemaRegistry
from schemas.topics import Topics

log = structlog.get_logger(__name__)

Key = matcher.Key
Masks = matcher.Masks
Values = matcher.Values
# An array of records of the kind's own type: what became different of whom.
Changes = Any

NEVER = -(2**62)
# Among the properties that a kind reads: the event's name, which is no property. None is called so.
EVENT_NAME = ""
TOTAL = -(2**31)  # stands for the day (or the period) in what is counted over all of them


class Packed(NamedTuple):
    """Rows as they are logged: row i is `data[begins[i]:ends[i]]`."""

    data: Bytes
    begins: Int64s
    ends: Int64s

    def __len__(self) -> int:
        return len(self.begins)


NO_ROWS: Final[Int32s] = np.empty(0, np.int32)


class FoldResult(NamedTuple):
    """What a batch did: its changes, and the rows it touched that did not wait to be logged yet."""

    changes: Changes
    newly_dirty: Int32s
    late: int  # events left out, for they came later than the lateness allows
    flush_now: Int32s = NO_ROWS  # rows to be logged by the commit that announces the changes


class Expired(NamedTuple):
    """What time did: its changes, and the rows that differ now and are to be logged."""

    changes: Changes
    rows: Int32s
    counted: bool = False  # the changes are to be applied to the figures


class PersonState(Protocol):
    """The rows of one definition in one partition; a person is a slot of the partition's index.

    Folding the same events in the same order gives the same rows. Events at offsets that a row
    holds already, as its log says, leave it alone until `restored` is called.
    """

    @property
    def by_person(self) -> bool:
        """Whether it looks at persons at all; if not, `fold` is given any slots."""

    @property
    def size(self) -> int:
        """Rows: persons who ever did something that the definition looks at."""

    @property
    def nbytes(self) -> int:
        """Memory held, the spare room of growing columns included."""

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),
    ) -> FoldResult:
        """Fold events in order of arrival; `persons` is the size of the index `slots` are of.

        Bit i of an event's mask says that it is one the definition's i-th look asks for;
        `values[j]` is a column of what events have of the j-th property that its kind `reads`. The
        changes are views, good until the next call.
        """

    def expire(self, now: int) -> Expired | None:
        """Do what is due at `now` (ms), or if it is much, a part of it; None if nothing is.

        The rest is for the next call. A partition that has much to do in others may leave a call
        out.
        """

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """The rows as they are logged, holding all events below source offset `stamp`."""

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Put logged rows in the place of what is known of their persons.

        Raises:
            ValueError: a row is of a layout that this version does not know.
        """

    @property
    def clock(self) -> int | None:
        """How far time has come for it (ms); None if it has no clock of its own, or was told none.

        `expire` and events put it forward.
        """

    def restored(self, clock: int | None = None) -> None:
        """The state is complete: from here on every event counts.

        `clock` is what its own said when the last event was folded that is in it.
        """

    def unlogged(self, rows: Int32s) -> Int32s:
        """Those of `rows` that were touched since they were last logged."""

    def rows_of(self, persons: Int32s) -> Int32s:
        """The rows of some persons, -1 for those who have none."""

    def persons_of(self, rows: Int32s) -> Int32s:
        """The persons of some rows."""

    def dump(self) -> dict[str, NDArray[Any]]:
        """A copy of the columns, to be loaded by the same version of this code."""

    def load(self, columns: dict[str, NDArray[Any]], stamp: int) -> None:
        """Take over what `dump` gave, as of source offset `stamp`."""


class Aggregates(Protocol):
    """What is counted over all rows of one definition in one partition, by day or period."""

    def apply(self, changes: Changes) -> set[int]:
        """Add what changed; returns the periods whose figures differ now."""


class Backfill(msgspec.Struct):
    """How far a definition has caught up with history.

    Events below offset `at` are in it; `ahead` is their project's clock, as in `Partition.ahead`.
    """

    at: int = 0
    ahead: int = NEVER


class Waiting(NamedTuple):
    """Rows that were touched by events from `since` on, and are to be logged when `due`."""

    rows: Int32s
    since: int
    due: int


class OperatorInstance:
    """A definition as one partition runs it; `backfill` is None as soon as it is live."""

    def __init__(
        self,
        kind: "Operator",
        definition: Definition,
        lateness_ms: int,
        backfill: Backfill | None = None,
    ) -> None:
        self.kind = kind
        self.definition: Any = definition  # of the type that the kind decodes
        self.key = key_of(definition)
        self.since_ms = definition.since_ms  # events before it do not count
        self.tag = _tag_of(self.key, definition)
        self.backfill = backfill
        self.waiting: deque[Waiting] = deque()
        self.state = kind.state(definition, lateness_ms)
        self.aggregates: Any = kind.aggregates(definition)  # some `Aggregates`
        self.late = 0  # events that came too late to be counted
        self.unpublished: set[int] = set()  # periods
        self.live_since: int | None = None  # an offset
        self.failed = ""  # why nothing more is counted

    @property
    def live(self) -> bool:
        """Whether it takes in events as they come."""
        return self.backfill is None and not self.failed

    def fail(self, error: Exception) -> None:
        """Count nothing more: what it has stands, and says why. A new version begins anew."""
        self.failed = f"{type(error).__name__}: {error}"
        self.waiting.clear()
        self.unpublished.add(TOTAL)
        log.error("a definition failed", definition=self.key.name, exc_info=error)

    def recovery_offset(self, position: int) -> int:
        """The first event that may not be in what is logged; `position` is the next one to come."""
        return self.waiting[0].since if self.waiting else position


class PartitionContext(NamedTuple):
    """Where a partition stands, for those who publish its figures."""

    partition: int
    position: int  # its live definitions hold the events below this offset
    persons: KeyIndex
    now_ms: int


# What changed of each definition of a kind.
Changed: TypeAlias = Sequence[tuple[OperatorInstance, Changes]]


class Publisher(Protocol):
    """Writes what a kind publishes, each partition to the partition of its own number."""

    def changes(self, context: PartitionContext, changed: Changed) -> None:
        """Announce what a batch changed for persons."""

    def expired(self, context: PartitionContext, changed: Changed) -> None:
        """Announce what time changed for persons."""

    def aggregates(self, context: PartitionContext, instances: OperatorInstance) -> None:
        """Publish the figures that are not published yet."""

    def restore(
        self, partition: int, instances: dict[Key, OperatorInstance], reader: Reader
    ) -> Iterator[None]:
        """Take over the published figures, in steps; delete those of what has ended."""

    def forget(self, context: PartitionContext, instances: OperatorInstance) -> None:
        """Delete what is published of a definition that has ended."""


def _reads_nothing(_: Any) -> Sequence[PropertyRead]:
    return ()


class Operator(NamedTuple):
    """An operator: its definitions' kind, and what evaluates one of them."""

    name: str
    decode: Callable[[bytes], Definition]
    selectors: Callable[[Any], Sequence[EventSelector]]
    state: Callable[[Any, int], PersonState]  # of a definition and the allowed lateness in ms
    aggregates: Callable[[Any], Aggregates]
    publisher: Callable[[Topics, SchemaRegistry, Outbox], Publisher]
    # The properties whose values `PersonState.fold` is given: they cost parsing, so few or none.
    reads: Callable[[Any], Sequence[PropertyRead]] = _reads_nothing


def key_of(definition: Definition) -> Key:
    """The key of a definition."""
    return Key(definition.KIND, definition.project_id, definition.id, definition.version)


def _tag_of(key: Key, definition: Definition) -> np.uint64:
    """What names it in the log's records; one that is deleted and made anew has another."""
    text = f"{key.name}/{definition.created_at}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))
