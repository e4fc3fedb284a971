"""Decoding of records into the rows that sinks get. Pure, but for the look-up of schemas."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Message

from schemas.avro.codec import Codec, Failure
from schemas.avro.files import load
from sinks.chunks import offsets

_TIME: Final = pa.timestamp("ms", "UTC")
_TIMES: Final = {"timestamp", "sent_at", "received_at"}

EVENT: Final = load("event")
# The columns of an event, with times as timestamps, and its position in the event store.
ROWS: Final = pa.schema(
    [
        *(field.with_type(_TIME) if field.name in _TIMES else field for field in EVENT.arrow),
        pa.field("_partition", pa.uint32(), nullable=False),
        pa.field("_offset", pa.uint64(), nullable=False),
    ]
)


class Decoded(NamedTuple):
    """The rows of some records, and failures for records that are not events, by position."""

    rows: pa.RecordBatch
    failures: list[Failure]


def decode(codec: Codec, partition: int, messages: Sequence[Message]) -> Decoded:
    """Decode records of a partition; equal records give equal rows.

    Raises what the look-up of an unknown schema raises; the call can be repeated.
    """
    batch, kept, failures = codec.decode([message.value() for message in messages])
    if failures:
        messages = [messages[row] for row in kept]
    columns = {name: batch.column(name) for name in batch.schema.names}
    if columns["received_at"].null_count:
        times = pa.array([message.timestamp()[1] for message in messages], pa.int64())
        columns["received_at"] = pc.coalesce(columns["received_at"], times)
    for name in _TIMES:
        columns[name] = columns[name].view(_TIME)
    columns["_partition"] = pa.array(np.full(len(messages), partition, np.uint32))
    columns["_offset"] = pa.array(offsets(messages), pa.uint64())
    return Decoded(
        pa.RecordBatch.from_arrays([columns[name] for name in ROWS.names], schema=ROWS), failures
    )
