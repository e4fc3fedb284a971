"""Batches and records as the messages that Faust delivers to agents."""

from collections.abc import Iterator, MutableSet
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import faust
from faust.topics import Topic
from faust.transport.conductor import Conductor as FaustConductor
from faust.types import TP, AppT, ConsumerMessage, Message
from faust.types.transports import ConsumerCallback

if TYPE_CHECKING:
    from pipelines.worker.consumer import Consumer

# Of a message: Faust types it as bytes, while it is a batch, or None for a tombstone.
Payload: TypeAlias = Any


class Columns(faust.Schema):  # type: ignore[type-arg] # its arguments are unused
    """The schema of a topic whose agents take whole `Records` batches."""

    def loads_key(self, app: AppT, message: Message, **_: object) -> None:
        """Return no key: `Records.keys` holds the key of each record."""

    def loads_value(self, app: AppT, message: Message, **_: object) -> Payload:  # noqa: ARG002 (as Faust calls it)
        """Pass the batch on unchanged."""
        return message.value


class Conductor(FaustConductor):
    """Delivers each batch to the agents of its topic, whole or record by record."""

    def _build_handler(self, tp: TP, channels: MutableSet[Topic]) -> ConsumerCallback:
        columnar = {channel for channel in channels if isinstance(channel.schema, Columns)}
        single = set(channels) - columnar
        deliver_batch = super()._build_handler(tp, columnar)
        deliver_record = super()._build_handler(tp, single)
        consumer = cast("Consumer", self.app.consumer)

        async def deliver(batch: Message) -> None:
            if columnar:
                consumer.delivered(batch)
                await deliver_batch(batch)
            if single:
                for record in _single_messages(batch):
                    consumer.delivered(record)
                    await deliver_record(record)

        return deliver


def _single_messages(batch: Message) -> Iterator[ConsumerMessage]:
    records: Payload = batch.value
    columns = zip(records.offsets, records.keys, records.values, records.timestamps, strict=True)
    for row, (offset, key, value, timestamp) in enumerate(columns):
        yield message(
            batch.tp,
            int(offset),
            key,
            value,
            timestamp=float(timestamp) / 1000,
            headers=records.headers(row),
            generation_id=batch.generation_id,
        )


def message(
    tp: TP,
    offset: int,
    key: bytes | None,
    value: Payload,
    *,
    timestamp: float = 0.0,
    headers: Payload = None,
    generation_id: int | None,
) -> ConsumerMessage:
    """Make a message of one record or of a whole batch."""
    return ConsumerMessage(
        *tp,
        offset,
        timestamp=timestamp,
        timestamp_type=0,
        headers=headers,
        key=key,
        value=value,
        checksum=None,
        tp=tp,
        generation_id=generation_id,
    )
