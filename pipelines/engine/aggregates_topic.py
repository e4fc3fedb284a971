"""A topic of aggregates: what is counted of a definition, one record a period and partition.

A period is a number of the operator's own, and its begin (a day, an instant) on the topic. The
topic is compacted and so its own table: its latest records are the aggregates, and after a restart
counting goes on from them. The period of `TOTAL` has the record of the whole, which alone has the
late events, how far a backfill has come, and why a definition has failed.
"""

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import TypeVar

from pipelines.engine.constants import TOTAL
from pipelines.engine.failed_instance import FailedInstance
from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import PartitionContext, Record
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
    """Writes and reads the aggregates of one operator, each partition's in that partition.

    `period` is the name of the schema's field for the begin of a period, null for the total: a
    date, in days since 1970, or a timestamp.
    """

    def __init__(
        self,
        operator: str,
        topic: Topic,
        schema: str,
        period: str,
        registry: SchemaRegistry,
        outbox: Outbox,
    ) -> None:
        self._operator, self._topic, self._period = operator, topic.name, period
        self._outbox = outbox
        loaded = files.load(schema)
        self._encoder = Encoder(loaded, registry.register(value_subject(topic.name), loaded))
        self._decode = Codec(loaded, registry.find, shipped=files.history(schema)).decode

    def publish(
        self,
        context: PartitionContext,
        instance: AnyInstance,
        record_of: Callable[[int], Record | None],
        begin_of: Callable[[int], int] = int,
    ) -> None:
        """Publish the periods of the instance that are unpublished, and the total.

        `record_of` returns the operator's own fields of a period, None to delete its record;
        `begin_of` the begin of a period.
        """
        common = common_fields(context, instance)
        keys, records, deleted = [], [], []
        for period in sorted(instance.unpublished | {TOTAL}):
            begin = None if period == TOTAL else begin_of(period)
            key, own = record_key(instance.key, begin, context.partition), record_of(period)
            if own is None:
                deleted.append(key)
            else:
                total = total_fields(context, instance) if begin is None else {}
                keys.append(key)
                records.append({**common, self._period: begin, **total, **own})
        values = self._encoder.encode_records(records)
        instance.total = next((record for record in records if record[self._period] is None), None)
        self._send(context.partition, keys, values)
        self._delete(context.partition, deleted)

    def restore(
        self,
        partition: int,
        instances: Mapping[Key, N],
        reader: Reader,
        load: Callable[[N, Record], None],
    ) -> Generator[None, None, set[Key]]:
        """Call `load` with every published record, in steps; delete those of other definitions.

        Returns the others: they ended while no worker ran. A deleted record may still be loaded
        until compaction has removed it. An instance fails if its records cannot be decoded or
        loaded; those of a `FailedInstance` are kept.
        """
        stale: dict[bytes, Key] = {}
        unreadable: dict[bytes, str] = {}
        for records in reader.read(TopicPartition(self._topic, partition), 0):
            if records is None:
                yield
                continue
            decoded = self._decode(records.values)
            for record_key in records.keys if unreadable else ():
                unreadable.pop(record_key or b"", None)  # there is a later one
            for row, record in zip(decoded.rows.tolist(), decoded.batch.to_pylist(), strict=True):
                id_ = record[f"{self._operator}_id"]
                key = Key(self._operator, record["project_id"], id_, record["version"])
                record_key = records.keys[row] or b""
                instance = instances.get(key)
                if instance is None:
                    stale[record_key] = key
                else:
                    self._load(instance, record_key, record, load)
            for failure in decoded.failures:
                record_key = records.keys[failure.row] or b""
                stale.pop(record_key, None)
                if records.values[failure.row] is not None:
                    unreadable[record_key] = failure.detail
            yield
        for record_key, reason in unreadable.items():
            _fail_owner(self._operator, instances, record_key, reason)
        self._delete(partition, stale)
        return set(stale.values())

    def _load(
        self, instance: N, record_key: bytes, record: Record, load: Callable[[N, Record], None]
    ) -> None:
        if record[self._period] is None:
            instance.total = record
            instance.late, instance.live_since = record["late_dropped"], record["live_since"]
            instance.behind, instance.behind_since = _behind(record)
            backfilled = instance.backfill is None and record["backfilling_to"] is not None
            instance.settling = backfilled and instance.behind > 0
            instance.failed = instance.failed or record["failed"] or ""
        if isinstance(instance, FailedInstance):
            instance.record_keys.add(record_key)
        else:
            with instance.failing_alone():
                load(instance, record)

    def forget(
        self, partition: int, instance: AnyInstance, begin_of: Callable[[int], int] = int
    ) -> None:
        """Delete the records of a definition that ends."""
        periods = {TOTAL, *instance.aggregates}
        begins = [None if period == TOTAL else begin_of(period) for period in periods]
        self._delete(partition, [record_key(instance.key, begin, partition) for begin in begins])

    def _delete(self, partition: int, keys: Iterable[bytes]) -> None:
        keys = list(keys)
        self._send(partition, keys, [None] * len(keys))

    def _send(self, partition: int, keys: Column, values: Column) -> None:
        self._outbox.send(self._topic, keys, values, partition=partition)


def _behind(record: Record) -> tuple[int, int | None]:
    """Return how many late events a recount would count, and since when, by a total's record.

    Versions that knew no recounts counted none of the late events.
    """
    if record["behind"] is None:
        return record["late_dropped"], None
    return record["behind"], record["behind_since"]


def _fail_owner(
    operator: str, instances: Mapping[Key, AnyInstance], record_key: bytes, reason: str
) -> None:
    """Fail the definition whose published record cannot be read: its figures lack a part."""
    with contextlib.suppress(ValueError):  # no key of ours
        project, id_, version, _ = record_key.decode().split("/", 3)
        instance = instances.get(Key(operator, project, id_, int(version)))
        if instance is not None and not instance.failed:
            instance.fail(ValueError(f"the record {record_key!r} cannot be read: {reason}"))


def common_fields(context: PartitionContext, instance: AnyInstance) -> Record:
    """Return the fields that the records of all periods and operators have."""
    operator, project, id_, version = instance.key
    return {
        "project_id": project,
        f"{operator}_id": id_,
        "version": version,
        "partition": context.partition,
        "position": context.position if instance.backfill is None else instance.backfill.at,
        "late_dropped": 0,
        "updated_at": context.now_ms,
    }


def total_fields(context: PartitionContext, instance: AnyInstance) -> Record:
    """Return the fields that only the record of the total has, with all operators."""
    backfilling = instance.backfill is not None or instance.settling
    caught_up = not backfilling or instance.suspended
    return {
        "late_dropped": instance.late,
        "backfilling_to": None if caught_up else context.position,
        "live_since": instance.live_since,
        "behind": instance.behind,
        "behind_since": instance.behind_since,
        "failed": instance.failed or None,
    }


def record_key(key: Key, begin: int | None, partition: int) -> bytes:
    """Return the key of a record: `project/id/version/begin/partition`."""
    _, project, id_, version = key
    return f"{project}/{id_}/{version}/{'total' if begin is None else begin}/{partition}".encode()
