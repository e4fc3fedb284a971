"""What the funnels publish: changes of persons, and figures that readers add up over partitions."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.change_events import columns_and_keys
from pipelines.engine.operator import (
    TOTAL,
    Changed,
    Changes,
    Key,
    OperatorInstance,
    PartitionContext,
)
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.operators.funnel.aggregates import FunnelAggregates
from pipelines.operators.sequence.kernel import NONE, UNSET
from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.operators.funnel import FUNNEL
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.topics import Topics

KIND: Final = "funnel"
_CHANGES = pa.array(["reached", "corrected", "retracted", "timed_out"])
_REACHED, _CORRECTED, _RETRACTED, _TIMED_OUT = range(4)


class _Steps(NamedTuple):
    """What is told of rows of a funnel, a column each."""

    rows: Int32s
    day: Int32s
    step: Int32s  # from 1
    change: Int64s  # one of `_CHANGES`
    at: Int64s
    took: Int64s


class FunnelPublisher:
    """Writes to `avila.funnels` and `avila.funnel-steps`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = AggregatesTopic(
            KIND,
            FUNNEL.aggregates.topic(topics),
            FUNNEL.aggregates.schema,
            "day",
            registry,
            outbox,
        )
        self._outbox = outbox
        self._topic = FUNNEL.changes[0].topic(topics).name
        step = files.load("funnel-step")
        self._steps = Encoder(step, registry.register(value_subject(self._topic), step))

    def changes(self, context: PartitionContext, changed: Changed) -> None:
        """Announce the steps that persons reached, or reached at another time than announced."""
        told = [(one, _reached(one.aggregates.of_persons(changes))) for one, changes in changed]
        self._announce(context, told)

    def expired(self, context: PartitionContext, changed: Changed) -> None:
        """Announce the windows that closed before the last step."""
        self._announce(context, [(one, _closed(one, changes)) for one, changes in changed])

    def _announce(
        self, context: PartitionContext, told: Iterable[tuple[OperatorInstance, _Steps]]
    ) -> None:
        told = [(one, steps) for one, steps in told if len(steps.rows)]
        if not told:
            return
        whose, keys = columns_and_keys(context, [(one, steps.rows) for one, steps in told])
        steps = [np.concatenate(column) for column in zip(*(own for _, own in told), strict=True)]
        _, day, step, change, at, took = steps
        columns = [pa.array(day), pa.array(step), _CHANGES.take(change), pa.array(at)]
        batch = pa.RecordBatch.from_arrays(
            [*whose, *columns, pa.array(took)], names=self._steps.arrow.names
        )
        self._outbox.send(
            self._topic, keys, self._steps.encode_column(batch), partition=context.partition
        )

    def aggregates(self, context: PartitionContext, funnel: OperatorInstance) -> None:
        """Publish the figures of the days that are not published yet, and the total."""
        self._figures.publish(context, funnel, lambda day: _record(funnel.aggregates, day))

    def restore(
        self, partition: int, instances: dict[Key, OperatorInstance], reader: Reader
    ) -> Iterator[None]:
        """Take over the published figures, in steps; delete those of funnels that have ended."""
        return self._figures.restore(partition, instances, reader, _take)

    def forget(self, context: PartitionContext, funnel: OperatorInstance) -> None:
        """Delete the figures of a funnel that has ended."""
        self._figures.forget(context.partition, funnel)


def _reached(changes: Changes) -> _Steps:
    own = changes[(changes["day"] != TOTAL) & (changes["before"] != changes["after"])]
    before, after = own["before"], own["after"]
    change = np.where(before == UNSET, _REACHED, np.where(after == UNSET, _RETRACTED, _CORRECTED))
    took = np.maximum(after, 0)
    return _Steps(own["row"], own["day"], own["step"] + 1, change, own["at"], took)


def _closed(funnel: OperatorInstance, changes: Changes) -> _Steps:
    own = changes[changes["step"] != NONE]
    change = np.full(len(own), _TIMED_OUT)
    took = np.full(len(own), 1_000 * funnel.definition.funnel.window_s)
    return _Steps(own["row"], own["day"], own["step"] + 1, change, own["at"], took)


def _record(aggregates: FunnelAggregates, day: int) -> dict[str, Any]:
    times = [
        {"buckets": time.buckets.tolist(), "counts": time.counts.tolist(), "sum_ms": time.sum_ms}
        for time in aggregates.times(day)
    ]
    return {
        "reached": aggregates.reached(day),
        "times": times,
        "entries": aggregates.entries(day),
        "breakdown": aggregates.breakdown(day),
    }


def _take(funnel: OperatorInstance, record: dict[str, Any]) -> None:
    day = TOTAL if record["day"] is None else record["day"]
    funnel.aggregates.load(day, record)
