"""A segment's figures: from counts, wherever they were counted, to what the API answers."""

import datetime
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

from schemas.operators.segment import Rule, SegmentDefinition
from schemas.time.calendar import begin_of
from services.query.http.params import Source, instant
from services.query.views.progress import LIVE, State, StatusResponse

MAX_OVERLAPPED: Final = 3


class Moves(msgspec.Struct, frozen=True):
    """How often persons entered and left."""

    entered: int
    left: int

    def __add__(self, other: "Moves") -> "Moves":
        return Moves(self.entered + other.entered, self.left + other.left)


class SegmentCounts(NamedTuple):
    """All that is counted of a segment; days from 1970. `status` says how far that is."""

    persons: int
    days: dict[int, Moves]
    late_dropped: int
    updated_at: int | None
    positions: dict[int, int]
    status: StatusResponse = LIVE


class SegmentResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A segment as the API shows it."""

    id: str
    version: int
    name: str
    rule: Rule
    created_at: datetime.datetime
    updated_at: datetime.datetime


class SegmentDayResponse(msgspec.Struct, frozen=True):
    """How often persons entered and left on a day (UTC), and how many were in at its end."""

    day: datetime.date
    persons: int
    entered: int
    left: int


class SegmentResultsResponse(msgspec.Struct, frozen=True):
    """How many persons are in a segment, and were.

    A segment that was defined, or changed, after events had come is `backfilling` until it has
    caught up with them, and `backfilled` is the share of the events that it has taken in (0 to 1):
    until then it is what it was when those events came. `days` has the days on which anybody moved,
    by the clock as it was then; ClickHouse (`source=store`) counts who is in now, and no days.
    `late_dropped` counts the events that came too late to be a step of a `sequence`.
    `positions` has for each partition of the event store the offset before which all events are in.
    """

    segment: SegmentResponse
    source: Source
    state: State
    backfilled: float
    persons: int
    days: list[SegmentDayResponse]
    late_dropped: int
    updated_at: datetime.datetime | None
    positions: dict[int, int]


class SegmentMembersResponse(msgspec.Struct, frozen=True):
    """Some of the persons in a segment, by id; `next` is the next page's `after`, null at the end.

    While the segment is `backfilling` they are those of the time of the events it has taken in.
    """

    id: str
    version: int
    source: Source
    state: State
    persons: list[str]
    next: str | None


class OverlapResponse(msgspec.Struct, frozen=True):
    """How many persons are in all of some segments."""

    segments: list[str]
    persons: int


class SegmentOverlapResponse(msgspec.Struct, frozen=True):
    """How many persons two or three segments have in common: each alone, each two, and all."""

    source: Source
    state: State
    overlaps: list[OverlapResponse]


def show(definition: SegmentDefinition) -> SegmentResponse:
    """Return what the API shows of a segment."""
    return SegmentResponse(
        id=definition.id,
        version=definition.version,
        name=definition.segment.name,
        rule=definition.segment.rule,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: SegmentDefinition,
    source: Source,
    counted: SegmentCounts,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
) -> SegmentResultsResponse:
    """Return what the API answers, with the days from `first` to `last`."""
    days = sorted(counted.days.items())
    sizes = accumulate(moves.entered - moves.left for _, moves in days)
    shown = [
        SegmentDayResponse(begin_of("day", day), size, moves.entered, moves.left)
        for (day, moves), size in zip(days, sizes, strict=True)
    ]
    return SegmentResultsResponse(
        segment=show(definition),
        source=source,
        state=counted.status.state,
        backfilled=counted.status.backfilled,
        persons=counted.persons,
        days=[one for one in shown if first <= one.day <= last],
        late_dropped=counted.late_dropped,
        updated_at=None if counted.updated_at is None else instant(counted.updated_at),
        positions=dict(sorted(counted.positions.items())),
    )
