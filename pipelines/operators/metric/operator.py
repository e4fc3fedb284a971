"""Metrics as an operator: measures of events over time, and active persons."""

from collections.abc import Sequence
from typing import Final

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.operator import Operator
from pipelines.matching.selectors import EVENT_NAME, PropertyRead, ValueHash
from pipelines.operators.metric.instance import MetricInstance, metric_instance
from pipelines.operators.metric.publisher import MetricPublisher
from pipelines.operators.metric.state import MetricChanges
from schemas.event_filter import EventFilter
from schemas.operators import metric
from schemas.operators.metric import MetricDefinition


def _selectors(definition: MetricDefinition) -> tuple[EventFilter, ...]:
    return (definition.metric.filter,)


def _reads(definition: MetricDefinition) -> Sequence[PropertyRead]:
    of, reads = definition.metric, list[PropertyRead]()
    if of.by_event:
        reads.append(EVENT_NAME)
    if of.property is not None:
        reads.append(of.property)
    if of.breakdown is not None:
        reads.append(ValueHash((of.breakdown.property,)))
    return reads


METRIC: Final[Operator[MetricDefinition, MetricInstance, MetricChanges | ValuedChanges]] = Operator(
    metric.METRIC, _selectors, metric_instance, MetricPublisher, _reads
)
