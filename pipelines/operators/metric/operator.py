"""Metrics as an operator: figures of events over time, and persons who are active.

Those of events need no rows, as their figures hold all there is; those of persons remember when
each was active.
"""

from collections.abc import Sequence

from pipelines.engine.operator import Operator
from pipelines.matching.selectors import EVENT_NAME
from pipelines.operators.metric.active_aggregates import ActiveAggregates
from pipelines.operators.metric.active_state import ActiveState
from pipelines.operators.metric.aggregates import MetricAggregates
from pipelines.operators.metric.kernel import MetricFold
from pipelines.operators.metric.publisher import KIND, MetricPublisher
from schemas.event_filter import EventFilter
from schemas.operators.metric import WINDOWS, MetricDefinition, decode
from schemas.time.buckets import Buckets


def _looks(definition: MetricDefinition) -> tuple[EventFilter, ...]:
    return (definition.metric.filter,)


def _reads(definition: MetricDefinition) -> Sequence[str]:
    metric = definition.metric
    if metric.by_event:
        return (EVENT_NAME,)
    return () if metric.property is None else (metric.property,)


def _state(definition: MetricDefinition, lateness_ms: int) -> ActiveState | MetricFold:
    metric = definition.metric
    if metric.measure == "persons":
        return ActiveState(metric.bucket_s, metric.timezone, lateness_ms)
    buckets = Buckets(metric.bucket_s, metric.timezone)
    return MetricFold(metric.measure, buckets, lateness_ms, named=metric.by_event)


def _figures(definition: MetricDefinition) -> ActiveAggregates | MetricAggregates:
    metric = definition.metric
    if metric.measure == "persons":
        return ActiveAggregates(len(WINDOWS[metric.bucket_s]))
    return MetricAggregates(metric.measure)


METRIC = Operator(KIND, decode, _looks, _state, _figures, MetricPublisher, _reads)
