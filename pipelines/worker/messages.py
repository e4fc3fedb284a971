"""Batches and records as messages of Faust."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import faust
from faust.types import TP, AppT, ConsumerMessage, Message

# Of a message: Faust types it as bytes, while it is a batch, or None for a tombstone.
Payload: TypeAlias = Any


class Columns(faust.Schema):  # type: ignore[type-arg] # its arguments are unused
    """The schema of a topic whose agents take whole `Records` batches."""

    def loads_key(self, app: AppT, message: Message, **_: object) -> None:
        """Return no key: `Records.keys` holds the key of each record."""

    def loads_value(self, app: AppT, message: Message, **_: object) -> Payload:  # noqa: ARG002 (as Faust calls it)
        """Pass the batch on unchanged."""
        return message.value


def single_messages(batch: Message) -> Iterator[ConsumerMessage]:
    """Yield a message for each record of a batch."""
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
