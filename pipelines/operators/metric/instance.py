"""One metric in one partition, of events or of persons."""

from typing import TypeAlias

from pipelines.engine.instance import OperatorInstance
from pipelines.engine.operator import ChangeRecords
from pipelines.operators.metric.active_aggregates import ActiveAggregates
from pipelines.operators.metric.active_state import ActiveState
from pipelines.operators.metric.aggregates import MetricAggregates
from pipelines.operators.metric.state import BucketAggregates, MetricState
from schemas.operators.metric import WINDOWS, MetricDefinition
from schemas.time.buckets import Buckets


class EventMetricInstance(OperatorInstance[MetricDefinition, BucketAggregates]):
    """A metric of events as one partition runs it."""

    def __init__(self, definition: MetricDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        metric = definition.metric
        self.buckets = Buckets(metric.bucket_s, metric.timezone)
        self.state: MetricState = MetricState(
            metric.measure, self.buckets, lateness_ms, by_event=metric.by_event
        )
        self.aggregates: MetricAggregates = MetricAggregates(metric.measure)


class ActiveInstance(OperatorInstance[MetricDefinition, ChangeRecords]):
    """A metric of persons as one partition runs it."""

    def __init__(self, definition: MetricDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        metric = definition.metric
        self.buckets = Buckets(metric.bucket_s, metric.timezone)
        self.state: ActiveState = ActiveState(metric.bucket_s, metric.timezone, lateness_ms)
        self.aggregates: ActiveAggregates = ActiveAggregates(len(WINDOWS[metric.bucket_s]))


MetricInstance: TypeAlias = EventMetricInstance | ActiveInstance


def metric_instance(definition: MetricDefinition, lateness_ms: int) -> MetricInstance:
    """Make the instance of a metric, according to its measure."""
    if definition.metric.measure == "persons":
        return ActiveInstance(definition, lateness_ms)
    return EventMetricInstance(definition, lateness_ms)
