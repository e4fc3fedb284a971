"""What the segments publish: who entered and left, and figures that readers add up."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipelines.columnar.key_index import prefixed
from pipelines.columnar.string_column import ArrowColumn
from pipelines.engine.aggregates_topic import AggregatesTopic
from pipelines.engine.change_events import columns_and_keys
from pipelines.engine.operator import NEVER, TOTAL, Changed, Key, OperatorInstance, PartitionContext
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from pipelines.operators.segment.aggregates import Moves
from pipelines.operators.segment.state import SegmentState
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.operators.segment import SEGMENT
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.topics import Topics

KIND: Final = "segment"
_MOVES = pa.array(["left", "entered"])


class SegmentPublisher:
    """Writes to `avila.segments` and `avila.segment-sizes`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = AggregatesTopic(
            KIND,
            SEGMENT.aggregates.topic(topics),
            SEGMENT.aggregates.schema,
            "day",
            registry,
            outbox,
        )
        self._outbox = outbox
        self._topic = SEGMENT.changes[0].topic(topics).name
        change = files.load("segment-change")
        self._changes = Encoder(change, registry.register(value_subject(self._topic), change))
        self._decode = Codec(change, registry.find).decode

    def changes(self, context: PartitionContext, changed: Changed) -> None:
        """Announce who entered and who left."""
        # The key's newest record is what counts, and a person's changes stand in their order.
        told = [(one, changes) for one, changes in changed if len(changes)]
        if not told:
            return
        whose, keys = columns_and_keys(context, [(one, own["row"]) for one, own in told])
        changes = np.concatenate([own for _, own in told])
        event_at = np.ascontiguousarray(changes["event_at"])
        batch = pa.RecordBatch.from_arrays(
            [
                *whose,
                _MOVES.take(pa.array(changes["entered"])),
                pa.array(np.ascontiguousarray(changes["at"])),
                pa.array(event_at, mask=event_at == NEVER),
            ],
            names=self._changes.arrow.names,
        )
        self._outbox.send(
            self._topic, keys, self._changes.encode_column(batch), partition=context.partition
        )

    def expired(self, context: PartitionContext, changed: Changed) -> None:
        """Announce who entered and who left for time passed."""
        self.changes(context, changed)

    def aggregates(self, context: PartitionContext, instances: OperatorInstance) -> None:
        """Publish the days that are not published yet, and the whole."""
        self._figures.publish(context, instances, lambda day: _record(instances, day))

    def restore(
        self, partition: int, instances: dict[Key, OperatorInstance], reader: Reader
    ) -> Iterator[None]:
        """Take over the published figures, in steps; delete all that is of ended segments."""
        ended = yield from self._figures.restore(partition, instances, reader, _take)
        if ended:
            yield from self._bury_ended(partition, ended, reader)

    def forget(self, context: PartitionContext, instances: OperatorInstance) -> None:
        """Delete the figures of a segment that has ended, and who was in it."""
        self._figures.forget(context.partition, instances)
        _, project, name, _ = instances.key
        assert isinstance(instances.state, SegmentState)
        persons = context.persons.second(instances.state.announced)
        self._bury(context.partition, prefixed(f"{project}/{name}/", persons))

    def _bury_ended(self, partition: int, ended: set[Key], reader: Reader) -> Iterator[None]:
        """Delete persons whose newest change is of a segment that ended while nobody looked."""
        stale: dict[bytes, None] = {}
        for records in reader.read(TopicPartition(self._topic, partition), 0):
            if records is not None:
                decoded = self._decode(records.values)
                names = ("project_id", "segment_id", "version")
                columns = (decoded.batch.column(name).to_pylist() for name in names)
                for row, *of in zip(decoded.rows.tolist(), *columns, strict=True):
                    key = records.keys[row] or b""
                    if Key(KIND, *of) in ended:
                        stale[key] = None
                    else:
                        stale.pop(key, None)
                for failure in decoded.failures:
                    stale.pop(records.keys[failure.row] or b"", None)
            yield
        self._bury(partition, list(stale))

    def _bury(self, partition: int, keys: list[bytes] | ArrowColumn) -> None:
        self._outbox.send(self._topic, keys, [None] * len(keys), partition=partition)


def _record(instances: OperatorInstance, day: int) -> dict[str, Any]:
    assert isinstance(instances.state, SegmentState)
    moves = instances.aggregates.of(day)
    clock = instances.state.clock if day == TOTAL else None
    return {"entered": moves.entered, "left": moves.left, "clock": clock}


def _take(instances: OperatorInstance, record: dict[str, Any]) -> None:
    day = TOTAL if record["day"] is None else record["day"]
    instances.aggregates.load(day, Moves(record["entered"], record["left"]))
