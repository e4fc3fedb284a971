"""Publish that a definition has failed, without asking its operator for anything."""

from typing import Final

import pyarrow as pa

from pipelines.engine.aggregates_topic import common_fields, record_key, total_fields
from pipelines.engine.failed_instance import FailedInstance
from pipelines.engine.instance import AnyInstance
from pipelines.engine.operator import PartitionContext, Record
from pipelines.kafka.records import Outbox
from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.avro.schema import Schema
from schemas.operators.spec import OperatorSpec
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.topics import Topics


class FailureRecords:
    """Writes records of the total to the aggregates' topic of one operator."""

    def __init__(
        self, spec: OperatorSpec, topics: Topics, registry: SchemaRegistry, outbox: Outbox
    ) -> None:
        self._topic: Final = spec.aggregates.topic(topics).name
        self._outbox = outbox
        schema = files.load(spec.aggregates.schema)
        self._empty = _empty_record(schema)
        self._encoder = Encoder(schema, registry.register(value_subject(self._topic), schema))

    def publish(self, context: PartitionContext, instance: AnyInstance) -> bool:
        """Publish the total as it was published last, or empty, with the reason of the failure.

        Returns whether the topic takes the record.
        """
        status = {**total_fields(context, instance), "updated_at": context.now_ms}
        empty = {**self._empty, **common_fields(context, instance), **status}
        key = record_key(instance.key, None, context.partition)
        if isinstance(instance, FailedInstance):
            instance.record_keys.add(key)
        if instance.total and self._send(context.partition, key, {**instance.total, **status}):
            return True
        return self._send(context.partition, key, empty)

    def _send(self, partition: int, key: bytes, record: Record) -> bool:
        values = self._encoder.encode_records([record])
        return not self._outbox.send(self._topic, [key], values, partition=partition)

    def forget(self, partition: int, instance: FailedInstance) -> None:
        """Delete all records of a definition that ends."""
        keys = list(instance.record_keys)
        self._outbox.send(self._topic, keys, [None] * len(keys), partition=partition)


def _empty_record(schema: Schema) -> Record:
    return {field.name: None if field.nullable else _zero(field.type) for field in schema.arrow}


def _zero(kind: pa.DataType) -> object:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_string(kind):
        return ""
    return 0.0 if pa.types.is_floating(kind) else 0
