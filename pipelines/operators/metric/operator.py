"""Metrics as an operator: measures of events over time, and active persons."""

from collections.abc import Sequence
from typing import Final

from pipelines.engine.operator import ChangeRecords, Operator
from pipelines.matching.selectors import EVENT_NAME
from pipelines.operators.metric.instance import MetricInstance, metric_instance
from pipelines.operators.metric.publisher import MetricPublisher
from pipelines.operators.metric.state import BucketAggregates
from schemas.event_filter import EventFilter
from schemas.operators import metric
from schemas.operators.metric import MetricDefinition


def _selectors(definition: MetricDefinition) -> tuple[EventFilter, ...]:
    return (definition.metric.filter,)


def _reads(definition: MetricDefinition) -> Sequence[str]:
    of = definition.metric
    if of.by_event:
        return (EVENT_NAME,)
    return () if of.property is None else (of.property,)


METRIC: Final[Operator[MetricDefinition, MetricInstance, BucketAggregates | ChangeRecords]] = (
    Operator(metric.METRIC, _selectors, metric_instance, MetricPublisher, _reads)
)
