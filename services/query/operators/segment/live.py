"""A segment's size as the live WebSocket sends it."""

import datetime

import msgspec

from schemas.operators.segment import SegmentDefinition
from services.query.http.params import instant
from services.query.operators.segment.view import SegmentResultsView
from services.query.views.progress import State


class LiveSegment(msgspec.Struct, frozen=True, kw_only=True):
    """How many persons are in a segment; the fields are those of `SegmentResultsResponse`."""

    id: str
    version: int
    state: State
    backfilled: float
    persons: int
    late_dropped: int
    updated_at: datetime.datetime | None
    previous: "LiveSegment | None" = None


def live_segment(
    definition: SegmentDefinition, previous: SegmentDefinition | None, results: SegmentResultsView
) -> bytes:
    """Return a segment's present size, and that of the version before, in JSON."""
    before = None if previous is None else _live(previous, None, results)
    return msgspec.json.encode(_live(definition, before, results))


def _live(
    definition: SegmentDefinition, previous: LiveSegment | None, results: SegmentResultsView
) -> LiveSegment:
    aggregates = results.aggregates(definition)
    updated_at = aggregates.updated_at
    return LiveSegment(
        id=definition.id,
        version=definition.version,
        state=aggregates.status.state,
        backfilled=aggregates.status.backfilled,
        persons=aggregates.persons,
        late_dropped=aggregates.late_dropped,
        updated_at=None if updated_at is None else instant(updated_at),
        previous=previous,
    )
