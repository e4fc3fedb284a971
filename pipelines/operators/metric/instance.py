"""One metric in one partition.

A metric of events needs no rows, as its aggregates hold all there is; one of persons remembers when
each was active.
"""

from typing import TypeAlias

from pipelines.engine.instance import OperatorInstance
from pipelines.engine.operator import ChangeRecords
from pipelines.operators.metric.active_aggregates import ActiveAggregates
from pipelines.operators.metric.active_state import ActiveState
from pipelines.operators.metric.aggregates import MetricAggregates
from pipelines.operators.metric.kernel import MetricFold, Tallies
from schemas.operators.metric import WINDOWS, MetricDefinition
from schemas.time.buckets import Buckets


class TallyInstance(OperatorInstance[MetricDefinition, Tallies]):
    """A metric of events as one partition runs it."""

    def __init__(self, definition: MetricDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        metric = definition.metric
        self.buckets = Buckets(metric.bucket_s, metric.timezone)
        self.state: MetricFold = MetricFold(
            metric.measure, self.buckets, lateness_ms, named=metric.by_event
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


MetricInstance: TypeAlias = TallyInstance | ActiveInstance


def metric_instance(definition: MetricDefinition, lateness_ms: int) -> MetricInstance:
    """Make the instance of a metric, by what it measures."""
    if definition.metric.measure == "persons":
        return ActiveInstance(definition, lateness_ms)
    return TallyInstance(definition, lateness_ms)
