"""One partition of the event store, as all definitions see it: persons, rows, what is unlogged.

Persons are logged some seconds after their first row was touched, so that one who does ten things
in that time is logged once, with the rows of all definitions (`person_records`). Until then the
event store is their log: `recovery_offset` is the offset from which events must be folded again on
top of what is logged, and each logged row carries the offset up to which events are in it (as pages
do in a database's write-ahead log). A row that cannot wait is logged by itself, and its person's
others do not pay for it.

A definition that came later first catches up with history (`Backfill`): the events before it are
folded into it alone, from the beginning of the event store on, between the epochs of the others. As
soon as it has come to where the partition stands, it is live like them.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.columnar.jit import Int32s, Int64s
from pipelines.columnar.key_index import KeyIndex
from pipelines.columnar.string_column import ArrowColumn, StringColumn
from pipelines.engine.instance import AnyInstance, Backfill, UnloggedRows
from pipelines.engine.operator import NEVER, TOTAL, Expired, FoldResult, Packed
from pipelines.engine.person_record import Part, join, person_key, person_keys, row_keys, split
from pipelines.matching.match import Key, Match
from pipelines.worker.telemetry import LATE
from schemas.time.since import ALL_TIME

A = TypeVar("A")
B = TypeVar("B")

_NONE: Final = -1
_PACKED_BATCH: Final = 5_000  # persons: they come to some kilobytes each
# Rows that time changes in one call: who has more to do goes on with it in the next, so that no
# commit takes long, however many are due in one moment.
_EXPIRED_BATCH: Final = 20_000


class OffsetRange(NamedTuple):
    """Offsets from `begin` to `end`, which is not one of them."""

    begin: int
    end: int


_ALL: Final = OffsetRange(0, 2**62)


class EventColumns(NamedTuple):
    """A batch of events, as far as operators look at it."""

    projects: StringColumn
    persons: StringColumn
    at: Int64s
    offsets: Int64s


class Partition:
    """State of one partition. Pure but for its own columns: knows no topic and no clock."""

    def __init__(self) -> None:
        self.position = 0
        self.persons = KeyIndex()
        self.instances: dict[Key, AnyInstance] = {}
        # How far the newest event of each project is ahead of the broker's clock, mostly below 0:
        # added to the time of day it gives the project's own time, which goes on without events.
        self.ahead: dict[str, int] = {}
        self._to_log: list[tuple[Key, Int32s]] = []  # by the next commit
        self._expire_first: Key | None = None

    @property
    def recovery_offset(self) -> int:
        """The first event that may not be in what is logged of the live definitions."""
        live = (one for one in self.instances.values() if one.backfill is None)
        return min((one.recovery_offset(self.position) for one in live), default=self.position)

    @property
    def backfilling(self) -> dict[Key, Backfill]:
        """The definitions that are not live yet, and how far they are."""
        return {
            key: one.backfill
            for key, one in self.instances.items()
            if one.backfill is not None and not one.failed
        }

    def position_of(self, one: AnyInstance) -> int:
        """Events of the partition below this offset are in it."""
        return self.position if one.backfill is None else one.backfill.at

    @property
    def rows(self) -> int:
        """Rows of persons, of all definitions."""
        return sum(one.state.size for one in list(self.instances.values()))

    @property
    def nbytes(self) -> int:
        """Memory held by rows, and by the names of persons."""
        states = [one.state.nbytes for one in list(self.instances.values())]
        return self.persons.nbytes + sum(states)

    def fold(
        self, events: EventColumns, matches: Mapping[Key, Match], due: int
    ) -> Iterator[tuple[AnyInstance, Any]]:
        """Fold a batch into each live definition that it concerns; yields what changed.

        `due` is when the rows that are touched now are to be logged.
        """
        return self._publish(self._fold(events, matches, self._live(), due, count=True))

    def backfill(
        self,
        events: EventColumns,
        matches: Mapping[Key, Match],
        offsets: OffsetRange,
        ahead: Mapping[str, int],
        due: int,
    ) -> Iterator[tuple[AnyInstance, Any]]:
        """Fold a stretch of history into the definitions that have come to it.

        `ahead` is what `hear` is told of live events.
        """
        come = {
            key: OffsetRange(backfill.at, offsets.end)
            for key, backfill in self.backfilling.items()
            if offsets.begin <= backfill.at < offsets.end
        }
        yield from self._publish(self._fold(events, matches, come, due, count=True))
        for key, backfill in self.backfilling.items():
            if key in come:
                backfill.at = offsets.end
                backfill.ahead = max(backfill.ahead, ahead.get(key.project, NEVER))
                self.instances[key].unpublished.add(TOTAL)

    def promote(self, come_to: int) -> list[Key]:
        """Have what has come so far go on with the partition: nothing lies between."""
        there = {
            key: backfill for key, backfill in self.backfilling.items() if backfill.at >= come_to
        }
        for key, backfill in there.items():
            self.instances[key].backfill = None
            self.instances[key].live_since = self.position
            self.instances[key].unpublished.add(TOTAL)
            self.advance_event_clock(key.project, backfill.ahead)
        return list(there)

    def replay(self, events: EventColumns, matches: Mapping[Key, Match], due: int) -> None:
        """Fold events again whose results are published already: into what is live."""
        for _ in self._fold(events, matches, self._live(), due, count=False):
            pass

    def replay_backfill(self, events: EventColumns, matches: Mapping[Key, Match], due: int) -> None:
        """Fold events again whose results are published already: into what is not live yet."""
        backfilling = {
            key: OffsetRange(0, backfill.at) for key, backfill in self.backfilling.items()
        }
        for _ in self._fold(events, matches, backfilling, due, count=False):
            pass

    def _live(self) -> dict[Key, OffsetRange]:
        return {key: _ALL for key, one in self.instances.items() if one.live}

    def _publish(
        self, folded: Iterable[tuple[AnyInstance, FoldResult[Any]]]
    ) -> Iterator[tuple[AnyInstance, Any]]:
        for one, (changes, _, late, flush_now) in folded:
            if late:
                one.late += late
                LATE.labels(one.key.operator).inc(late)
                one.unpublished.add(TOTAL)
            if len(flush_now):
                self._to_log.append((one.key, flush_now))
            yield one, changes

    def _fold(
        self,
        events: EventColumns,
        matches: Mapping[Key, Match],
        ranges: Mapping[Key, OffsetRange],
        due: int,
        *,
        count: bool,
    ) -> Iterator[tuple[AnyInstance, FoldResult[Any]]]:
        """Fold into each definition those events that lie in its stretch, and `count` changes."""
        concerned = {key: match for key, match in matches.items() if key in ranges}
        slots = self._slots(
            events,
            (match for key, match in concerned.items() if self.instances[key].state.by_person),
        )

        def fold(key: Key) -> tuple[AnyInstance, int, FoldResult[Any]] | None:
            one, match = self.instances[key], concerned[key]
            begin_end = np.searchsorted(events.offsets, ranges[key])
            match = match.cut(slice(*np.searchsorted(match.rows, begin_end)))
            if one.since_ms != ALL_TIME:
                match = match.cut(events.at.take(match.rows) >= one.since_ms)
            rows, masks, values = match
            if not len(rows):
                return None
            offsets = events.offsets.take(rows)
            found: tuple[AnyInstance, int, FoldResult[Any]] | None = None
            with failing_alone(one):
                folded = one.state.fold(
                    len(self.persons),
                    slots.take(rows),
                    events.at.take(rows),
                    masks,
                    offsets,
                    values,
                )
                if count:
                    one.unpublished |= one.aggregates.apply(folded.changes)
                found = one, int(offsets[0]), folded
            return found  # noqa: RET504 (nothing, if something was raised)

        for found in side_by_side(fold, concerned):
            if found is not None:
                one, since, folded = found
                if len(folded.newly_dirty):
                    one.unlogged.append(UnloggedRows(folded.newly_dirty, since, due))
                yield one, folded

    def advance_event_clock(self, project: str, ahead_ms: int) -> None:
        """An event of the project bears a time so far ahead of its record's; `NEVER`: none does."""
        if ahead_ms != NEVER:
            self.ahead[project] = max(self.ahead.get(project, NEVER), ahead_ms)

    def expire(self, now_ms: int) -> Iterator[tuple[AnyInstance, Expired[Any]]]:
        """Let time pass for every live definition: yields what it changed.

        No event would bring these changes back, so their rows are `due` at once.
        """
        return self._expire(
            {
                key: now_ms + self.ahead[key.project]
                for key, one in self.instances.items()
                if one.live and key.project in self.ahead
            }
        )

    def expire_backfill(self, now_ms: int) -> Iterator[tuple[AnyInstance, Expired[Any]]]:
        """Let time pass up to `now_ms` of the past for the definitions that are not live yet."""
        return self._expire(
            {
                key: now_ms + backfill.ahead
                for key, backfill in self.backfilling.items()
                if backfill.ahead != NEVER
            }
        )

    def _expire(self, clocks: Mapping[Key, int]) -> Iterator[tuple[AnyInstance, Expired[Any]]]:
        keys, rows = list(clocks), 0
        first, self._expire_first = self._expire_first, None
        begin = keys.index(first) if first is not None and first in clocks else 0
        for key in (*keys[begin:], *keys[:begin]):
            if rows >= _EXPIRED_BATCH:
                self._expire_first = key
                break
            one = self.instances[key]
            expired = None
            with failing_alone(one):
                expired = one.state.expire(clocks[key])
                if expired is not None and expired.changes is not None:
                    one.unpublished |= one.aggregates.apply(expired.changes)
            if expired is not None and not one.failed:
                rows += len(expired.rows)
                if len(expired.rows):
                    self._to_log.append((key, expired.rows))
                yield one, expired

    def due(self, now_ms: int) -> Iterator[tuple[ArrowColumn, ArrowColumn]]:
        """What is to be logged by now, as keys and values, some at a time.

        It counts as logged when the epoch commits.
        """
        flush_now: defaultdict[Key, list[Int32s]] = defaultdict(list)
        for key, rows in self._to_log:
            flush_now[key].append(rows)
        self._to_log = []
        for key, parts in flush_now.items():
            if key in self.instances:
                rows = np.unique(np.concatenate(parts))
                for begin in range(0, len(rows), _PACKED_BATCH):
                    some = rows[begin : begin + _PACKED_BATCH]
                    yield from self._pack_rows(self.instances[key], some)
        persons: defaultdict[str, list[Int32s]] = defaultdict(list)
        for key, one in self.instances.items():
            while one.unlogged and one.unlogged[0].due <= now_ms:
                rows = one.state.unlogged(one.unlogged.popleft().rows)
                persons[key.project].append(one.state.persons_of(rows))
        for project, found in persons.items():
            slots = np.unique(np.concatenate(found))
            for begin in range(0, len(slots), _PACKED_BATCH):
                yield from self._pack(project, slots[begin : begin + _PACKED_BATCH])

    def _pack_rows(
        self, one: AnyInstance, rows: Int32s
    ) -> Iterator[tuple[ArrowColumn, ArrowColumn]]:
        packed = one.state.pack(rows, self.position_of(one))
        keys = self._row_keys(one, one.state.persons_of(rows))
        for some, records in join(len(rows), [Part(one.tag, np.arange(len(rows)), packed)]):
            yield keys[some], records

    def _row_keys(self, one: AnyInstance, persons: Int32s) -> ArrowColumn:
        return row_keys(one.tag, one.key.project, self.persons.second(persons))

    def _pack(self, project: str, persons: Int32s) -> Iterator[tuple[ArrowColumn, ArrowColumn]]:
        def pack(one: AnyInstance) -> Part:
            rows = one.state.rows_of(persons)
            places = np.flatnonzero(rows != _NONE)
            packed = one.state.pack(rows[places], self.position_of(one))
            return Part(one.tag, places, packed)

        parts = side_by_side(pack, self.of_project(project))
        keys = person_keys(project, self.persons.second(persons))
        for some, records in join(len(persons), parts):
            yield keys[some], records

    def unpack(self, keys: list[bytes], values: list[bytes]) -> NDArray[np.bool_]:
        """Take over logged records, which stand in the order in which they were logged.

        Tells which of them hold rows of a definition that is kept.
        """
        starts, data = StringColumn.of(pa.array(values, pa.binary()))
        parts = split(data, starts.astype(np.int64))
        by_tag = {int(one.tag): one for one in self.instances.values()}
        known = [tag for tag in np.unique(parts.tags).tolist() if tag in by_tag]
        kept = np.zeros(len(keys), np.bool_)
        for tag in known:
            kept[parts.records[parts.tags == tag]] = True
        names: ArrowColumn = pa.array(map(person_key, keys), pa.binary())
        names = pc.split_pattern(names, "/", max_splits=1)
        projects, persons = (StringColumn.of(pc.list_element(names, place)) for place in (0, 1))
        slots = np.zeros(len(keys), np.int32)
        slots[kept] = self.persons.intern(projects, persons, np.flatnonzero(kept))

        def unpack(tag: int) -> None:
            own = np.flatnonzero(parts.tags == tag)
            # A row may be in the record of its person and in one of its own: the later holds.
            persons, last = np.unique(slots[parts.records[own]][::-1], return_index=True)
            own = own[::-1][last]
            rows = Packed(data, parts.begins[own], parts.ends[own])
            by_tag[tag].state.unpack(len(self.persons), persons, rows)

        for _ in side_by_side(unpack, known):
            pass
        return kept

    def of_project(self, project: str) -> list[AnyInstance]:
        """The definitions of a project."""
        return [one for key, one in self.instances.items() if key.project == project]

    def only_in(self, key: Key) -> list[bytes]:
        """The log keys that are of this definition and of no other.

        They are those of its rows, and of the persons who have no row but that.
        """
        one = self.instances[key]
        state = one.state
        persons = state.persons_of(np.arange(state.size, dtype=np.int32))
        own = self._row_keys(one, persons)
        alone = np.ones(len(persons), np.bool_)
        for other in self.of_project(key.project):
            if other.state is not state:
                alone &= other.state.rows_of(persons) == _NONE
        last = person_keys(key.project, self.persons.second(persons[alone]))
        keys: list[bytes] = own.to_pylist() + last.to_pylist()
        return keys

    def restored(self, committed: int, clocks: Mapping[Key, int] | None = None) -> None:
        """All that was committed is in the state; `clocks` are what those that have one said."""
        self.position = committed
        for key, one in self.instances.items():
            one.state.restored((clocks or {}).get(key))

    def dump(self) -> dict[str, NDArray[Any]]:
        """A copy of the columns of all definitions, in the order of `running`."""
        columns = {f"persons.{name}": column.copy() for name, column in self.persons.dump().items()}
        for number, one in enumerate(self.instances.values()):
            for name, column in one.state.dump().items():
                columns[f"{number}.{name}"] = column
        return columns

    def load(
        self, columns: Mapping[str, NDArray[Any]], unlogged: Mapping[Key, OffsetRange]
    ) -> None:
        """Take over what `dump` gave; definitions that are not kept any more are left out.

        `unlogged` are the definitions in the order of `dump`, each with the stretch of events of
        which the log did not hold everything then: up to its end they are in the dump. Rows that
        were waiting wait again, for the log must be whole without the dump.
        """
        self.persons = KeyIndex.load(_below("persons", columns))
        for number, (key, (since, stamp)) in enumerate(unlogged.items()):
            if key in self.instances:
                state = self.instances[key].state
                state.load(_below(str(number), columns), stamp)
                rows = state.unlogged(np.arange(state.size, dtype=np.int32))
                self.instances[key].unlogged.append(UnloggedRows(rows, since, due=0))

    def _slots(self, events: EventColumns, matches: Iterable[Match]) -> Int32s:
        """The person of each event that is matched, and anything for the others."""
        matched = np.zeros(len(events.at), np.bool_)
        for match in matches:
            matched[match.rows] = True
        rows = np.flatnonzero(matched)
        slots = np.zeros(len(events.at), np.int32)
        slots[rows] = self.persons.intern(events.projects, events.persons, rows)
        return slots


_threads: Final = ThreadPoolExecutor(2, thread_name_prefix="definitions")


def side_by_side(call: Callable[[A], B], definitions: Collection[A]) -> Iterator[B]:
    """Make a call for each definition, two at a time: kernels run without the GIL."""
    return (_threads.map if len(definitions) > 1 else map)(call, definitions)


@contextmanager
def failing_alone(one: AnyInstance) -> Iterator[None]:
    """Whatever a definition raises inside ends it, with the reason, and nothing else."""
    try:
        yield
    except MemoryError:  # which is nobody's own
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is)
        one.fail(error)


def _below(prefix: str, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    begin = f"{prefix}."
    return {
        name.removeprefix(begin): column
        for name, column in columns.items()
        if name.startswith(begin)
    }
