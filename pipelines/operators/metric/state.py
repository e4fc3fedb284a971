"""The state of one metric of events in one partition: only how far time has come.

Nothing is kept of persons or events: what a batch comes to is one aggregate per bucket, and these
merge. So an event counts however late it comes, as long as its bucket is kept, which the newest
1,440 are. An older event is counted as late and left out.
"""

from typing import NamedTuple, TypeAlias

import numpy as np

from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.constants import NEVER
from pipelines.engine.operator import NO_ROWS, FoldResult
from pipelines.engine.stateless import Stateless
from pipelines.matching.match import Masks, Values, value_hashes
from pipelines.operators.metric.kernel import read_numbers, summarizer
from pipelines.operators.metric.valued_figures import ValuedFigures, measure_values
from schemas.operators.metric import KEPT, Measure
from schemas.sketches.metric_aggregate import MetricAggregate
from schemas.time.buckets import Buckets

BucketAggregates: TypeAlias = dict[int, MetricAggregate]  # by the number of the bucket


class MetricChanges(NamedTuple):
    """What a batch comes to in each bucket, and if the metric has a breakdown, by value."""

    buckets: BucketAggregates
    by_value: ValuedFigures | None = None


class MetricState(Stateless):
    """One metric of events in one partition.

    `newest` is the time (ms) of the newest event, `NEVER` before the first. Folding events again
    whose results are published already does not change it. `lateness_ms` is for readers: figures
    older than that hardly change any more. With a breakdown, the last column of a fold's `values`
    has the hashes of the values.
    """

    def __init__(
        self,
        measure: Measure,
        buckets: Buckets,
        lateness_ms: int,
        *,
        by_event: bool = False,
        broken_down: bool = False,
    ) -> None:
        self.newest = NEVER
        self.lateness_ms = lateness_ms
        self._buckets = buckets
        self._measure: Measure = measure
        self._broken_down = broken_down
        self._read = summarizer(measure, by_event=by_event)

    def fold(
        self,
        persons: int,  # noqa: ARG002 (whose events they are does not matter)
        slots: Int32s,  # noqa: ARG002 (see `persons`)
        at: Int64s,
        masks: Masks,  # noqa: ARG002 (there is one selector)
        offsets: Int64s,  # noqa: ARG002 (no rows are restored)
        values: Values = (),
    ) -> FoldResult[MetricChanges]:
        """Summarize events in order of arrival, by bucket; see `PersonState.fold`."""
        numbers = self._buckets.numbers(at)
        newest = np.maximum(np.maximum.accumulate(at), self.newest)
        counted = np.flatnonzero(numbers > self._buckets.numbers(newest) - KEPT)
        self.newest = int(newest[-1])
        order = counted[np.argsort(numbers[counted], kind="stable")]
        present, begins = np.unique(numbers[order], return_index=True)
        own = values[:-1] if self._broken_down else values
        summarize = self._read(own)
        aggregates = {
            number: summarize(events)
            for number, events in zip(present.tolist(), np.split(order, begins)[1:], strict=True)
        }
        by_value = None
        if self._broken_down:
            measured = read_numbers(self._measure, own)
            by_value = measure_values(
                numbers[counted],
                value_hashes(values[-1]).cut(counted),
                None if measured is None else measured[counted],
            )
        changes = MetricChanges(aggregates, by_value)
        return FoldResult(changes, NO_ROWS, len(at) - len(counted))
