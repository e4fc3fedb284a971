"""The columns of tables, and their types in files: wide integers, times in UTC, JSON as text."""

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import pyarrow as pa

ColumnType = Literal["text", "integer", "number", "boolean", "time", "day", "json"]

_ARROW: Final[Mapping[ColumnType, pa.DataType]] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("ms", "UTC"),
    "day": pa.date32(),
    "json": pa.string(),
}


class Column(NamedTuple):
    """A column of a table; each of its values may be null.

    `time` is a timestamp in UTC, in milliseconds. `json` is JSON as text.
    """

    name: str
    type: ColumnType


def columns(**types: ColumnType) -> tuple[Column, ...]:
    """Return columns by their names, in order."""
    return tuple(Column(name, one) for name, one in types.items())


def arrow_schema(table: Sequence[Column]) -> pa.Schema:
    """Return the columns as Arrow has them."""
    return pa.schema([(one.name, _ARROW[one.type]) for one in table])


def batch_of(table: Sequence[Column], rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """Return rows of JSON's types, by the names of all columns, as a batch."""
    listed = list(rows)
    values = [
        [None if (value := row[one.name]) is None else _READ[one.type](value) for row in listed]
        for one in table
    ]
    schema = arrow_schema(table)
    arrays = [pa.array(some, field.type) for some, field in zip(values, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as_is(value: Any) -> Any:
    return value


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_READ: Final[Mapping[ColumnType, Callable[[Any], Any]]] = {
    "text": _as_is,
    "integer": _as_is,
    "number": float,
    "boolean": _as_is,
    "time": datetime.datetime.fromisoformat,
    "day": datetime.date.fromisoformat,
    "json": _json,
}
