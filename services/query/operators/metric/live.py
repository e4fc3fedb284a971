"""A metric's figures as they are sent by themselves."""

import datetime
from typing import Final

import msgspec

from schemas.operators.metric import MetricDefinition
from schemas.time.buckets import Buckets
from services.query.operators.metric.response import (
    BucketResponse,
    MetricQuery,
    WindowResponse,
    assemble,
)
from services.query.operators.metric.view import MetricResultsView
from services.query.views.progress import State

# How long figures hold if nothing comes: events per second fall, persons are active no more, and
# buckets end.
REFRESH_S: Final = 1.0


class LiveMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A metric's newest figures; what they mean stands at `MetricResultsResponse`.

    `buckets` has, of the bucket of this moment and the one before, those that anything was measured
    in: so it has the final figures of the one that has just ended, and what late events correct in
    it. It is empty for a metric whose events are longer ago; older buckets are asked for over REST.
    When the figures were taken is not said, since they are sent only if they differ.
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


def live_metric(definition: MetricDefinition, results: MetricResultsView, as_of: int) -> bytes:
    """Return a metric's figures as they are at `as_of` (ms), a `LiveMetric` in JSON."""
    metric = definition.metric
    buckets = Buckets(metric.bucket_s, metric.timezone)
    before = buckets.begin(buckets.number(as_of) - 1)
    asked = MetricQuery(as_of, first=before, limit=2)
    answer = assemble(definition, "stream", results.figures(definition, asked), asked)
    live = LiveMetric(
        id=definition.id,
        version=definition.version,
        state=answer.state,
        backfilled=answer.backfilled,
        now=answer.now,
        active=answer.active,
        buckets=answer.buckets,
        late_dropped=answer.late_dropped,
        complete_until=answer.complete_until,
        updated_at=answer.updated_at,
    )
    return msgspec.json.encode(live)
