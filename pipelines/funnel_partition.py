"""All funnels of one partition of the event store: persons, rows, figures, and what is unlogged.

Persons are logged some seconds after their first row was touched, so that one who does ten things
in that time is logged once, with the rows that they have in all funnels (`funnel_records`). Until
then the event store is their log: `redo_from` is the offset from which events must be folded again
on top of what is logged, and each logged row carries the offset up to which events are in it (as
pages do in a database's write-ahead log).

A funnel that was defined later first catches up with history (`Backfill`): the events before its
definition are folded into it alone, from the beginning of the event store on, between the epochs of
the others. As soon as it has come to where the partition stands, it is live like them.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.figures import Figures
from pipelines.funnel_fold import NONE, TOTAL, Records, Shape
from pipelines.funnel_records import Part, join, split, tag_of
from pipelines.funnel_state import FunnelState, Packed
from pipelines.kernel import Int32s, Int64s
from pipelines.keys import ArrowColumn, KeyIndex, Texts
from pipelines.matching import FunnelKey, Match
from pipelines.metrics import LATE
from schemas.definitions import FunnelDefinition

_NEVER = -(2**62)


class Backfill(msgspec.Struct):
    """How far a funnel has caught up with history.

    Events below offset `at` are in it; `ahead` is their project's clock, as in `FunnelPartition`.
    """

    at: int = 0
    ahead: int = _NEVER


class Funnel:
    """One funnel as one partition keeps it; `backfill` is None as soon as it is live."""

    def __init__(
        self, definition: FunnelDefinition, lateness_ms: int, backfill: Backfill | None = None
    ) -> None:
        steps = definition.funnel.steps
        self.definition = definition
        self.tag = tag_of(definition)
        self.backfill = backfill
        self.waiting: deque[_Waiting] = deque()
        self.state = FunnelState(Shape(len(steps), definition.funnel.window_s * 1000, lateness_ms))
        self.figures = Figures(len(steps))
        self.late = 0  # events that came too late to be counted
        self.unpublished: set[int] = set()  # days

    def redo_from(self, position: int) -> int:
        """The first event that may not be in what is logged; `position` is the next one to come."""
        return self.waiting[0].since if self.waiting else position


class Stretch(NamedTuple):
    """Offsets from `begin` to `end`, which is not one of them."""

    begin: int
    end: int


_ALL: Final = Stretch(0, 2**62)


class EventColumns(NamedTuple):
    """A batch of events, as far as funnels look at it."""

    projects: Texts
    persons: Texts
    at: Int64s
    offsets: Int64s


class _Waiting(NamedTuple):
    """Rows that were touched by events from `since` on, and are to be logged when `due`."""

    rows: Int32s
    since: int
    due: int


class FunnelPartition:
    """State of one partition. Pure but for its own columns: knows no topic and no clock."""

    def __init__(self) -> None:
        self.position = 0
        self.persons = KeyIndex()
        self.funnels: dict[FunnelKey, Funnel] = {}
        # How far the newest event of each project is ahead of the broker's clock, mostly below 0:
        # added to the time of day it gives the project's own time, which goes on without events.
        self.ahead: dict[str, int] = {}
        self._changed_by_time: list[tuple[FunnelKey, Int32s]] = []

    @property
    def redo_from(self) -> int:
        """The first event that may not be in what is logged of the live funnels."""
        live = (funnel for funnel in self.funnels.values() if funnel.backfill is None)
        return min((funnel.redo_from(self.position) for funnel in live), default=self.position)

    @property
    def behind(self) -> dict[FunnelKey, Backfill]:
        """The funnels that are not live yet, and how far they are."""
        return {key: f.backfill for key, f in self.funnels.items() if f.backfill is not None}

    def position_of(self, funnel: Funnel) -> int:
        """Events of the partition below this offset are in the funnel."""
        return self.position if funnel.backfill is None else funnel.backfill.at

    @property
    def rows(self) -> int:
        """Persons in funnels."""
        return sum(funnel.state.size for funnel in list(self.funnels.values()))

    @property
    def nbytes(self) -> int:
        """Memory held by rows, and by the names of persons."""
        states = [funnel.state.nbytes for funnel in list(self.funnels.values())]
        return self.persons.nbytes + sum(states)

    def fold(
        self, events: EventColumns, matches: Mapping[FunnelKey, Match], due: int
    ) -> Iterator[tuple[Funnel, Records]]:
        """Fold a batch into each live funnel that it concerns; yields what changed, by funnel.

        `due` is when the rows that are touched now are to be logged.
        """
        return self._publish(self._fold(events, matches, self._live(), due))

    def backfill(
        self,
        events: EventColumns,
        matches: Mapping[FunnelKey, Match],
        stretch: Stretch,
        ahead: Mapping[str, int],
        due: int,
    ) -> Iterator[tuple[Funnel, Records]]:
        """Fold a stretch of history into the funnels that have come to it.

        `ahead` is what `hear` is told of live events.
        """
        come = {
            key: Stretch(backfill.at, stretch.end)
            for key, backfill in self.behind.items()
            if stretch.begin <= backfill.at < stretch.end
        }
        yield from self._publish(self._fold(events, matches, come, due))
        for key, backfill in self.behind.items():
            if key in come:
                backfill.at = stretch.end
                backfill.ahead = max(backfill.ahead, ahead.get(key[0], _NEVER))
                self.funnels[key].unpublished.add(TOTAL)

    def go_live(self, come_to: int) -> list[FunnelKey]:
        """Have the funnels that have come so far go on with the partition: nothing lies between."""
        there = {key: backfill for key, backfill in self.behind.items() if backfill.at >= come_to}
        for key, backfill in there.items():
            self.funnels[key].backfill = None
            self.funnels[key].unpublished.add(TOTAL)
            self.hear(key[0], backfill.ahead)
        return list(there)

    def redo(self, events: EventColumns, matches: Mapping[FunnelKey, Match], due: int) -> None:
        """Fold events again whose results are published already: into what is live."""
        for _ in self._fold(events, matches, self._live(), due):
            pass

    def redo_backfill(
        self, events: EventColumns, matches: Mapping[FunnelKey, Match], due: int
    ) -> None:
        """Fold events again whose results are published already: into what is not live yet."""
        behind = {key: Stretch(0, backfill.at) for key, backfill in self.behind.items()}
        for _ in self._fold(events, matches, behind, due):
            pass

    def _live(self) -> dict[FunnelKey, Stretch]:
        return {key: _ALL for key, funnel in self.funnels.items() if funnel.backfill is None}

    def _publish(
        self, folded: Iterable[tuple[Funnel, Records, int]]
    ) -> Iterator[tuple[Funnel, Records]]:
        for funnel, changes, late in folded:
            funnel.unpublished |= funnel.figures.apply(changes)
            if late:
                funnel.late += late
                LATE.labels("funnels").inc(late)
                funnel.unpublished.add(TOTAL)
            yield funnel, changes

    def _fold(
        self,
        events: EventColumns,
        matches: Mapping[FunnelKey, Match],
        stretches: Mapping[FunnelKey, Stretch],
        due: int,
    ) -> Iterator[tuple[Funnel, Records, int]]:
        """Fold into each funnel those events that lie in its stretch."""
        concerned = {key: match for key, match in matches.items() if key in stretches}
        slots = self._slots(events, concerned.values())
        for key, match in concerned.items():
            funnel = self.funnels[key]
            offsets = events.offsets[match.rows]
            part = slice(*np.searchsorted(offsets, stretches[key]))
            rows = match.rows[part]
            if not len(rows):
                continue
            folded = funnel.state.fold(
                len(self.persons), slots[rows], events.at[rows], match.masks[part], offsets[part]
            )
            if len(folded.fresh):
                funnel.waiting.append(_Waiting(folded.fresh, int(offsets[part][0]), due))
            yield funnel, folded.changes, folded.late

    def hear(self, project: str, ahead_ms: int) -> None:
        """An event of the project bears a time so far ahead of its record's."""
        self.ahead[project] = max(self.ahead.get(project, _NEVER), ahead_ms)

    def expire(self, now_ms: int) -> Iterator[tuple[Funnel, Records]]:
        """Let time pass for every live funnel: yields the windows that have closed.

        No event would bring these changes back, so their rows are `due` at once.
        """
        return self._expire(
            {
                key: now_ms + self.ahead[key[0]]
                for key, funnel in self.funnels.items()
                if funnel.backfill is None and key[0] in self.ahead
            }
        )

    def expire_backfill(self, now_ms: int) -> Iterator[tuple[Funnel, Records]]:
        """Let time pass up to `now_ms` of the past for the funnels that are not live yet."""
        return self._expire({key: now_ms + backfill.ahead for key, backfill in self.behind.items()})

    def _expire(self, clocks: Mapping[FunnelKey, int]) -> Iterator[tuple[Funnel, Records]]:
        for key, now in clocks.items():
            funnel = self.funnels[key]
            expired = funnel.state.expire(now)
            if expired is not None:
                changed = np.unique(expired["row"][expired["row"] != NONE])
                if len(changed):
                    self._changed_by_time.append((key, changed))
                yield funnel, expired

    def due(self, now_ms: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """What is to be logged by now, as keys and values, project by project.

        It counts as logged when the epoch commits.
        """
        persons: defaultdict[str, list[Int32s]] = defaultdict(list)
        changed, self._changed_by_time = self._changed_by_time, []
        for key, rows in changed:
            if key in self.funnels:
                persons[key[0]].append(self.funnels[key].state.rows["slot"][rows])
        for key, funnel in self.funnels.items():
            while funnel.waiting and funnel.waiting[0].due <= now_ms:
                rows = funnel.state.unlogged(funnel.waiting.popleft().rows)
                persons[key[0]].append(funnel.state.rows["slot"][rows])
        for project, slots in persons.items():
            yield self._pack(project, np.unique(np.concatenate(slots)))

    def _pack(self, project: str, persons: Int32s) -> tuple[list[bytes], list[bytes]]:
        parts = []
        for funnel in self.of_project(project):
            rows = funnel.state.rows_of(persons)
            places = np.flatnonzero(rows != NONE)
            packed = funnel.state.pack(rows[places], self.position_of(funnel))
            parts.append(Part(funnel.tag, places, packed))
        return person_keys(project, self.persons.second(persons)), join(len(persons), parts)

    def unpack(self, keys: list[bytes], values: list[bytes]) -> NDArray[np.bool_]:
        """Take over logged records; tells which of them hold rows of a funnel that is kept."""
        starts = np.zeros(len(values) + 1, np.int64)
        np.cumsum([len(value) for value in values], out=starts[1:])
        data = np.frombuffer(b"".join(values), np.uint8)
        parts = split(data, starts)
        funnels = {int(funnel.tag): funnel for funnel in self.funnels.values()}
        known = [tag for tag in np.unique(parts.tags).tolist() if tag in funnels]
        kept = np.zeros(len(keys), np.bool_)
        for tag in known:
            kept[parts.records[parts.tags == tag]] = True
        names = [key.split(b"/", 1) for key in keys]
        projects = Texts.of(pa.array([name[0] for name in names], pa.binary()))
        persons = Texts.of(pa.array([name[-1] for name in names], pa.binary()))
        slots = np.zeros(len(keys), np.int32)
        slots[kept] = self.persons.intern(projects, persons, np.flatnonzero(kept))
        for tag in known:
            own = np.flatnonzero(parts.tags == tag)
            rows = Packed(data, parts.begins[own], parts.ends[own])
            funnels[tag].state.unpack(len(self.persons), slots[parts.records[own]], rows)
        return kept

    def of_project(self, project: str) -> list[Funnel]:
        """The funnels of a project."""
        return [funnel for key, funnel in self.funnels.items() if key[0] == project]

    def only_in(self, key: FunnelKey) -> list[bytes]:
        """The log keys of the persons who have a row in this funnel and in no other."""
        state = self.funnels[key].state
        persons = state.rows["slot"][: state.size]
        alone = np.ones(len(persons), np.bool_)
        for other in self.of_project(key[0]):
            if other.state is not state:
                alone &= other.state.rows_of(persons) == NONE
        return person_keys(key[0], self.persons.second(persons[alone]))

    def restored(self, committed: int) -> None:
        """All that was committed is in the state."""
        self.position = committed
        for funnel in self.funnels.values():
            funnel.state.restored()

    def dump(self) -> dict[str, NDArray[Any]]:
        """A copy of the columns of all funnels, in the order of `funnels`."""
        columns = {f"persons.{name}": column.copy() for name, column in self.persons.dump().items()}
        for number, funnel in enumerate(self.funnels.values()):
            for name, column in funnel.state.dump().items():
                columns[f"{number}.{name}"] = column
        return columns

    def load(
        self, columns: Mapping[str, NDArray[Any]], unlogged: Mapping[FunnelKey, Stretch]
    ) -> None:
        """Take over what `dump` gave; funnels that are not kept any more are left out.

        `unlogged` are the funnels in the order of `dump`, each with the stretch of events of which
        the log did not hold everything then: up to its end they are in the dump. Rows that were
        waiting wait again, for the log must be whole without the dump.
        """
        self.persons = KeyIndex.load(_below("persons", columns))
        for number, (key, (since, stamp)) in enumerate(unlogged.items()):
            if key in self.funnels:
                state = self.funnels[key].state
                state.load(_below(str(number), columns), stamp)
                rows = state.unlogged(np.arange(state.size, dtype=np.int32))
                self.funnels[key].waiting.append(_Waiting(rows, since, due=0))

    def _slots(self, events: EventColumns, matches: Iterable[Match]) -> Int32s:
        """The person of each event that is matched, and anything for the others."""
        matched = np.zeros(len(events.at), np.bool_)
        for match in matches:
            matched[match.rows] = True
        rows = np.flatnonzero(matched)
        slots = np.zeros(len(events.at), np.int32)
        slots[rows] = self.persons.intern(events.projects, events.persons, rows)
        return slots


def name_of(key: FunnelKey) -> str:
    """What a version of a funnel is called in what the log says of itself."""
    project, funnel, version = key
    return f"{project}/{funnel}/{version}"


def person_keys(project: str, persons: ArrowColumn) -> list[bytes]:
    """The log keys of persons: `project/person`."""
    prefix = f"{project}/"
    return [(prefix + person).encode() for person in persons.to_pylist()]


def _below(prefix: str, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    begin = f"{prefix}."
    return {
        name.removeprefix(begin): column
        for name, column in columns.items()
        if name.startswith(begin)
    }
