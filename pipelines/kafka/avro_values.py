"""Decodes the values of records, Avro in Confluent's wire format, straight from their column.

Kernels decode what a flat schema's encoder would have written (`pipelines.columnar.avro_datums`),
without an object a record and without the GIL. All other values go through `schemas.avro.codec`, so
the result is the one that it would give for all of them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from pipelines.columnar.avro_datums import (
    BOOLEAN,
    DOUBLE,
    FLOAT,
    HEADER_BYTES,
    INT,
    LONG,
    NOT_NULL,
    OTHER,
    SOUND,
    STRING,
    decode,
    judge,
)
from pipelines.columnar.binary_column import BinaryColumn
from pipelines.columnar.jit import AnyArray, Bools, Bytes, Int32s, Int64s, register_example
from pipelines.columnar.string_column import ArrowColumn
from schemas.avro.codec import Codec, Decoded, Part, joined
from schemas.avro.projection import Projection, project
from schemas.avro.resolution import unreadable
from schemas.avro.schema import Schema, branches, kind, resolved

_KINDS: Final = {
    "boolean": BOOLEAN,
    "int": INT,
    "long": LONG,
    "float": FLOAT,
    "double": DOUBLE,
    "string": STRING,
}
# How many schemas of a batch are decoded by kernels; values of further ones by the codec.
_MAX_HEADERS: Final = 4


class ValueDecoder:
    """Decodes values of any writer schemas into the columns of one reader schema. Not thread-safe.

    The arguments are those of `schemas.avro.codec.Codec`, and so is what `decode` returns and
    raises.
    """

    def __init__(
        self,
        reader: Schema,
        find: Callable[[Collection[int]], Mapping[int, Schema]],
        *,
        ours: bool = False,
        shipped: Sequence[Schema] = (),
    ) -> None:
        self._codec = Codec(reader, find, ours=ours, shipped=shipped)
        self._reader = reader
        self._find = find
        self._plans: dict[bytes, _Plan | None] = {}
        self._latest = b""  # the header of the values that kernels decoded last
        self.arrow = reader.arrow

    def decode(self, values: BinaryColumn, rows: Int32s | None = None) -> Decoded:
        """Decode the values of some rows, ascending, or of all.

        The rows of the result and of its failures are those of `values`.
        """
        values = values.locked()
        left = np.arange(len(values.nulls), dtype=np.int32) if rows is None else rows
        parts: list[Part] = []
        unsure: list[Int32s] = []
        for _ in range(_MAX_HEADERS):
            header = self._header_of(values, left)
            plan = self._plans.get(header)
            if plan is None:
                break
            part, refused, left = plan.decode(values, left, np.frombuffer(header, np.uint8))
            parts.append(part)
            unsure.append(refused)
            self._latest = header
        others = np.sort(np.concatenate([*unsure, left]))
        if len(others):
            parts.append(self._decode_others(values, others))
        return joined(parts, self.arrow)

    def _decode_others(self, values: BinaryColumn, rows: Int32s) -> Part:
        texts = values.to_list() if len(rows) > len(values.nulls) // 2 else None
        picked = [values.at(row) if texts is None else texts[row] for row in rows.tolist()]
        batch, own, failures = self._codec.decode(picked)
        return Part(batch, rows[own], [one._replace(row=int(rows[one.row])) for one in failures])

    def _header_of(self, values: BinaryColumn, rows: Int32s) -> bytes:
        """Return which values are decoded next: those like the first, or like those before.

        A value at the beginning that nobody can read does not cost the others.
        """
        if not len(rows):
            return b""
        begin, end = values.starts[rows[0] : rows[0] + 2].tolist()
        header = values.data[begin : min(end, begin + HEADER_BYTES)].tobytes()
        if header not in self._plans and header[:1] == b"\0" and len(header) == HEADER_BYTES:
            schema_id = int.from_bytes(header[1:])
            written = self._find([schema_id]).get(schema_id)
            if written is not None:  # else it may be registered later
                self._plans[header] = _plan_of(self._reader, written)
        return header if self._plans.get(header) else self._latest


class _Plan(NamedTuple):
    """How values of one writer schema are decoded.

    `program` is that of the kernels; `arrow` has the writer's columns.
    """

    program: Int64s
    arrow: pa.Schema
    projection: Projection

    def decode(
        self, values: BinaryColumn, rows: Int32s, header: Bytes
    ) -> tuple[Part, Int32s, Int32s]:
        """Decode rows; return them, those that the codec decodes, and those of other schemas."""
        starts, data, _ = values
        fields = len(self.program)
        sizes, scratch = np.zeros(fields, np.int64), np.zeros(fields, np.int64)
        verdicts = np.empty(len(rows), np.uint8)
        judge(data, starts, rows, header, self.program, scratch, sizes, verdicts)
        sound = verdicts == SOUND
        if sound.all():
            own, unsure, left = rows, rows[:0], rows[:0]
        else:
            other = verdicts == OTHER
            own, unsure, left = rows[sound], rows[~sound & ~other], rows[other]
        batch, refused = self.projection.apply(self._columns(values, own, sizes))
        if refused is not None:
            unsure = np.concatenate([unsure, own[refused]])
            batch, own = batch.filter(pa.array(~refused)), own[~refused]
        return Part(batch, own, []), unsure, left

    def _columns(self, values: BinaryColumn, rows: Int32s, sizes: Int64s) -> pa.RecordBatch:
        starts, data, _ = values
        kinds, places = self.program[:, 0], self.program[:, 2]
        texts = kinds == STRING
        ends = np.cumsum(sizes[texts])
        begins = ends - sizes[texts]
        strings = np.empty(sizes.sum(), np.uint8)
        string_starts = np.zeros((len(begins), len(rows) + 1), np.int32)
        numbers = np.empty((len(kinds) - len(begins), len(rows)), np.int64)
        valid = np.empty((len(kinds), len(rows)), np.bool_)
        decode(data, starts, rows, self.program, begins, strings, string_starts, numbers, valid)
        columns = []
        for field, (own, place, is_valid) in enumerate(zip(kinds, places, valid, strict=True)):
            type_ = self.arrow.field(field).type
            if own == STRING:
                content = strings[begins[place] : ends[place]]
                buffers: list[AnyArray] = [string_starts[place], content]
            else:
                buffers = [_stored(numbers[place], int(own))]
            columns.append(_array(type_, len(rows), is_valid, buffers))
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)


def _plan_of(reader: Schema, written: Schema) -> _Plan | None:
    """Return how to decode a writer's values, or None if kernels cannot."""
    if any(problem.wrong_unit for problem in unreadable(reader, written)):
        return None
    projection = project(reader, written)
    if projection is None:
        return None
    program = np.zeros((len(written.plain["fields"]), 3), np.int64)
    texts = others = 0
    for row, field in zip(program, written.plain["fields"], strict=True):
        types = [resolved(branch, written.plain_named) for branch in branches(field["type"])]
        names = list(map(kind, types))
        null = names.index("null") if "null" in names else NOT_NULL
        own = _KINDS.get(next((name for name in names if name != "null"), ""))
        if own is None or len(names) > 2:
            return None
        row[:] = own, null, texts if own == STRING else others
        texts, others = texts + (own == STRING), others + (own != STRING)
    return _Plan(program, written.arrow, projection)


def _stored(numbers: Int64s, own: int) -> AnyArray:
    """Return numbers of 64 bits as Arrow stores them."""
    if own == FLOAT:
        return numbers.astype(np.uint32)
    if own == BOOLEAN:
        return np.packbits(numbers.astype(np.bool_), bitorder="little")
    return numbers.astype(np.int32) if own == INT else numbers


def _array(
    type_: pa.DataType, count: int, valid: Bools, buffers: Sequence[AnyArray]
) -> ArrowColumn:
    """Return an Arrow array that views these buffers."""
    nulls = count - int(np.count_nonzero(valid))
    bits: list[AnyArray] = [np.packbits(valid, bitorder="little")] if nulls else []
    views: list[Any] = [*bits, *buffers]  # no buffers to the stubs
    absent = [] if nulls else [None]
    return pa.Array.from_buffers(type_, count, [*absent, *map(pa.py_buffer, views)], nulls)


@register_example
def _example() -> None:
    schema = Schema('{"type":"record","name":"R","fields":[{"name":"text","type":"string"}]}')
    empty = b"\0\0\0\0\1\0"
    ValueDecoder(schema, lambda _: {1: schema}).decode(BinaryColumn.of([empty]))
