"""Topics in memory, for one partition: what is written to them, and what compaction leaves."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import pyarrow as pa
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from pipelines.engine.changelog import keep_latest
from pipelines.kafka.records import Outgoing, Records, TopicPartition
from pipelines.worker.snapshots import Snapshot
from schemas.avro.schema import Schema
from schemas.registry.subjects import Subjects


class Written(NamedTuple):
    """A record; a value of None is a tombstone."""

    key: bytes
    value: bytes | None


class MemoryTopics:
    """All topics of a partition, every one compacted, and a reader of them (`kafka.reader`)."""

    def __init__(self) -> None:
        self._written: dict[str, list[Written]] = {}

    def write(self, outgoing: Outgoing) -> None:
        """Append records."""
        keys, values = outgoing.keys.to_pylist(), outgoing.values.to_pylist()
        records = [Written(*record) for record in zip(keys, values, strict=True)]
        self._written.setdefault(outgoing.topic, []).extend(records)

    def written(self, topic: str) -> list[Written]:
        """Return all records ever written to a topic."""
        return self._written.get(topic, [])

    def newest(self, topic: str) -> dict[bytes, bytes | None]:
        """Return the last value of each key, in the order in which those were written."""
        found: dict[bytes, bytes | None] = {}
        for key, value in self.written(topic):
            keep_latest(found, [key], [value])
        return found

    def partitions(self, _: str) -> int:
        """Return how many partitions a topic has."""
        return 1

    def bounds(self, source: TopicPartition) -> tuple[int, int]:
        """Return the first offset and the one after the last."""
        return 0, len(self.written(source.topic))

    def read(
        self, source: TopicPartition, start: int, end: int | None = None
    ) -> Iterator[Records | None]:
        """Yield what compaction has left from `start` on, in batches of a few records."""
        offsets = {key: offset for offset, (key, _) in enumerate(self.written(source.topic))}
        left = sorted(offset for offset in offsets.values() if offset >= start)
        records = [(offset, *self.written(source.topic)[offset]) for offset in left]
        messages = [
            Message(
                topic=source.topic,
                partition=source.partition,
                offset=offset,
                key=key,
                value=value,
                timestamp=(TIMESTAMP_CREATE_TIME, 0),
            )
            for offset, key, value in records
            if end is None or offset < end
        ]
        for begin in range(0, len(messages), 3):
            yield Records.of(source, messages[begin : begin + 3])
            yield None

    def close(self) -> None:
        """Nothing to give back."""


class MemoryRegistry:
    """A schema registry that writes its topic nowhere."""

    def __init__(self) -> None:
        self._subjects = Subjects()

    def register(self, subject: str, schema: Schema) -> int:
        """The id of `schema` under `subject`."""
        schema_id, records = self._subjects.registration(subject, schema)
        for key, value in records:
            self._subjects.apply(key, value)
        return schema_id

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        """The schemas of those `ids` that exist."""
        found = {schema_id: self._subjects.lookup(schema_id) for schema_id in ids}
        return {schema_id: schema for schema_id, schema in found.items() if schema is not None}

    def close(self) -> None:
        """Nothing to give back."""


class MemorySnapshots:
    """The newest snapshot of a partition (`worker.snapshots`), gone with whoever holds it."""

    def __init__(self) -> None:
        self._newest: Snapshot | None = None

    def load(self, _: int) -> Snapshot | None:
        """The newest snapshot, if there is one."""
        return self._newest

    def save(self, _: int, snapshot: Snapshot) -> None:
        """Keep a snapshot in the place of the older one."""
        self._newest = snapshot


def texts(values: Collection[str]) -> pa.StringArray:
    """A column of text."""
    return pa.array(values, pa.string())
