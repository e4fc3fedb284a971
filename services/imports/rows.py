"""The rows of files: CSV, NDJSON, JSON arrays and Parquet, plain, gzipped or in zip archives.

Nothing is guessed. A cell of CSV is text, exactly as it is written, and an empty one is absent; the
values of the other formats have types of their own. A row that cannot be read is refused by itself.
"""

import base64
import csv
import datetime
import decimal
import gzip
import io
import math
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias, cast

import msgspec
import pyarrow as pa
from pyarrow import parquet

from schemas.errors import InvalidRequest
from schemas.json_text import BYTE_ORDER_MARK, canonicalize
from services.ingest.formats.reading import read_items
from services.ingest.json_text import DECODE_ERRORS

_MAX_CELL_CHARS: Final = 10_000_000
_PARQUET_ROWS: Final = 10_000

# The values of a row as JSON texts, by the name of the column.
Fields: TypeAlias = dict[str, bytes]


class SourceRow(NamedTuple):
    """A row of a file. `place` names it for people: its line, or its number."""

    place: str
    fields: Fields


class RefusedRow(NamedTuple):
    """A row that is not imported, and why."""

    place: str
    reason: str


class RowFile(NamedTuple):
    """The rows of a file; `columns` are known before the rows if all have the same."""

    columns: list[str] | None
    rows: Iterator[SourceRow | RefusedRow]


def open_rows(file: Path) -> RowFile:
    """Open a file, whose name says its format.

    Raises:
        InvalidRequest: the name says no format, or the file as a whole is not in it; the iterator
            raises it too.
    """
    name = file.name.removesuffix(".gz")
    for endings, read in _READERS.items():
        if name.endswith(endings):
            return read(file)
    accepted = ", ".join(ending for endings in _READERS for ending in endings)
    raise InvalidRequest(f"{file.name}: accepted are {accepted}, or .gz of them")


def _read_csv(file: Path) -> RowFile:
    csv.field_size_limit(_MAX_CELL_CHARS)
    try:
        with _open_text(file) as text:
            columns = next(csv.reader(text, strict=True), [])
    except (csv.Error, OSError, EOFError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}") from error
    for name in columns:
        if columns.count(name) > 1:
            raise InvalidRequest(f"{file} has two columns {name!r}: rename one of them")
    return RowFile(columns, _csv_rows(file, columns))


def _csv_rows(file: Path, columns: list[str]) -> Iterator[SourceRow | RefusedRow]:
    with _open_text(file) as text:
        reader = csv.reader(text, strict=True)
        next(reader, None)
        while True:
            place = f"line {reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield RefusedRow(place, f"cannot be read as CSV: {error}")
                continue
            except (OSError, EOFError) as error:
                raise InvalidRequest(f"{file}, {place}: cannot be read: {error}") from error
            if cells is None:
                return
            if cells:  # else it is an empty line
                yield _csv_row(place, columns, cells)


def _csv_row(place: str, columns: list[str], cells: list[str]) -> SourceRow | RefusedRow:
    if len(cells) != len(columns):
        return RefusedRow(place, f"has {len(cells)} cells; the header has {len(columns)}")
    try:
        fields = {
            name: msgspec.json.encode(cell)
            for name, cell in zip(columns, cells, strict=True)
            if cell
        }
    except UnicodeEncodeError:
        return RefusedRow(place, "is not UTF-8")
    return SourceRow(place, fields)


def _open_text(file: Path) -> io.TextIOWrapper:
    # What is not UTF-8 is found row by row.
    source = cast(io.BufferedReader, _open(file))
    return io.TextIOWrapper(source, "utf-8-sig", "surrogateescape", newline="")


_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _read_json(file: Path) -> RowFile:
    return RowFile(None, _json_rows(file))


def _json_rows(file: Path) -> Iterator[SourceRow | RefusedRow]:
    number = 0
    try:
        with _open(file) as source:
            for line in source:
                number += 1
                text = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                if number == 1 and text.lstrip()[:1] == b"[":
                    yield from _array_rows(text + source.read(), file)
                    return
                if text.strip():
                    yield _json_row(f"line {number}", text)
    except (OSError, EOFError) as error:
        raise InvalidRequest(f"{file}, line {number + 1}: cannot be read: {error}") from error


def _array_rows(text: bytes, file: Path) -> Iterator[SourceRow | RefusedRow]:
    try:
        items = read_items(text, len(text))
    except DECODE_ERRORS as error:
        raise InvalidRequest(f"{file} is not an array of JSON objects: {error}") from None
    for number, item in enumerate(items, 1):
        yield _json_row(f"row {number}", bytes(item))


def _json_row(place: str, text: bytes) -> SourceRow | RefusedRow:
    try:
        members = _object.decode(text)
    except DECODE_ERRORS as error:
        try:  # NaN, and half a surrogate pair
            members = _object.decode(canonicalize(text.strip()).text)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return RefusedRow(place, f"is not a JSON object: {error}")
    return SourceRow(place, {name: bytes(raw) for name, raw in members.items()})


def _read_parquet(file: Path) -> RowFile:
    try:
        with _open(file) as source:
            table = parquet.ParquetFile(io.BytesIO(source.read()))
            columns = list(table.schema_arrow.names)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}") from error
    return RowFile(columns, _parquet_rows(file, table))


def _parquet_rows(file: Path, table: parquet.ParquetFile) -> Iterator[SourceRow | RefusedRow]:
    number = 0
    try:
        for batch in table.iter_batches(_PARQUET_ROWS):
            for row in batch.to_pylist():
                number += 1
                fields = {
                    name: msgspec.json.encode(_plain(value))
                    for name, value in row.items()
                    if value is not None
                }
                yield SourceRow(f"row {number}", fields)
    except (pa.ArrowException, OSError) as error:
        raise InvalidRequest(f"{file}, row {number + 1}: cannot be read: {error}") from error


def _plain(value: Any) -> Any:
    """Return a value of Parquet as JSON has it: ISO 8601 times, decimals exact, bytes as text."""
    if isinstance(value, datetime.datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return zoned.isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return msgspec.Raw(str(value).encode()) if value.is_finite() else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _open(file: Path) -> AbstractContextManager[BinaryIO]:
    opened = gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # noqa: SIM115
    return cast(AbstractContextManager[BinaryIO], opened)


def _read_zip(file: Path) -> RowFile:
    return RowFile(None, _zip_rows(file))


def _zip_rows(file: Path) -> Iterator[SourceRow | RefusedRow]:
    """Return the rows of all files in an archive, in the order of their names."""
    try:
        with zipfile.ZipFile(file) as archive, TemporaryDirectory() as directory:
            for name in sorted(archive.namelist()):
                if name.endswith("/"):
                    continue
                member = Path(directory) / Path(name).name
                with archive.open(name) as source, member.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
                for place, what in open_rows(member).rows:
                    here = f"{name}, {place}"
                    if isinstance(what, str):
                        yield RefusedRow(here, what)
                    else:
                        yield SourceRow(here, what)
                member.unlink()
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}") from error


_READERS: Final[dict[tuple[str, ...], Callable[[Path], RowFile]]] = {
    (".csv",): _read_csv,
    (".ndjson", ".jsonl", ".json"): _read_json,
    (".parquet",): _read_parquet,
    (".zip",): _read_zip,
}
