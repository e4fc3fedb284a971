"""Decoding of a topic of aggregates into the rows of `result_history`. Pure, but for schemas."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
from confluent_kafka import Message

from schemas.avro.codec import Codec
from sinks.keyed_rows import read_keyed
from sinks.rows import Decoded

_MINUTE_MS: Final = 60_000
_COLUMNS: Sequence[tuple[str, pa.DataType]] = (
    ("project_id", pa.string()),
    ("kind", pa.string()),
    ("id", pa.string()),
    ("version", pa.int32()),
    ("period", pa.string()),
    ("_partition", pa.uint32()),
    ("at", pa.timestamp("ms", "UTC")),
    ("position", pa.int64()),
    ("figures", pa.map_(pa.string(), pa.float64())),
    ("_offset", pa.uint64()),
)
HISTORY_ROWS: Final = pa.schema(list(itertools.starmap(pa.field, _COLUMNS)))
# Numbers of a record that say how far it is, or when it is of, and count nothing.
_NO_FIGURES: Final = frozenset(
    (
        *("position", "backfilling_to", "live_since", "behind", "behind_since", "updated_at"),
        *("values_error", "clock", "scores_since", "newest_at", "complete_until"),
        *("bucket", "seen", "seen_until"),
    )
)


class _Row(NamedTuple):
    """A row of `HISTORY_ROWS`; `at` is in ms."""

    project_id: str
    kind: str
    id: str
    version: int
    period: str
    partition: int
    at: int
    position: int
    figures: list[tuple[str, float]]
    offset: int


def figure_names(schema: pa.Schema) -> list[str]:
    """Return the fields of a record that are figures: 64-bit numbers, and lists of them."""
    kinds = (pa.int64(), pa.float64(), pa.list_(pa.int64()))
    return [
        field.name
        for field in schema
        if field.name not in _NO_FIGURES and any(field.type == kind for kind in kinds)
    ]


def decode_history(kind: str, codec: Codec, partition: int, messages: Sequence[Message]) -> Decoded:
    """Decode records of the aggregates of an operator, the last one of each key and minute.

    Tombstones have no rows. A record whose key is not `project/id/version/period/partition` is a
    failure.

    Raises what the look-up of an unknown schema raises; the call can be repeated.
    """
    records = read_keyed(codec, messages, "project/id/version/period/partition", None)
    names = figure_names(records.values.schema)
    made = records.values.to_pylist()
    last: dict[tuple[object, ...], _Row] = {}
    for row, key, place in zip(records.kept, records.keys, records.places.tolist(), strict=True):
        if place == len(made):
            continue
        one = made[place]
        at = int(one["updated_at"])
        project, id_, _, period, _ = key
        last[(*key, at // _MINUTE_MS)] = _Row(
            project,
            kind,
            id_,
            one["version"],
            period,
            partition,
            at,
            one["position"],
            list(_figures(one, names)),
            messages[row].offset() or 0,
        )
    columns = zip(*last.values(), strict=True) if last else itertools.repeat((), len(_COLUMNS))
    arrays = [
        pa.array(list(column), type_) for column, (_, type_) in zip(columns, _COLUMNS, strict=True)
    ]
    return Decoded(pa.RecordBatch.from_arrays(arrays, schema=HISTORY_ROWS), records.failures)


# A record of any operator: its fields have any type.
def _figures(record: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name in names:
        match record[name]:
            case list() as values:
                for number, value in enumerate(values, 1):
                    yield f"{name}.{number}", float(value)
            case int() | float() as value:
                yield name, float(value)
