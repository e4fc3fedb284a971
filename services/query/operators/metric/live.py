"""A metric's results as the live WebSocket sends them."""

import datetime
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from schemas.operators.metric import MetricDefinition, buckets_of
from services.query.http.params import instant
from services.query.operators.live import encode_live
from services.query.operators.metric.aggregates import MetricQuery
from services.query.operators.metric.response import BucketResponse, WindowResponse, assemble
from services.query.operators.metric.view import MetricResultsView
from services.query.views.progress import State

# How long results hold without events: events per second fall then, persons become inactive, and
# buckets end.
REFRESH_S: Final = 1.0


class LiveMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric's latest results; the fields are those of `MetricResultsResponse`.

    `buckets` has the present bucket and the one before, if anything was measured in them: so it has
    the final results of the bucket that has just ended, and the corrections of late events. It is
    empty for a metric whose events are longer ago; REST has the older buckets. There is no `as_of`
    and no `clock`, since results are sent only if they differ, and `complete_until` is the begin of
    a bucket. The values of a breakdown are the most frequent ones of these buckets.
    """

    id: str
    version: int
    state: State
    backfilled: float
    now: BucketResponse
    active: list[WindowResponse] | None
    buckets: list[BucketResponse]
    late_dropped: int
    complete_until: datetime.datetime | None
    updated_at: datetime.datetime | None
    previous: "LiveMetric | None" = None
    error: int | UnsetType = UNSET


def live_metric(
    definition: MetricDefinition,
    previous: MetricDefinition | None,
    results: MetricResultsView,
    now: MetricQuery,
) -> bytes:
    """Return a metric's results as of `now`, and those of the version before, in JSON."""
    return encode_live(definition, previous, partial(_live, results, now))


def _live(
    results: MetricResultsView,
    now: MetricQuery,
    definition: MetricDefinition,
    previous: LiveMetric | None,
) -> LiveMetric:
    buckets = buckets_of(definition.metric)
    first = buckets.begin(buckets.number(now.as_of) - 1)
    query = now._replace(first=first, limit=2)
    complete = query.complete_until
    response = assemble(definition, "stream", results.aggregates(definition, query), query)
    return LiveMetric(
        id=definition.id,
        version=definition.version,
        state=response.state,
        backfilled=response.backfilled,
        now=response.now,
        active=response.active,
        buckets=response.buckets,
        late_dropped=response.late_dropped,
        complete_until=(
            None
            if complete is None or response.complete_until is None
            else instant(buckets.begin(buckets.number(complete)))
        ),
        updated_at=response.updated_at,
        previous=previous,
        error=response.error,
    )
