"""That a cohort's grid has changed, as the live WebSocket says it."""

import datetime
from functools import partial

import msgspec

from schemas.operators.cohort import CohortDefinition
from services.query.http.params import instant
from services.query.operators.cohort.view import CohortResultsView
from services.query.operators.live import encode_live
from services.query.views.progress import State


class LiveCohort(msgspec.Struct, frozen=True, kw_only=True):
    """A cohort whose grid has changed; the fields are those of `CohortResultsResponse`.

    A grid has up to 60 columns and a row for each period since the first event, so it is not sent
    each time: REST has it.
    """

    id: str
    version: int
    state: State
    backfilled: float
    persons: int
    late_dropped: int
    updated_at: datetime.datetime | None
    previous: "LiveCohort | None" = None


def live_cohort(
    definition: CohortDefinition, previous: CohortDefinition | None, results: CohortResultsView
) -> bytes:
    """Return how far a cohort is, and the version before, in JSON."""
    return encode_live(definition, previous, partial(_live, results))


def _live(
    results: CohortResultsView, definition: CohortDefinition, previous: LiveCohort | None
) -> LiveCohort:
    aggregates = results.aggregates(definition)
    updated_at = aggregates.updated_at
    return LiveCohort(
        id=definition.id,
        version=definition.version,
        state=aggregates.status.state,
        backfilled=aggregates.status.backfilled,
        persons=sum(row.persons for row in aggregates.rows.values()),
        late_dropped=aggregates.late_dropped,
        updated_at=None if updated_at is None else instant(updated_at),
        previous=previous,
    )
