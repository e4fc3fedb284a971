"""All funnels of one partition of the event store: persons, rows, figures, and what is unlogged.

Persons are logged some seconds after their first row was touched, so that one who does ten things
in that time is logged once, with the rows that they have in all funnels (`funnel_records`). Until
then the event store is their log: `redo_from` is the offset from which events must be folded again
on top of what is logged, and each logged row carries the offset up to which events are in it (as
pages do in a database's write-ahead log).
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

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


class Funnel:
    """One funnel as one partition keeps it."""

    def __init__(self, definition: FunnelDefinition, lateness_ms: int, since: int) -> None:
        steps = definition.funnel.steps
        self.definition = definition
        self.tag = tag_of(definition)
        self.since = since  # events from this offset on are counted
        self.state = FunnelState(Shape(len(steps), definition.funnel.window_s * 1000, lateness_ms))
        self.figures = Figures(len(steps))
        self.late = 0  # events that came too late to be counted
        self.unpublished: set[int] = set()  # days


class EventColumns(NamedTuple):
    """A batch of events, as far as funnels look at it."""

    projects: Texts
    persons: Texts
    at: Int64s
    offsets: Int64s


class _Waiting(NamedTuple):
    """Rows that were touched by events from `since` on, and are to be logged when `due`."""

    funnel: FunnelKey
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
        self._waiting: deque[_Waiting] = deque()
        self._changed_by_time: list[tuple[FunnelKey, Int32s]] = []

    @property
    def redo_from(self) -> int:
        """The first event that may not be in what is logged."""
        return self._waiting[0].since if self._waiting else self.position

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
        """Fold a batch into each funnel that it concerns; yields what changed, funnel by funnel.

        `due` is when the rows that are touched now are to be logged.
        """
        for funnel, changes, late in self._fold(events, matches, due):
            funnel.unpublished |= funnel.figures.apply(changes)
            if late:
                funnel.late += late
                LATE.labels("funnels").inc(late)
                funnel.unpublished.add(TOTAL)
            yield funnel, changes

    def redo(self, events: EventColumns, matches: Mapping[FunnelKey, Match], due: int) -> None:
        """Fold events again whose results are published already."""
        for _ in self._fold(events, matches, due):
            pass

    def _fold(
        self, events: EventColumns, matches: Mapping[FunnelKey, Match], due: int
    ) -> Iterator[tuple[Funnel, Records, int]]:
        slots = self._slots(events, matches.values())
        for key, match in matches.items():
            funnel = self.funnels.get(key)
            if funnel is None:
                continue
            offsets = events.offsets[match.rows]
            live = slice(int(np.searchsorted(offsets, funnel.since)), None)
            rows = match.rows[live]
            if not len(rows):
                continue
            folded = funnel.state.fold(
                len(self.persons), slots[rows], events.at[rows], match.masks[live], offsets[live]
            )
            if len(folded.fresh):
                self._waiting.append(_Waiting(key, folded.fresh, int(offsets[live][0]), due))
            yield funnel, folded.changes, folded.late

    def hear(self, project: str, ahead_ms: int) -> None:
        """An event of the project bears a time so far ahead of its record's."""
        self.ahead[project] = max(self.ahead.get(project, _NEVER), ahead_ms)

    def expire(self, now_ms: int) -> Iterator[tuple[Funnel, Records]]:
        """Let time pass for every funnel: yields the windows that have closed.

        No event would bring these changes back, so their rows are `due` at once.
        """
        for key, funnel in self.funnels.items():
            ahead = self.ahead.get(funnel.definition.project_id)
            expired = None if ahead is None else funnel.state.expire(now_ms + ahead)
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
            persons[key[0]].append(self.funnels[key].state.rows["slot"][rows])
        while self._waiting and self._waiting[0].due <= now_ms:
            waiting = self._waiting.popleft()
            funnel = self.funnels.get(waiting.funnel)
            if funnel is not None:
                rows = funnel.state.unlogged(waiting.rows)
                persons[waiting.funnel[0]].append(funnel.state.rows["slot"][rows])
        for project, slots in persons.items():
            yield self._pack(project, np.unique(np.concatenate(slots)))

    def _pack(self, project: str, persons: Int32s) -> tuple[list[bytes], list[bytes]]:
        parts = []
        for funnel in self.of_project(project):
            rows = funnel.state.rows_of(persons)
            places = np.flatnonzero(rows != NONE)
            packed = funnel.state.pack(rows[places], self.position)
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
        self, columns: Mapping[str, NDArray[Any]], keys: Iterable[FunnelKey], stamp: int, since: int
    ) -> None:
        """Take over what `dump` gave; funnels that are not kept any more are left out.

        `since` is what the log said then of `redo_from`: rows that were waiting wait again, for the
        log must be whole without the dump.
        """
        self.persons = KeyIndex.load(_below("persons", columns))
        for number, key in enumerate(keys):
            if key in self.funnels:
                state = self.funnels[key].state
                state.load(_below(str(number), columns), stamp)
                rows = state.unlogged(np.arange(state.size, dtype=np.int32))
                self._waiting.append(_Waiting(key, rows, since, due=0))

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
