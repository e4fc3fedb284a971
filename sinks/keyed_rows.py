"""Decoding of compacted topics of Avro: the parts of each key, and the fields of its value.

Pure, but for the look-up of schemas.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from schemas.avro.codec import Codec, Failure
from sinks.chunks import offsets

# A column of any type, and an array of NumPy that has one dimension.
Column: TypeAlias = "pa.Array[Any]"
_Places: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
_Flags: TypeAlias = np.ndarray[tuple[int], np.dtype[np.bool_]]

# The position of a record on its topic, and whether it deletes.
PLACE: "Final[tuple[pa.Field[Any], ...]]" = (
    pa.field("_partition", pa.uint32()),
    pa.field("_offset", pa.uint64()),
    pa.field("_deleted", pa.uint8()),
)


class KeyedRecords(NamedTuple):
    """Records of a topic: the values that decode, and the keys of all that have a valid one.

    `kept` are the records without a failure, by position; `places` is, for each of them, the row of
    its value in `values`; that of a tombstone is the row after all values, which is one of
    `nothing` if there is such a row.
    """

    kept: list[int]
    keys: list[tuple[str, ...]]
    places: _Places
    values: pa.RecordBatch
    failures: list[Failure]

    def key_columns(self, names: Sequence[str]) -> dict[str, Column]:
        """Return the parts of the keys as columns."""
        return {
            name: pa.array([key[part] for key in self.keys], pa.string())
            for part, name in enumerate(names)
        }

    def is_tombstone(self) -> _Flags:
        """Return whether each record is a tombstone."""
        gone: _Flags = self.places == self.values.num_rows - 1
        return gone


def read_keyed(
    codec: Codec, messages: Sequence[Message], shape: str, nothing: Mapping[str, object] | None
) -> KeyedRecords:
    """Decode records whose key is of a shape, such as `project/segment/person`.

    The last part of a key may have slashes.

    Raises what the look-up of an unknown schema raises; the call can be repeated.
    """
    values = [message.value() for message in messages]
    filled = [row for row, value in enumerate(values) if value is not None]
    decoded = codec.decode([values[row] for row in filled])
    failures = [failure._replace(row=filled[failure.row]) for failure in decoded.failures]
    keys = [_parts(message.key(), shape.count("/") + 1) for message in messages]
    failures += [
        Failure(row, "undecodable", f"the key is not {shape}")
        for row, key in enumerate(keys)
        if key is None
    ]
    failed = {failure.row for failure in failures}
    kept = [row for row in range(len(messages)) if row not in failed]
    place_of = {filled[row]: place for place, row in enumerate(decoded.rows.tolist())}
    places = np.array([place_of.get(row, decoded.batch.num_rows) for row in kept], np.int64)
    # A record that has two faults is reported once.
    first = {failure.row: failure for failure in reversed(failures)}
    return KeyedRecords(
        kept,
        [key for row in kept if (key := keys[row]) is not None],
        places,
        decoded.batch if nothing is None else _with_nothing(decoded.batch, nothing),
        [first[row] for row in sorted(first)],
    )


def place_columns(
    partition: int, messages: Sequence[Message], deleted: Sequence[bool]
) -> dict[str, Column]:
    """Return the columns `PLACE` of records."""
    return {
        "_partition": pa.array(np.full(len(messages), partition, np.uint32)),
        "_offset": pa.array(offsets(messages), pa.uint64()),
        "_deleted": pa.array([int(one) for one in deleted], pa.uint8()),
    }


def _parts(key: bytes | None, count: int) -> tuple[str, ...] | None:
    """Return the parts that a key has; None if it has fewer."""
    try:
        parts = (key or b"").decode().split("/", count - 1)
    except UnicodeDecodeError:
        return None
    return tuple(parts) if len(parts) == count else None


def _with_nothing(batch: pa.RecordBatch, nothing: Mapping[str, object]) -> pa.RecordBatch:
    """Return a batch with a row of `nothing` at its end."""
    last = pa.RecordBatch.from_pylist([dict(nothing)], schema=batch.schema)
    (joined,) = pa.Table.from_batches([batch, last]).combine_chunks().to_batches()
    return joined
