"""Bulk encoding and decoding of Confluent's wire format.

A value is byte 0, the id of its schema (4 bytes, big-endian), and an Avro datum.

pyruhvro decodes a batch at a time. A row is accepted if its strings are UTF-8 and encoding it again
gives the same bytes: pyruhvro itself checks neither strings, nor the range of an int, nor that a
datum ends where it should. A batch that fails is halved until few rows are left. Those, and rows
that were not accepted, are checked one by one by `schemas.avro.datum`, and decoded by fastavro if
they are valid (if a number has more bytes than necessary, or an array several blocks).
"""

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro
from fastavro.read import SchemaResolutionError
from numpy.typing import NDArray

from schemas.avro.datum import Malformed, check
from schemas.avro.projection import Projection, project
from schemas.avro.resolution import unreadable
from schemas.avro.schema import Schema

Reason = Literal["not_wire_format", "unknown_schema", "undecodable"]

HEADER_BYTES: Final = 5
# Arrow's string columns have 32-bit offsets, and pyruhvro panics if they overflow.
MAX_CALL_BYTES: Final = 2**31 - 1
Rows: TypeAlias = NDArray[np.int32]
_NO_ROWS: Final = np.empty(0, np.int32)

_DATUM: Final = itemgetter(slice(HEADER_BYTES, None))

# Up to this number of rows, decoding one by one costs less than halving again.
_FEW_ROWS: Final = 32


class Failure(NamedTuple):
    """A value that cannot be decoded: its position in the call, and why."""

    row: int
    reason: Reason
    detail: str


class Decoded(NamedTuple):
    """The result of decoding a list of values, each of which is in `batch` or in `failures`.

    `batch` has the decoded values in the reader's columns, in the order of the call; `rows` (shape
    (batch.num_rows,), ascending) are their positions in the call. `failures` are in order, too.
    """

    batch: pa.RecordBatch
    rows: Rows
    failures: list[Failure]


class Codec:
    """Decodes values of any writer schemas into the columns of one reader schema. Not thread-safe.

    `find` returns the schemas of ids that have not occurred before, without those that do not
    exist. It is called at most once a call, and may block.

    With `ours`, values are not encoded again to check them, which is a third of the work. Use it
    for topics that only `Encoder` writes to.

    `shipped` are the schemas, oldest first, that a topic's values may have been written with if the
    registry has lost theirs: the newest one that a value fits is used. Use it for topics that only
    Avila writes to.

    Raises:
        InvalidRequest: the reader schema has no columns (`Schema.arrow`).
    """

    def __init__(
        self,
        reader: Schema,
        find: Callable[[Collection[int]], Mapping[int, Schema]],
        *,
        ours: bool = False,
        shipped: Sequence[Schema] = (),
    ) -> None:
        self._ours = ours
        self._shipped = tuple(shipped)
        self.reader = reader
        self.arrow = reader.arrow
        self._find = find
        self._writers: dict[bytes, _Writer] = {}

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode all values that can be decoded; the others become failures.

        A null value (a tombstone), and one that does not begin with byte 0 and an id, are
        `not_wire_format`; one with an id that `find` does not know is an `unknown_schema`.

        Raises:
            ValueError: the values have 2 GiB or more together.
            Exception: `find` has raised it; the call can be repeated.
        """
        if sum(map(len, filter(None, values))) > MAX_CALL_BYTES:
            raise ValueError("a call must have less than 2 GiB of values")
        groups = _by_header(values)
        self._find_writers(groups)
        parts: list[Part] = []
        for header, picked in groups.items():
            writer = self._writers.get(header) if header else None
            if writer is None and header and self._shipped and not _misframed(header):
                parts += self._decode_lost(header, values, np.array(picked, np.int32))
            elif writer is None:
                reason, detail = _reason(header)
                failures = [Failure(row, reason, detail) for row in picked]
                parts.append(Part(None, _NO_ROWS, failures))
            else:
                own = values if len(groups) == 1 else [values[row] for row in picked]
                datums = list(map(_DATUM, cast(Sequence[bytes], own)))
                parts += writer.decode(datums, np.array(picked, np.int32))
        return joined(parts, self.arrow)

    def _decode_lost(
        self, header: bytes, values: Sequence[bytes | None], rows: Rows
    ) -> Iterator["Part"]:
        """Decode rows whose schema the registry has lost, by the schemas that Avila ships."""
        for schema in reversed(self._shipped):
            datums = [cast(bytes, values[row])[HEADER_BYTES:] for row in rows]
            parts = list(_Writer(schema, self.reader, ours=False).decode(datums, rows))
            yield from (part._replace(failures=[]) for part in parts)
            rows = np.array([fault.row for part in parts for fault in part.failures], np.int32)
            if not len(rows):
                break
        reason, detail = _reason(header)
        yield Part(None, _NO_ROWS, [Failure(row, reason, detail) for row in sorted(rows.tolist())])

    def _find_writers(self, headers: Collection[bytes | None]) -> None:
        new = {
            header: int.from_bytes(header[1:])
            for header in headers
            if header and header not in self._writers and not _misframed(header)
        }
        if not new:
            return
        found = self._find(new.values())
        for header, schema_id in new.items():
            if schema_id in found:
                self._writers[header] = _Writer(found[schema_id], self.reader, ours=self._ours)


class Part(NamedTuple):
    """Decoded values of a call, at the positions `rows`, and failures."""

    batch: pa.RecordBatch | None
    rows: Rows
    failures: list[Failure]


class _Writer:
    """Decodes values of one writer schema into the columns of the reader."""

    def __init__(self, schema: Schema, reader: Schema, *, ours: bool) -> None:
        self._schema = schema
        self._reader = reader
        self._ours = ours
        self._wrong_unit = next((str(p) for p in unreadable(reader, schema) if p.wrong_unit), "")
        self._projection = project(reader, schema)
        # Parsed separately for fastavro, whose mark for "already parsed" makes a schema cyclic.
        self._fast_written = fastavro.parse_schema(schema.plain)
        self._fast_read = fastavro.parse_schema(reader.plain)

    def decode(self, datums: list[bytes], rows: Rows) -> Iterator[Part]:
        if self._wrong_unit:
            failures = [Failure(row, "undecodable", self._wrong_unit) for row in rows.tolist()]
            yield Part(None, _NO_ROWS, failures)
        elif self._projection is None:
            yield self._one_by_one(datums, rows)
        else:
            yield from self._in_bulk(datums, rows, self._projection)

    def _in_bulk(self, datums: list[bytes], rows: Rows, projection: Projection) -> Iterator[Part]:
        try:
            batch, sound = self._read(datums, projection)
        except ValueError:
            if len(datums) <= _FEW_ROWS:
                yield self._one_by_one(datums, rows)
            else:
                half = len(datums) // 2
                yield from self._in_bulk(datums[:half], rows[:half], projection)
                yield from self._in_bulk(datums[half:], rows[half:], projection)
            return
        if sound is None:
            yield Part(batch, rows, [])
        else:
            yield Part(batch.filter(sound), rows[sound], [])
            yield self._one_by_one(
                [datum for datum, good in zip(datums, sound, strict=True) if not good],
                rows[~sound],
            )

    def _read(
        self, datums: list[bytes], projection: Projection
    ) -> tuple[pa.RecordBatch, NDArray[np.bool_] | None]:
        """Decode all rows, or raise `ValueError`; the mask is False for rows that may be invalid.

        A mask of None means that all rows are valid.
        """
        batch = pyruhvro.deserialize_array(datums, self._schema.plain_text)
        batch.validate(full=True)
        sound = None
        if not self._ours:
            (again,) = pyruhvro.serialize_record_batch(batch, self._schema.plain_text, 1)
            given = pa.array(datums, pa.binary())
            if not again.equals(given):
                sound = pc.equal(again, given).to_numpy(zero_copy_only=False)
        batch, refused = projection.apply(batch)
        if refused is not None:
            sound = ~refused if sound is None else sound & ~refused
        return batch, sound

    def _one_by_one(self, datums: list[bytes], rows: Rows) -> Part:
        records: list[Any] = []
        kept: list[int] = []
        failures: list[Failure] = []
        for row, datum in zip(rows.tolist(), datums, strict=True):
            try:
                check(datum, self._schema.plain, self._schema.plain_named)
                records.append(
                    fastavro.schemaless_reader(
                        io.BytesIO(datum), self._fast_written, self._fast_read
                    )
                )
                kept.append(row)
            except Malformed as error:
                failures.append(Failure(row, "undecodable", str(error)))
            except (SchemaResolutionError, UnicodeDecodeError) as error:
                failures.append(Failure(row, "undecodable", f"cannot be resolved: {error}"))
        batch = pa.RecordBatch.from_pylist(records, schema=self._reader.arrow)
        return Part(batch, np.array(kept, np.int32), failures)


class Encoder:
    """Encodes batches as values of `schema`, whose id in the registry is `schema_id`.

    Raises:
        InvalidRequest: the schema has no columns (`Schema.arrow`).
    """

    def __init__(self, schema: Schema, schema_id: int) -> None:
        self.arrow = schema.arrow
        self._schema = schema
        self._header = b"\0" + schema_id.to_bytes(HEADER_BYTES - 1)
        self._fast = fastavro.parse_schema(schema.plain)

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """Return a value for each row, in order. Columns are found by name; others are ignored.

        A column of another type is cast if that changes no value (a timestamp in milliseconds is
        encoded as its integer).

        Raises:
            ValueError: a column is missing, has a null that the schema does not allow, or values
                out of the range of its type.
        """
        values: list[bytes] = self.encode_column(batch).to_pylist()
        return values

    def encode_column(self, batch: pa.RecordBatch) -> Any:
        """Return the values of `encode` as an Arrow array of binaries."""
        batch = self._conform(batch)
        if not self._schema.bulk:
            return pa.array(self.encode_records(batch.to_pylist()), pa.binary())
        (datums,) = pyruhvro.serialize_record_batch(batch, self._schema.plain_text, 1)
        nothing = pa.scalar(b"", pa.binary())
        header = pa.scalar(self._header, pa.binary())
        return pc.binary_join_element_wise(header, datums, nothing)

    def encode_records(self, records: Iterable[Mapping[str, Any]]) -> list[bytes]:
        """Return a value for each record; faster than `encode` for few or long records.

        Raises:
            ValueError: a field is missing, or has a value out of the range of its type.
        """
        return [self._encode_one(record) for record in records]

    def _conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.schema.equals(self.arrow):
            columns = batch.columns
        else:
            absent = set(self.arrow.names) - set(batch.schema.names)
            if absent:
                raise ValueError(f"columns {sorted(absent)} are missing")
            columns = [batch.column(field.name).cast(field.type) for field in self.arrow]
        for field, column in zip(self.arrow, columns, strict=True):
            if column.null_count and not field.nullable:
                raise ValueError(f"{field.name} must not be null")
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)

    def _encode_one(self, record: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(self._header)
        fastavro.schemaless_writer(out, self._fast, record)
        return out.getvalue()


def _by_header(values: Sequence[bytes | None]) -> dict[bytes | None, Sequence[int]]:
    """Return the rows of the values by header; usually all values have the same."""
    first = values[0] if values else None
    if first and None not in values:
        header, whole = first[:HEADER_BYTES], cast(Sequence[bytes], values)
        if all(map(bytes.startswith, whole, repeat(header))):
            return {header: range(len(values))}
    groups: dict[bytes | None, Sequence[int]] = {}
    for row, value in enumerate(values):
        header_or_none = value and value[:HEADER_BYTES]
        cast(list[int], groups.setdefault(header_or_none, [])).append(row)
    return groups


def _misframed(value: bytes | None) -> str:
    if value is None:
        return "a null value"
    if value[:1] != b"\0":
        return f"begins with byte {value[0]}, not 0" if value else "an empty value"
    return "" if len(value) >= HEADER_BYTES else f"{len(value)} bytes, shorter than a header"


def _reason(header: bytes | None) -> tuple[Reason, str]:
    if fault := _misframed(header):
        return "not_wire_format", fault
    assert header is not None
    return "unknown_schema", f"no schema has the id {int.from_bytes(header[1:])}"


def joined(parts: list[Part], arrow: pa.Schema) -> Decoded:
    """Return the parts as one result, in the order of the call."""
    failures = sorted(failure for part in parts for failure in part.failures)
    full = [(part.batch, part.rows) for part in parts if part.batch is not None and len(part.rows)]
    if not full:
        return Decoded(pa.RecordBatch.from_pylist([], schema=arrow), _NO_ROWS, failures)
    batch, rows = full[0]
    if len(full) > 1:
        table = pa.Table.from_batches([batch for batch, _ in full])
        (batch,) = table.combine_chunks().to_batches()
        rows = np.concatenate([rows for _, rows in full])
    if (np.diff(rows) < 0).any():
        order = np.argsort(rows)
        batch, rows = batch.take(order), rows[order]
    return Decoded(batch, rows, failures)
