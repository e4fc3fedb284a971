"""Decoding of avila.segments into the rows of `segment_members`. Pure, but for schemas."""

import itertools
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
from confluent_kafka import Message

from schemas.avro.codec import Codec
from schemas.avro.files import load
from sinks.keyed_rows import PLACE, place_columns, read_keyed
from sinks.rows import Decoded

CHANGE: Final = load("segment-change")
_TIME: Final = pa.timestamp("ms", "UTC")
_KEY: Final = ("project_id", "segment_id", "person_id")
_NOTHING: Final = {
    **dict.fromkeys(_KEY, ""),
    "version": 0,
    "change": "left",
    "at": 0,
    "event_at": None,
}
# The key of a record, the version that was evaluated, and since when the person is in. `_deleted`
# says that the person has left, or that the record is a tombstone.
_COLUMNS: Sequence[tuple[str, pa.DataType]] = (
    *((name, pa.string()) for name in _KEY),
    ("version", pa.int32()),
    ("entered_at", _TIME),
)
MEMBER_ROWS: Final = pa.schema([*itertools.starmap(pa.field, _COLUMNS), *PLACE])


def decode_members(codec: Codec, partition: int, messages: Sequence[Message]) -> Decoded:
    """Decode records of a partition; equal records give equal rows.

    A record with a key that is not `project/segment/person` is a failure.

    Raises what the look-up of an unknown schema raises; the call can be repeated.
    """
    records = read_keyed(codec, messages, "project/segment/person", _NOTHING)
    changes = records.values.take(records.places)
    gone = [change != "entered" for change in changes.column("change").to_pylist()]
    columns = records.key_columns(_KEY)
    columns["version"] = changes.column("version").cast(pa.int32())
    columns["entered_at"] = changes.column("at").cast(pa.int64()).view(_TIME)
    columns |= place_columns(partition, [messages[row] for row in records.kept], gone)
    rows = [columns[name] for name in MEMBER_ROWS.names]
    return Decoded(pa.RecordBatch.from_arrays(rows, schema=MEMBER_ROWS), records.failures)
