"""Writes tables batch by batch: as newline-delimited JSON, CSV, Parquet or an Arrow stream."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Final, Protocol, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from services.query.tables.columns import Column, arrow_schema
from services.query.tables.media import ARROW, CSV, NDJSON, PARQUET

# A row group of a Parquet file is held until it has this many bytes or rows.
_GROUP_BYTES: Final = 16 << 20
_GROUP_ROWS: Final = 131_072
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class TableEncoder(Protocol):
    """Writes one table: its head, its batches in order, and its end."""

    def head(self) -> bytes:
        """Return what precedes all rows."""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return what a batch adds, which has the columns of the table."""

    def end(self) -> bytes:
        """Return what follows all rows."""


def make_encoder(media_type: str, table: Sequence[Column]) -> TableEncoder:
    """Return what writes a table with these columns in one of the formats of tables."""
    return _ENCODERS[media_type](table)


class _Ndjson:
    """An object a line; columns of JSON are values, not text."""

    def __init__(self, table: Sequence[Column]) -> None:
        self._table = table
        self._encoder = msgspec.json.Encoder()

    def head(self) -> bytes:
        return b""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        names = [one.name for one in self._table]
        values = [
            _values(one, array) for one, array in zip(self._table, batch.columns, strict=True)
        ]
        return self._encoder.encode_lines(
            [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        )

    def end(self) -> bytes:
        return b""


def _values(column: Column, array: "pa.Array[Any]") -> list[Any]:
    values: list[Any] = _texts(column, array).to_pylist()
    if column.type == "json":
        return [None if one is None else msgspec.Raw(one.encode()) for one in values]
    return values


class _Csv:
    """A heading, and a line for each row; nothing stands for null."""

    _OPTIONS: Final = pa_csv.WriteOptions(include_header=False, quoting_style="needed")

    def __init__(self, table: Sequence[Column]) -> None:
        self._table = table

    def head(self) -> bytes:
        return ",".join(one.name for one in self._table).encode() + b"\n"

    def rows(self, batch: pa.RecordBatch) -> bytes:
        arrays = [_texts(one, array) for one, array in zip(self._table, batch.columns, strict=True)]
        written = io.BytesIO()
        shown = pa.RecordBatch.from_arrays(arrays, names=[one.name for one in self._table])
        pa_csv.write_csv(shown, written, self._OPTIONS)
        return written.getvalue()

    def end(self) -> bytes:
        return b""


def _texts(column: Column, array: "pa.Array[Any]") -> "pa.Array[Any]":
    """Return times and days as texts of RFC 3339, and all else as it is."""
    match column.type:
        case "time":
            return pc.strftime(array, format=_TIME)
        case "day":
            return array.cast(pa.string())
    return array


class _Parquet:
    """A file, whose last bytes say where its row groups are: one that is cut off is unreadable."""

    def __init__(self, table: Sequence[Column]) -> None:
        schema = arrow_schema(table)
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(cast(IO[Any], self._sink), schema, compression="zstd")
        self._held: list[pa.RecordBatch] = []
        self._schema = schema

    def head(self) -> bytes:
        return b""

    def rows(self, batch: pa.RecordBatch) -> bytes:
        self._held.append(batch)
        rows, size = sum(one.num_rows for one in self._held), sum(one.nbytes for one in self._held)
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            self._write()
        return self._sink.take()

    def end(self) -> bytes:
        self._write()
        self._writer.close()
        return self._sink.take()

    def _write(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held, self._schema))
            self._held.clear()


class _Arrow:
    """Arrow's stream of record batches, with the mark that ends it."""

    def __init__(self, table: Sequence[Column]) -> None:
        self._sink = _Sink()
        self._writer = pa.ipc.new_stream(self._sink, arrow_schema(table))

    def head(self) -> bytes:
        return self._sink.take()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        self._writer.write_batch(batch)
        return self._sink.take()

    def end(self) -> bytes:
        self._writer.close()
        return self._sink.take()


class _Sink(io.RawIOBase):
    """A file that hands over what was written since the last time."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:  # of any type with the buffer protocol
        size = memoryview(data).nbytes
        self._written += data
        self._position += size
        return size

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


_ENCODERS: Final[Mapping[str, Callable[[Sequence[Column]], TableEncoder]]] = {
    NDJSON: _Ndjson,
    CSV: _Csv,
    PARQUET: _Parquet,
    ARROW: _Arrow,
}
