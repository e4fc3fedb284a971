"""A topic of figures: what is counted of a definition, one record a period and partition.

A period is a number to the kind, and its begin (a day, an instant) on the topic.

The topic is compacted, so that it is its own table: its newest records are the figures, and what a
worker counts goes on from them. The period of `TOTAL` has the record of the whole, with what is
said once: late events and how far the definition has caught up with history.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TypeVar

from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import TOTAL, PartitionContext, Record
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Column, Outbox, TopicPartition
from pipelines.matching.match import Key
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.topics import Topic

N = TypeVar("N", bound=AnyInstance)


class AggregatesTopic:
    """Writes and reads the figures of one kind, each partition to its own number's.

    `period` is the name of the schema's field for its begin, null for the whole: a date, which is
    days from 1970, or a timestamp.
    """

    def __init__(
        self,
        kind: str,
        topic: Topic,
        schema: str,
        period: str,
        registry: SchemaRegistry,
        outbox: Outbox,
    ) -> None:
        self._kind, self._topic, self._period = kind, topic.name, period
        self._outbox = outbox
        loaded = files.load(schema)
        self._encoder = Encoder(loaded, registry.register(value_subject(topic.name), loaded))
        self._decode = Codec(loaded, registry.find).decode

    def publish(
        self,
        context: PartitionContext,
        one: AnyInstance,
        aggregates: Callable[[int], Record | None],
        begin_of: Callable[[int], int] = int,
    ) -> None:
        """Send what `figures` gives for each period that is not published yet, and the whole.

        A period of which it gives None is deleted. `begin_of` gives the begin of a period.
        """
        _, project, name, version = one.key
        position = context.position if one.backfill is None else one.backfill.at
        common = {
            "project_id": project,
            f"{self._kind}_id": name,
            "version": version,
            "partition": context.partition,
            "position": position,
            "late_dropped": 0,
            "updated_at": context.now_ms,
        }
        of_whole = {
            "late_dropped": one.late,
            "backfilling_to": None if one.backfill is None else context.position,
            "live_since": one.live_since,
            "failed": one.failed or None,
        }
        keys, records, gone = [], [], []
        for period in sorted(one.unpublished | {TOTAL}):
            begin = None if period == TOTAL else begin_of(period)
            key, own = _record_key(one.key, begin, context.partition), aggregates(period)
            if own is None:
                gone.append(key)
            else:
                keys.append(key)
                whole = of_whole if begin is None else {}
                records.append({**common, self._period: begin, **whole, **own})
        self._send(context.partition, keys, self._encoder.encode_records(records))
        self._bury(context.partition, gone)

    def restore(
        self,
        partition: int,
        instances: Mapping[Key, N],
        reader: Reader,
        take: Callable[[N, Record], None],
    ) -> Generator[None, None, set[Key]]:
        """Give every published record to `take`, in steps; delete those of what has ended.

        Returns what that was: it ended when nobody was there to `forget` it. A period that was
        deleted may be given all the same, if its record has not been compacted away yet.
        """
        stale: dict[bytes, Key] = {}
        for records in reader.read(TopicPartition(self._topic, partition), 0):
            if records is None:
                yield
                continue
            decoded = self._decode(records.values)
            for row, record in zip(decoded.rows.tolist(), decoded.batch.to_pylist(), strict=True):
                project, name = record["project_id"], record[f"{self._kind}_id"]
                key = Key(self._kind, project, name, record["version"])
                one = instances.get(key)
                if one is None:
                    stale[records.keys[row] or b""] = key
                else:
                    if record[self._period] is None:
                        one.late = record["late_dropped"]
                        one.live_since, one.failed = record["live_since"], record["failed"] or ""
                    take(one, record)
            for failure in decoded.failures:
                stale.pop(records.keys[failure.row] or b"", None)
            yield
        self._bury(partition, stale)
        return set(stale.values())

    def forget(
        self, partition: int, one: AnyInstance, begin_of: Callable[[int], int] = int
    ) -> None:
        """Delete the figures of a definition that has ended."""
        periods = {TOTAL, *one.aggregates}
        begins = [None if period == TOTAL else begin_of(period) for period in periods]
        self._bury(partition, [_record_key(one.key, begin, partition) for begin in begins])

    def _bury(self, partition: int, keys: Iterable[bytes]) -> None:
        keys = list(keys)
        self._send(partition, keys, [None] * len(keys))

    def _send(self, partition: int, keys: Column, values: Column) -> None:
        self._outbox.send(self._topic, keys, values, partition=partition)


def _record_key(key: Key, begin: int | None, partition: int) -> bytes:
    _, project, name, version = key
    return f"{project}/{name}/{version}/{'total' if begin is None else begin}/{partition}".encode()
