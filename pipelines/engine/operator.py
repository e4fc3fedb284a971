"""The contract of an operator, which evaluates one kind of definition (funnel, cohort …).

    event ─▶ Matcher ──────▶ PersonState.fold ─▶ Aggregates.apply ─▶ Publisher
             (selectors,     one row a person    counts by period    the operator's topics
              reads)

An operator is a package in `pipelines.operators` and an entry in its tuple `OPERATORS`. It consists
of these types:

- its definition (`D`), as its `schemas.operators.OperatorSpec` decodes it;
- its changes (`C`): what folding a batch changed for persons;
- `PersonState[C]`, which folds events and returns changes, and `Aggregates[C]`, which counts them:
  an `OperatorInstance[D, C]` has one of each;
- `Publisher[I, C]`, which publishes for instances (`I`) of this operator, and for no others.

The engine (partition, backfill, changelog, time) is the same for all operators and knows none of
them.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Bytes, Int32s, Int64s
from pipelines.columnar.key_index import KeyIndex
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key, Masks, Values
from pipelines.matching.selectors import PropertyRead
from schemas.definitions import Definition
from schemas.event_filter import EventSelector
from schemas.operators.spec import OperatorSpec
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings

D = TypeVar("D", bound=Definition)
C = TypeVar("C")
I = TypeVar("I")  # noqa: E741 (an instance, as D and C are a definition and changes)
C_co = TypeVar("C_co", covariant=True)
C_contra = TypeVar("C_contra", contravariant=True)
I_contra = TypeVar("I_contra", contravariant=True)

# A structured array, of a dtype of the operator's own.
ChangeRecords: TypeAlias = NDArray[np.void]
# An Avro record, which its schema types.
Record: TypeAlias = Mapping[str, Any]
# A column of a state, and all of them by name: each has a dtype of its own.
StateColumn: TypeAlias = NDArray[Any]
StateColumns: TypeAlias = dict[str, StateColumn]

NO_ROWS: Final[Int32s] = np.empty(0, np.int32)


class Packed(NamedTuple):
    """Rows as they are logged: row i is `data[begins[i]:ends[i]]`."""

    data: Bytes
    begins: Int64s
    ends: Int64s

    def __len__(self) -> int:
        return len(self.begins)

    def filter(self, taken: NDArray[np.bool_]) -> "Packed":
        """Return some of the rows; all data are kept."""
        return Packed(self.data, self.begins[taken], self.ends[taken])


class FoldResult(NamedTuple, Generic[C_co]):
    """What a batch did to the rows of a definition.

    Attributes:
        changes: what it changed for persons; views, good until the state is called again.
        newly_dirty: the rows that it touched and that were not waiting to be logged already.
        late: how many events were left out because they came later than the lateness allows.
        flush_now: the rows to be logged by the commit that publishes the changes.
        overflow: how many of the late ones did not fit their row: in no order would they count.
    """

    changes: C_co
    newly_dirty: Int32s
    late: int
    flush_now: Int32s = NO_ROWS
    overflow: int = 0


class Expired(NamedTuple, Generic[C_co]):
    """What the passing of time did to the rows of a definition.

    Attributes:
        rows: the rows that differ now; they are logged by the commit that publishes the changes.
        changes: what is counted and published like the changes of a batch; None if nothing is.
        timeouts: what is published by `Publisher.expired`, and counted nowhere.
    """

    rows: Int32s
    changes: C_co | None = None
    timeouts: ChangeRecords | None = None


class PersonState(Protocol[C_co]):
    """The rows of one definition in one partition. A person is a slot of the partition's index.

    Folding the same events in the same order gives the same rows. After `unpack` or `load`, events
    at offsets that a row already holds change nothing, until `restored` is called.
    """

    @property
    def by_person(self) -> bool:
        """Whether there are rows of persons; if not, `fold` may be given any slots."""

    @property
    def size(self) -> int:
        """Number of rows: persons with at least one event that the definition selects."""

    @property
    def nbytes(self) -> int:
        """Memory held in bytes, the spare room of growing columns included."""

    @property
    def clock(self) -> int | None:
        """The time (ms) up to which the state has expired; None without a clock, or before it."""

    @property
    def published_persons(self) -> Int32s:
        """Persons with records on a compacted topic, which are deleted with the definition."""

    def fold(
        self,
        persons: int,
        slots: Int32s,
        at: Int64s,
        masks: Masks,
        offsets: Int64s,
        values: Values = (),
    ) -> FoldResult[C_co]:
        """Fold events in order of arrival.

        `slots`, `at` (ms), `masks` and `offsets` have one entry an event, and `values` are columns
        of that length: see `Match`. `persons` is the size of the index that `slots` refer to.
        """

    def expire(self, now: int) -> Expired[C_co] | None:
        """Apply what is due at `now` (ms), or a bounded part of it; None if nothing is due.

        The rest is left for the next call. The engine may leave out a call while other definitions
        have much to do.
        """

    def pack(self, rows: Int32s, stamp: int) -> Packed:
        """Encode rows for the changelog, as holding all events below source offset `stamp`."""

    def unpack(self, persons: int, slots: Int32s, packed: Packed) -> None:
        """Replace the rows of some persons by what was logged of them.

        Raises:
            ValueError: a row has a layout that this version does not know.
        """

    def restored(self, clock: int | None = None) -> None:
        """End restoring: from now on every event counts.

        `clock` is what `self.clock` was when the last event that is in the state was folded.
        """

    def rewind(self) -> None:
        """Turn the clock back to the beginning, for events of persons who have no row yet."""

    def unlogged(self, rows: Int32s) -> Int32s:
        """Return those of `rows` that were touched since they were last packed."""

    def rows_of(self, persons: Int32s) -> Int32s:
        """Return the rows of some persons, -1 for a person who has none."""

    def persons_of(self, rows: Int32s) -> Int32s:
        """Return the persons of some rows."""

    def dump(self) -> StateColumns:
        """Return a copy of the columns, which `load` of the same version reads."""

    def load(self, columns: StateColumns, stamp: int) -> None:
        """Replace the state by what `dump` returned, as of source offset `stamp`."""


class Aggregates(Protocol[C_contra]):
    """What is counted over all rows of one definition in one partition, by period.

    A period is a number of the operator's own (a day, a bucket); `TOTAL` stands for all of them.
    """

    def __iter__(self) -> Iterator[int]:
        """Yield the periods that have a published record, `TOTAL` left out."""

    def apply(self, changes: C_contra) -> set[int]:
        """Count changes; return the periods whose record differs now."""

    def succeed(self, before: Self) -> None:
        """Add an empty record for each period of `before`, and track the values that it tracks.

        Nothing is counted by that. Published records are replaced, for a deleted one may come back.
        """


class PartitionContext(NamedTuple):
    """A partition, as publishers see it at one moment."""

    partition: int
    position: int  # its live definitions hold the events below this offset
    persons: KeyIndex
    now_ms: int


# The changes of several instances of one operator.
Changed: TypeAlias = Sequence[tuple[I, C]]


class Publisher(Protocol[I_contra, C_contra]):
    """Publishes the results of one operator, each partition's to the partition of that number."""

    def follow(self) -> None:
        """Read what results depend on besides events, between two epochs; may block shortly."""

    @property
    def caught_up(self) -> bool:
        """Whether `follow` has read all that was there when it began."""

    def changes(
        self, context: PartitionContext, changed: Sequence[tuple[I_contra, C_contra]]
    ) -> None:
        """Publish what a batch, or time, changed for persons."""

    def expired(
        self, context: PartitionContext, expired: Sequence[tuple[I_contra, ChangeRecords]]
    ) -> None:
        """Publish `Expired.timeouts`."""

    def aggregates(self, context: PartitionContext, instance: I_contra) -> None:
        """Publish the periods that are in `instance.unpublished`, and the total."""

    def restore(
        self, partition: int, instances: Mapping[Key, I_contra], reader: Reader
    ) -> Generator[None, None, None]:
        """Load the published aggregates in steps, and delete those of definitions that ended."""

    def forget(self, context: PartitionContext, instance: I_contra) -> None:
        """Delete all that is published of a definition that ends."""

    def supersede(self, context: PartitionContext, instance: I_contra) -> None:
        """Publish what was held back as long as `instance.has_previous`.

        A topic with one record a person, whatever the version, holds that of the previous version
        until then. Other topics have records of both, and hold nothing back.
        """


def _reads_nothing(_: Definition) -> Sequence[PropertyRead]:
    return ()


class Operator(NamedTuple, Generic[D, I, C]):
    """An operator, as the engine runs it.

    Attributes:
        spec: what it is to both sides: name, decoder, limit and topics.
        selectors: select the events that a definition needs, up to 32 selectors.
        instance: makes the `OperatorInstance` of a definition, given the allowed lateness in ms.
        publisher: makes the operator's publisher; registers its schemas, so it may block.
        reads: the properties whose values `PersonState.fold` needs. Each is parsed: keep them few.
    """

    spec: OperatorSpec
    selectors: Callable[[D], Sequence[EventSelector]]
    instance: Callable[[D, int], I]
    publisher: Callable[[Settings, SchemaRegistry, Outbox], Publisher[I, C]]
    reads: Callable[[D], Sequence[PropertyRead]] = _reads_nothing

    @property
    def name(self) -> str:
        """The operator's name, which is the `kind` in a definition's record key."""
        return self.spec.name


# Operators side by side, each with types of its own, for which Python's type system has no word.
AnyOperator: TypeAlias = Operator[Any, Any, Any]
AnyPublisher: TypeAlias = Publisher[Any, Any]
