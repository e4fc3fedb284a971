"""One metric in one partition, of events or of persons."""

from typing import TypeAlias

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.instance import OperatorInstance
from pipelines.operators.metric.active_aggregates import ActiveAggregates
from pipelines.operators.metric.active_state import ActiveState
from pipelines.operators.metric.aggregates import MetricAggregates
from pipelines.operators.metric.state import MetricChanges, MetricState
from schemas.operators.metric import WINDOWS, MetricDefinition, buckets_of, length_of


class EventMetricInstance(OperatorInstance[MetricDefinition, MetricChanges]):
    """A metric of events as one partition runs it."""

    def __init__(self, definition: MetricDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        metric = definition.metric
        self.buckets, broken_down = buckets_of(metric), metric.breakdown is not None
        self.state: MetricState = MetricState(
            metric.measure,
            self.buckets,
            lateness_ms,
            by_event=metric.by_event,
            broken_down=broken_down,
        )
        self.aggregates: MetricAggregates = MetricAggregates(
            metric.measure, broken_down=broken_down
        )


class ActiveInstance(OperatorInstance[MetricDefinition, ValuedChanges]):
    """A metric of persons as one partition runs it."""

    def __init__(self, definition: MetricDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        metric = definition.metric
        self.buckets, broken_down = buckets_of(metric), metric.breakdown is not None
        windows = WINDOWS[length_of(metric)]
        self.state: ActiveState = ActiveState(
            windows, self.buckets, lateness_ms, broken_down=broken_down
        )
        self.aggregates: ActiveAggregates = ActiveAggregates(len(windows), broken_down=broken_down)


MetricInstance: TypeAlias = EventMetricInstance | ActiveInstance


def metric_instance(definition: MetricDefinition, lateness_ms: int) -> MetricInstance:
    """Make the instance of a metric, according to its measure."""
    if definition.metric.measure == "persons":
        return ActiveInstance(definition, lateness_ms)
    return EventMetricInstance(definition, lateness_ms)
