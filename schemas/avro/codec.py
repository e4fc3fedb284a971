"""Confluent's wire format in bulk: byte 0, the schema's id (4 bytes, big-endian), an Avro datum.

Decoding is pyruhvro's, a batch at a time, and is believed only if its strings are UTF-8 and
encoding the result gives the same bytes again: pyruhvro checks neither that, nor what follows a
datum, nor the range of an int. What fails is narrowed down by halves; the few rows left are judged
one by one by `schemas.avro.datum`, and read by fastavro if they are sound after all (a number
written in more bytes than it needs, an array in several blocks).
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
# Arrow's string columns count their bytes in 32 bits, and pyruhvro panics beyond that.
MAX_CALL_BYTES: Final = 2**31 - 1
Rows: TypeAlias = NDArray[np.int32]
_NO_ROWS: Final = np.empty(0, np.int32)

_DATUM: Final = itemgetter(slice(HEADER_BYTES, None))

# Below this, one by one is cheaper than further halving.
_FEW_ROWS: Final = 32


class Failure(NamedTuple):
    """A value that is not a datum we can read: its position in the call, and why."""

    row: int
    reason: Reason
    detail: str


class Decoded(NamedTuple):
    """What came of a list of values.

    `batch` has the readable ones in the reader's columns and in the order of the call; `rows`
    (shape (batch.num_rows,), ascending) their positions in the call; `failures` the others, by
    position. Every value is in one of the two.
    """

    batch: pa.RecordBatch
    rows: Rows
    failures: list[Failure]


class Codec:
    """Decodes values of whatever writer schemas into the columns of one reader schema.

    `find` is asked for the schemas of ids not met before, at most once a call, and leaves out those
    that do not exist; it may block. Not safe to use from several threads at once.

    With `ours`, the values are taken to be whole if they can be read at all: for topics that only
    our own encoder writes to. It saves the check that a value holds nothing else than was read,
    a third of the work.

    Raises:
        InvalidRequest: the reader schema has no columns (`Schema.arrow`).
    """

    def __init__(
        self,
        reader: Schema,
        find: Callable[[Collection[int]], Mapping[int, Schema]],
        *,
        ours: bool = False,
    ) -> None:
        self._ours = ours
        self.reader = reader
        self.arrow = reader.arrow
        self._find = find
        self._writers: dict[bytes, _Writer] = {}

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode all that can be; what cannot is among the failures and stops nothing.

        A null value (a tombstone) and one that does not begin with byte 0 and an id are
        `not_wire_format`; an id that `find` does not know is `unknown_schema`.

        Raises:
            ValueError: the values are 2 GiB or more together.
            Exception: whatever `find` raises; nothing is decided then, call again.
        """
        if sum(map(len, filter(None, values))) > MAX_CALL_BYTES:
            raise ValueError("2 GiB of values in one call; accepted is less")
        groups = _by_header(values)
        self._meet(groups)
        parts: list[_Part] = []
        for header, picked in groups.items():
            writer = self._writers.get(header) if header else None
            if writer is None:
                reason, detail = _fault(header)
                failures = [Failure(row, reason, detail) for row in picked]
                parts.append(_Part(None, _NO_ROWS, failures))
            else:
                own = values if len(groups) == 1 else [values[row] for row in picked]
                datums = list(map(_DATUM, cast(Sequence[bytes], own)))
                parts += writer.decode(datums, np.array(picked, np.int32))
        return _joined(parts, self.arrow)

    def _meet(self, headers: Collection[bytes | None]) -> None:
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


class _Part(NamedTuple):
    """Some of a call's values; `rows` are those in `batch`."""

    batch: pa.RecordBatch | None
    rows: Rows
    failures: list[Failure]


class _Writer:
    """Reads what was written with one schema as the reader's columns."""

    def __init__(self, schema: Schema, reader: Schema, *, ours: bool) -> None:
        self._schema = schema
        self._reader = reader
        self._ours = ours
        self._wrong_unit = next((str(p) for p in unreadable(reader, schema) if p.wrong_unit), "")
        self._projection = project(reader, schema)
        # Parsed once more for fastavro alone: its mark for "already parsed" makes a schema cyclic.
        self._fast_written = fastavro.parse_schema(schema.plain)
        self._fast_read = fastavro.parse_schema(reader.plain)

    def decode(self, datums: list[bytes], rows: Rows) -> Iterator[_Part]:
        if self._wrong_unit:
            failures = [Failure(row, "undecodable", self._wrong_unit) for row in rows.tolist()]
            yield _Part(None, _NO_ROWS, failures)
        elif self._projection is None:
            yield self._one_by_one(datums, rows)
        else:
            yield from self._in_bulk(datums, rows, self._projection)

    def _in_bulk(self, datums: list[bytes], rows: Rows, projection: Projection) -> Iterator[_Part]:
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
            yield _Part(batch, rows, [])
        else:
            yield _Part(batch.filter(sound), rows[sound], [])
            yield self._one_by_one(
                [datum for datum, good in zip(datums, sound, strict=True) if not good],
                rows[~sound],
            )

    def _read(
        self, datums: list[bytes], projection: Projection
    ) -> tuple[pa.RecordBatch, NDArray[np.bool_] | None]:
        """Read all, or raise ValueError; the mask has False for the rows not to be believed.

        A mask of None stands for none of them.
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

    def _one_by_one(self, datums: list[bytes], rows: Rows) -> _Part:
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
        return _Part(batch, np.array(kept, np.int32), failures)


class Encoder:
    """Encodes batches as values that carry the schema `schema_id`, which must be `schema`'s.

    Raises:
        InvalidRequest: the schema has no columns (`Schema.arrow`).
    """

    def __init__(self, schema: Schema, schema_id: int) -> None:
        self.arrow = schema.arrow
        self._schema = schema
        self._header = b"\0" + schema_id.to_bytes(HEADER_BYTES - 1)
        self._fast = fastavro.parse_schema(schema.plain)

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """One value a row, in order. Columns are found by name, others are left out.

        A column of another type is cast if no value changes by it (a timestamp in milliseconds is
        taken for the integer that it is).

        Raises:
            ValueError: a column is missing, has a null where the schema allows none, or values
                that its type does not hold.
        """
        values: list[bytes] = self.encode_column(batch).to_pylist()
        return values

    def encode_column(self, batch: pa.RecordBatch) -> Any:
        """The same as `encode`, as an Arrow array of binaries."""
        batch = self._conform(batch)
        if not self._schema.bulk:
            return pa.array(self.encode_records(batch.to_pylist()), pa.binary())
        (datums,) = pyruhvro.serialize_record_batch(batch, self._schema.plain_text, 1)
        nothing = pa.scalar(b"", pa.binary())
        header = pa.scalar(self._header, pa.binary())
        return pc.binary_join_element_wise(header, datums, nothing)

    def encode_records(self, records: Iterable[Mapping[str, Any]]) -> list[bytes]:
        """One value a record: for a few of them, and long ones, which columns do not pay for.

        Raises:
            ValueError: a field is missing, or has a value that its type does not hold.
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
                raise ValueError(f"{field.name}: null, where the schema allows none")
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)

    def _encode_one(self, record: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(self._header)
        fastavro.schemaless_writer(out, self._fast, record)
        return out.getvalue()


def _by_header(values: Sequence[bytes | None]) -> dict[bytes | None, Sequence[int]]:
    """The rows of the values by their headers: mostly there is but one."""
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


def _fault(header: bytes | None) -> tuple[Reason, str]:
    if fault := _misframed(header):
        return "not_wire_format", fault
    assert header is not None
    return "unknown_schema", f"no schema has the id {int.from_bytes(header[1:])}"


def _joined(parts: list[_Part], arrow: pa.Schema) -> Decoded:
    """The parts as one, in the order of the call."""
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
