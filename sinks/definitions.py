"""The ClickHouse sink of definitions: their ids, versions and names, in the table `definitions`."""

import itertools
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
from confluent_kafka import Message

from schemas.definitions import parse_key
from schemas.operators import BY_NAME
from schemas.settings import Settings
from sinks.keyed_rows import PLACE, Column, place_columns
from sinks.latest import LatestSink, LatestTable
from sinks.rows import Decoded

_TABLE: Final = LatestTable(
    "definitions",
    {
        "project_id": "String",
        "kind": "String",
        "id": "String",
        "version": "Int32",
        "name": "String",
    },
)
_COLUMNS: Sequence[tuple[str, pa.DataType]] = (
    ("project_id", pa.string()),
    ("kind", pa.string()),
    ("id", pa.string()),
    ("version", pa.int32()),
    ("name", pa.string()),
)
DEFINITION_ROWS: Final = pa.schema([*itertools.starmap(pa.field, _COLUMNS), *PLACE])


class DefinitionsSink(LatestSink):
    """Writes `definitions` to the ClickHouse of the settings; connects at first use."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, _TABLE)


def decode_definitions(partition: int, messages: Sequence[Message]) -> Decoded:
    """Decode the records of operators' definitions; equal records give equal rows.

    One that this version cannot read has no row, like a tombstone: whoever runs it reports it.
    """
    kept: list[Message] = []
    rows: list[tuple[str, str, str, int, str]] = []
    deleted: list[bool] = []
    for message in messages:
        try:
            project, kind, name = parse_key(message.key() or b"")
        except ValueError:
            continue
        if kind not in BY_NAME:
            continue
        version, shown = _read(kind, message.value())
        kept.append(message)
        rows.append((project, kind, name, version, shown))
        deleted.append(version == 0)
    columns: dict[str, Column] = {
        name: pa.array([row[at] for row in rows], kind) for at, (name, kind) in enumerate(_COLUMNS)
    }
    columns |= place_columns(partition, kept, deleted)
    arrays = [columns[name] for name in DEFINITION_ROWS.names]
    return Decoded(pa.RecordBatch.from_arrays(arrays, schema=DEFINITION_ROWS), [])


def _read(kind: str, value: bytes | None) -> tuple[int, str]:
    """Return a definition's version and name; version 0 if there is none that can be read."""
    if value is None:
        return 0, ""
    try:
        definition = BY_NAME[kind].decode(value)
    except msgspec.DecodeError:
        return 0, ""
    body: Any = getattr(definition, kind)  # of the operator's own type, which has a name
    return definition.version, str(body.name)
