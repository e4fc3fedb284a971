"""Publish segments: who enters and leaves, and aggregates that readers add up."""

from collections.abc import Generator, Mapping
from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.engine.aggregates_publisher import AggregatesPublisher
from pipelines.engine.change_events import columns_and_keys
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.operator import Changed, ChangeRecords, PartitionContext, Record
from pipelines.engine.person_topic import PersonTopic
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from pipelines.operators.segment.aggregates import Moves
from pipelines.operators.segment.columns import CHANGE
from pipelines.operators.segment.instance import SegmentInstance
from schemas.operators.segment import SEGMENT
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings

_MOVES: Final = pa.array(["left", "entered"])


class SegmentPublisher(AggregatesPublisher[SegmentInstance, ChangeRecords]):
    """Writes to `avila.segments`, which is compacted, and to `avila.segment-sizes`."""

    def __init__(self, settings: Settings, registry: SchemaRegistry, outbox: Outbox) -> None:
        super().__init__(SEGMENT, "day", settings.topics, registry, outbox)
        self._outbox = outbox
        self._persons = PersonTopic(SEGMENT, settings.topics, registry, outbox)

    def changes(
        self, context: PartitionContext, changed: Changed[SegmentInstance, ChangeRecords]
    ) -> None:
        """Publish who entered and who left, each person's changes in their order.

        A segment that has a previous version publishes none: a person has one record, and as long
        as that version counts, it is the one of that version.
        """
        changed = [
            (segment, changes)
            for segment, changes in changed
            if len(changes) and not segment.has_previous
        ]
        if not changed:
            return
        owners, keys = columns_and_keys(
            context, [(segment, changes["row"]) for segment, changes in changed]
        )
        records = np.concatenate([changes for _, changes in changed])
        event_at = np.ascontiguousarray(records["event_at"])
        columns = [
            *owners,
            _MOVES.take(pa.array(records["entered"])),
            pa.array(np.ascontiguousarray(records["at"])),
            pa.array(event_at, mask=event_at == NEVER),
        ]
        encoder = self._persons.encoder
        batch = pa.RecordBatch.from_arrays(columns, names=encoder.arrow.names)
        self._outbox.send(
            self._persons.name, keys, encoder.encode_column(batch), partition=context.partition
        )

    def record(self, instance: SegmentInstance, period: int) -> Record:
        """Return how many entered and left on a day."""
        moves = instance.aggregates.of(period)
        whole = period == TOTAL
        return {
            "entered": moves.entered,
            "left": moves.left,
            "clock": instance.state.clock if whole else None,
            "scores_since": instance.scores_since if whole else None,
        }

    def load(self, instance: SegmentInstance, record: Record) -> None:
        """Continue from a published day."""
        day = TOTAL if record["day"] is None else record["day"]
        if day == TOTAL:
            instance.scores_since = record["scores_since"]
        instance.aggregates.load(day, Moves(record["entered"], record["left"]))

    def restore(
        self, partition: int, instances: Mapping[Key, SegmentInstance], reader: Reader
    ) -> Generator[None, None, None]:
        """Load the published aggregates in steps; delete all records of ended segments."""
        ended = yield from self._aggregates.restore(partition, instances, reader, self.load)
        if ended:
            yield from self._persons.delete_ended(partition, ended, reader)

    def forget(self, context: PartitionContext, instance: SegmentInstance) -> None:
        """Delete the aggregates and the persons of a segment that ends."""
        super().forget(context, instance)
        if not instance.has_previous:
            self._persons.forget(context, instance)

    def supersede(self, context: PartitionContext, instance: SegmentInstance) -> None:
        """Publish who is in the segment, since now, by the clock of the project."""
        rows = instance.state.members
        entered = np.zeros(len(rows), CHANGE)
        clock = instance.state.clock
        entered["row"], entered["entered"], entered["event_at"] = rows, 1, NEVER
        entered["at"] = context.now_ms if clock is None else clock
        self.changes(context, [(instance, entered)])
