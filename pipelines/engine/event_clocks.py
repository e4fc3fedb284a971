"""The projects' event clocks as a worker keeps them: one a project, whatever partition moves it.

    events ─▶ Partition.clock_offsets ─▶ avila.clocks ─▶ every worker ─▶ Partition.clock_offset_of
                                                    └──▶ the query service

A partition's own offsets are derived from its events and logged with its rows, so a restart and a
replay give the same. The topic has what other partitions need of them: a record is written in the
transaction that commits the event which moved the clock, and only then. After an upgrade, or on a
topic that was made again, the offsets that were logged are written once more.

Workers follow the topic between epochs, like the definitions. A worker that reads a record late
moves its clocks late: nothing is counted otherwise by that, it is published later.

Only projects with definitions have clocks, so events of projects that a stranger makes up cost
nothing here, and the clock of a project ends with its last definition.
"""

from collections.abc import Iterable
from typing import Final

from pipelines.engine.constants import NEVER
from pipelines.engine.partition import Partition
from pipelines.kafka.records import Outbox
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.clocks import SCHEMA, ClockReader, ProjectClocks, record_key
from schemas.follower import TopicReader
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject


class EventClocks:
    """The clocks of all projects, for the partitions of one worker.

    Registers the schema of the topic's records, so making one may block.
    """

    def __init__(
        self, topic: str, reader: TopicReader, registry: SchemaRegistry, outbox: Outbox
    ) -> None:
        self._topic: Final = topic
        self._reader = reader
        self._outbox = outbox
        schema = files.load(SCHEMA)
        self._encoder = Encoder(schema, registry.register(value_subject(topic), schema))
        codec = Codec(schema, registry.find, shipped=files.history(SCHEMA))
        self._read = ClockReader(codec)
        self._published = ProjectClocks()
        self._own: dict[str, int] = {}  # the newest of this worker's partitions, published or not

    @property
    def caught_up(self) -> bool:
        """Whether all that was on the topic when reading began has been read."""
        return self._reader.caught_up

    def follow(self, timeout_s: float = 0) -> None:
        """Read new records, for up to `timeout_s`."""
        messages = self._reader.poll(timeout_s)
        if messages:
            self._published.apply(self._read(messages))

    def offset_of(self, project: str) -> int:
        """Return how far a project's clock is ahead of the time of day (ms); NEVER if unknown."""
        published = self._published.offset_ms(project)
        own = self._own.get(project, NEVER)
        return own if published is None else max(own, published)

    def publish(self, number: int, partition: Partition, now_ms: int) -> None:
        """Publish the offsets of a partition that move a project's clock since the last call."""
        keys, records = [], []
        for project in partition.take_risen():
            offset_ms = partition.clock_offsets[project]
            self._own[project] = max(offset_ms, self._own.get(project, NEVER))
            published = self._published.offset_ms(project)
            if published is None or offset_ms > published:
                keys.append(record_key(project, number))
                records.append(
                    {
                        "project_id": project,
                        "partition": number,
                        "clock_offset_ms": offset_ms,
                        "updated_at": now_ms,
                    }
                )
        if records:
            self._outbox.send(self._topic, keys, self._encoder.encode_records(records))

    def forget(self, number: int, partition: Partition) -> None:
        """Delete the clocks of projects that have no definitions any more, in one partition."""
        defined = {key.project for key in partition.instances}
        known = {*partition.clock_offsets, *self._published.projects_of(number)}
        ended = sorted(known - defined)
        for project in ended:
            partition.clock_offsets.pop(project, None)
            self._own.pop(project, None)
        self._tombstone(number, ended)

    def _tombstone(self, number: int, projects: Iterable[str]) -> None:
        keys = [record_key(project, number) for project in projects]
        self._outbox.send(self._topic, keys, [None] * len(keys))
