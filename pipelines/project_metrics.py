"""Metrics as an operator: figures of events over time, and persons who are active.

Those of events need no rows, as their figures hold all there is; those of persons remember when
each was active.
"""

from collections.abc import Sequence

from pipelines.actives_figures import ActivesFigures
from pipelines.actives_state import ActivesState
from pipelines.metric_figures import MetricFigures
from pipelines.metric_fold import MetricFold
from pipelines.metric_results import KIND, MetricResults
from pipelines.operators import EVENT_NAME, Kind
from schemas.buckets import Buckets
from schemas.cohorts import Occasion
from schemas.metrics import WINDOWS, MetricDefinition, decode


def _looks(definition: MetricDefinition) -> tuple[Occasion, ...]:
    return (definition.metric.of,)


def _reads(definition: MetricDefinition) -> Sequence[str]:
    metric = definition.metric
    if metric.by_event:
        return (EVENT_NAME,)
    return () if metric.property is None else (metric.property,)


def _state(definition: MetricDefinition, lateness_ms: int) -> ActivesState | MetricFold:
    metric = definition.metric
    if metric.measure == "persons":
        return ActivesState(metric.bucket_s, metric.timezone, lateness_ms)
    buckets = Buckets(metric.bucket_s, metric.timezone)
    return MetricFold(metric.measure, buckets, lateness_ms, named=metric.by_event)


def _figures(definition: MetricDefinition) -> ActivesFigures | MetricFigures:
    metric = definition.metric
    if metric.measure == "persons":
        return ActivesFigures(len(WINDOWS[metric.bucket_s]))
    return MetricFigures(metric.measure)


METRICS = Kind(KIND, decode, _looks, _state, _figures, MetricResults, _reads)
