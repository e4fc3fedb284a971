"""What the API answers about segments, from the aggregates of the stream or of ClickHouse."""

import datetime
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations
from typing import Final

import msgspec

from schemas.operators.segment import Rule, SegmentDefinition
from schemas.time.calendar import begin_of
from services.query.http.params import Page, Source, instant
from services.query.operators.segment.aggregates import SegmentAggregates
from services.query.views.progress import State

MAX_OVERLAPPED: Final = 3


class SegmentResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A segment; `revision` rises with every change, `version` when what is counted changes."""

    id: str
    revision: int
    version: int
    name: str
    description: str
    rule: Rule
    timezone: str
    created_at: datetime.datetime
    updated_at: datetime.datetime


class SegmentDayResponse(msgspec.Struct, frozen=True):
    """How often persons entered and left on a day, and how many were in at its end.

    Days are those of the segment's time zone.
    """

    day: datetime.date
    persons: int
    entered: int
    left: int


class SegmentResultsResponse(msgspec.Struct, frozen=True):
    """How many persons are in a segment, and were.

    It is `backfilling` until it has caught up with the events that came before it was defined or
    changed: `backfilled` is the share of them that is counted (0 to 1). Until then `previous` has
    the results of the version before a change, which is kept up to date; otherwise it is null.
    While it is backfilling, the segment is as it was when the events it has counted came.

    `clock` is the project's time, as of which persons are in: that of its newest event and the time
    that has passed since, never ahead of the time of day. ClickHouse is asked as of that moment. It
    is null on the stream before the project's first event.

    `days` has the days on which anybody entered or left, by the clock of that time; ClickHouse
    (`source=store`) counts who is in at `clock`, and no days. `late_dropped` counts the events
    that came too late to be a step of a `sequence` at once. Scores of predictions count from
    `scores_since` on; it is null if the rule asks for none, and until then. `positions` has, for
    each partition of the event store, the offset before which all events are included, and no later
    ones: `as_of` takes them, together with `clock`. `complete_until` is the time before which all
    events are included but those that come later than the allowed lateness; null while it is not
    known.
    """

    segment: SegmentResponse
    source: Source
    state: State
    backfilled: float
    persons: int
    days: list[SegmentDayResponse]
    late_dropped: int
    scores_since: datetime.datetime | None
    clock: datetime.datetime | None
    updated_at: datetime.datetime | None
    positions: dict[int, int]
    complete_until: datetime.datetime | None = None
    previous: "SegmentResultsResponse | None" = None


class SegmentMembersResponse(msgspec.Struct, frozen=True):
    """Some of the persons in a segment, by id; `next` is the next page's `after`, null at the end.

    `clock` is the project's time as of which they are in, as with the results. While a changed
    segment is `backfilling`, `previous` has the page of the version before, after the same id;
    otherwise it is null. `positions` and `complete_until` are as with the results.
    """

    id: str
    version: int
    source: Source
    state: State
    persons: list[str]
    next: str | None
    clock: datetime.datetime | None
    positions: dict[int, int]
    complete_until: datetime.datetime | None = None
    previous: "SegmentMembersResponse | None" = None


class OverlapResponse(msgspec.Struct, frozen=True):
    """How many persons are in all of some segments."""

    segments: list[str]
    persons: int


class SegmentOverlapResponse(msgspec.Struct, frozen=True):
    """How many persons two or three segments have in common: each alone, each two, and all.

    `clock` is the project's time as of which they are in, as with the results. While one of them is
    `backfilling` after a change, `previous` has the numbers with the version before it in its
    place; otherwise it is null.
    """

    source: Source
    state: State
    overlaps: list[OverlapResponse]
    clock: datetime.datetime | None
    positions: dict[int, int]
    complete_until: datetime.datetime | None = None
    previous: "SegmentOverlapResponse | None" = None


def sets_of(items: Sequence[str]) -> list[tuple[str, ...]]:
    """Return each of some items alone, then each two of them, and so on."""
    return [some for size in range(1, len(items) + 1) for some in combinations(items, size)]


def show(definition: SegmentDefinition) -> SegmentResponse:
    """Return the response for a segment."""
    return SegmentResponse(
        id=definition.id,
        revision=definition.revision,
        version=definition.version,
        name=definition.segment.name,
        description=definition.segment.description,
        rule=definition.segment.rule,
        timezone=definition.segment.timezone,
        created_at=instant(definition.created_at),
        updated_at=instant(definition.updated_at),
    )


def assemble(
    definition: SegmentDefinition,
    source: Source,
    aggregates: SegmentAggregates,
    clock: int | None,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
    previous: SegmentResultsResponse | None = None,
    complete_until: datetime.datetime | None = None,
) -> SegmentResultsResponse:
    """Return the response with the days from `first` to `last`, both included."""
    days = sorted(aggregates.days.items())
    sizes = accumulate(moves.entered - moves.left for _, moves in days)
    shown = [
        SegmentDayResponse(begin_of("day", day), size, moves.entered, moves.left)
        for (day, moves), size in zip(days, sizes, strict=True)
    ]
    return SegmentResultsResponse(
        segment=show(definition),
        source=source,
        state=aggregates.status.state,
        backfilled=aggregates.status.backfilled,
        persons=aggregates.persons,
        days=[one for one in shown if first <= one.day <= last],
        late_dropped=aggregates.late_dropped,
        scores_since=_instant(aggregates.scores_since),
        clock=_instant(clock),
        updated_at=_instant(aggregates.updated_at),
        positions=dict(sorted(aggregates.positions.items())),
        complete_until=complete_until,
        previous=previous,
    )


def members_response(
    definition: SegmentDefinition,
    source: Source,
    state: State,
    found: Sequence[str],
    page: Page,
    clock: int | None,
    previous: SegmentMembersResponse | None = None,
    *,
    positions: Mapping[int, int],
    complete_until: datetime.datetime | None,
) -> SegmentMembersResponse:
    """Return a page of members, from up to one more than it has room for."""
    persons = list(found[: page.limit])
    return SegmentMembersResponse(
        id=definition.id,
        version=definition.version,
        source=source,
        state=state,
        persons=persons,
        next=persons[-1] if len(found) > page.limit else None,
        clock=_instant(clock),
        positions=dict(sorted(positions.items())),
        complete_until=complete_until,
        previous=previous,
    )


def overlap_response(
    source: Source,
    state: State,
    names: Sequence[str],
    counts: Sequence[int],
    clock: int | None,
    previous: SegmentOverlapResponse | None = None,
    *,
    positions: Mapping[int, int],
    complete_until: datetime.datetime | None,
) -> SegmentOverlapResponse:
    """Return how many are in each set of some segments, counted in the order of `sets_of`."""
    overlaps = [
        OverlapResponse(list(some), count)
        for some, count in zip(sets_of(names), counts, strict=True)
    ]
    included = dict(sorted(positions.items()))
    return SegmentOverlapResponse(
        source, state, overlaps, _instant(clock), included, complete_until, previous
    )


def _instant(ms: int | None) -> datetime.datetime | None:
    return None if ms is None else instant(ms)
