"""Publish funnels: the steps that persons reach, and aggregates that readers add up."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.columnar.jit import Int32s, Int64s
from pipelines.engine.aggregates_publisher import AggregatesPublisher
from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.change_events import columns_and_keys
from pipelines.engine.constants import NONE, TOTAL
from pipelines.engine.operator import Changed, ChangeRecords, PartitionContext, Record
from pipelines.kafka.records import Outbox
from pipelines.operators.funnel.instance import FunnelInstance
from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.operators.funnel import FUNNEL
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings

_CHANGES: Final = pa.array(["reached", "corrected", "retracted", "timed_out"])
_REACHED, _CORRECTED, _RETRACTED, _TIMED_OUT = range(4)


class _Steps(NamedTuple):
    """What is published of some rows of a funnel, a column each."""

    rows: Int32s
    day: Int32s
    step: Int32s  # from 1
    change: Int64s  # places in `_CHANGES`
    at: Int64s
    duration: Int64s


class FunnelPublisher(AggregatesPublisher[FunnelInstance, ValuedChanges]):
    """Writes to `avila.funnels` and `avila.funnel-steps`."""

    def __init__(self, settings: Settings, registry: SchemaRegistry, outbox: Outbox) -> None:
        super().__init__(FUNNEL, "day", settings.topics, registry, outbox)
        self._outbox = outbox
        self._topic = FUNNEL.changes[0].topic(settings.topics).name
        step = files.load("funnel-step")
        self._steps = Encoder(step, registry.register(value_subject(self._topic), step))

    def changes(
        self, context: PartitionContext, changed: Changed[FunnelInstance, ValuedChanges]
    ) -> None:
        """Publish the steps that persons reached, and those reached at another time than before."""
        self._publish(
            context,
            [
                (funnel, _reached(funnel.aggregates.person_changes(changes)))
                for funnel, changes in changed
            ],
        )

    def expired(
        self, context: PartitionContext, expired: Changed[FunnelInstance, ChangeRecords]
    ) -> None:
        """Publish the windows that closed before the last step."""
        self._publish(
            context, [(funnel, _timed_out(funnel, timeouts)) for funnel, timeouts in expired]
        )

    def _publish(
        self, context: PartitionContext, changed: Sequence[tuple[FunnelInstance, _Steps]]
    ) -> None:
        changed = [(funnel, steps) for funnel, steps in changed if len(steps.rows)]
        if not changed:
            return
        owners, keys = columns_and_keys(context, [(funnel, own.rows) for funnel, own in changed])
        steps = _Steps(*map(np.concatenate, zip(*(own for _, own in changed), strict=True)))
        columns = [
            *owners,
            pa.array(steps.day),
            pa.array(steps.step),
            _CHANGES.take(steps.change),
            pa.array(steps.at),
            pa.array(steps.duration),
        ]
        batch = pa.RecordBatch.from_arrays(columns, names=self._steps.arrow.names)
        self._outbox.send(
            self._topic, keys, self._steps.encode_column(batch), partition=context.partition
        )

    def record(self, instance: FunnelInstance, period: int) -> Record:
        """Return the persons who entered on a day, by step."""
        aggregates = instance.aggregates
        times = [
            {
                "buckets": time.buckets.tolist(),
                "counts": time.counts.tolist(),
                "sum_ms": time.sum_ms,
                "min_ms": time.min_ms,
                "max_ms": time.max_ms,
            }
            for time in aggregates.times(period)
        ]
        return {
            "reached": aggregates.reached(period),
            "times": times,
            "entries": aggregates.entries(period),
            "breakdown": aggregates.breakdown(period),
        }

    def load(self, instance: FunnelInstance, record: Record) -> None:
        """Continue from a published day."""
        day = TOTAL if record["day"] is None else record["day"]
        instance.aggregates.load(day, record)


def _reached(changes: ChangeRecords) -> _Steps:
    changes = changes[(changes["day"] != TOTAL) & (changes["before"] != changes["after"])]
    before, after = changes["before"], changes["after"]
    change = np.where(before == NONE, _REACHED, np.where(after == NONE, _RETRACTED, _CORRECTED))
    return _steps(changes, change, np.maximum(after, 0))


def _timed_out(funnel: FunnelInstance, timeouts: ChangeRecords) -> _Steps:
    timeouts = timeouts[timeouts["step"] != NONE]
    change = np.full(len(timeouts), _TIMED_OUT)
    window = np.full(len(timeouts), 1_000 * funnel.definition.funnel.window_s)
    return _steps(timeouts, change, window)


def _steps(records: ChangeRecords, change: Int64s, duration: Int64s) -> _Steps:
    step = records["step"] + 1
    return _Steps(records["row"], records["day"], step, change, records["at"], duration)
