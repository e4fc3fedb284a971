"""A segment's size as the live WebSocket sends it."""

import datetime
from functools import partial

import msgspec

from schemas.operators.segment import SegmentDefinition
from services.query.http.params import instant
from services.query.operators.live import encode_live
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
    return encode_live(definition, previous, partial(_live, results))


def _live(
    results: SegmentResultsView, definition: SegmentDefinition, previous: LiveSegment | None
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
