import json
from typing import Any

import pyarrow as pa
import pytest

from schemas.avro.files import load, names
from schemas.avro.schema import Schema
from schemas.errors import InvalidRequest
from tests.schemas.examples import BINARY, RICH, record


def test_a_schema_is_printed_as_avros_java_library_prints_it() -> None:
    written = """
      {"fields": [
         {"default": null, "doc": "d", "type": ["null", {"type": "string"}], "name": "a",
          "order": "ascending", "aliases": []},
         {"name": "b", "aliases": ["c"], "order": "ignore", "x": 1,
          "type": {"name": "com.other.E", "symbols": ["ü"], "default": "ü", "type": "enum",
                   "aliases": ["F"], "doc": "e"}},
         {"name": "f", "type": {"size": 2, "name": "F2", "type": "fixed", "namespace": "com.x"}},
         {"name": "t", "type": {"logicalType": "timestamp-millis", "type": "long"}},
         {"name": "l", "type": {"items": "com.other.E", "type": "array"}},
         {"name": "m", "type": {"values": "F2", "type": "map"}}],
       "doc": "r", "name": "R", "namespace": "com.x", "type": "record"}
    """
    printed = (
        '{"type":"record","name":"R","namespace":"com.x","doc":"r","fields":['
        '{"name":"a","type":["null","string"],"doc":"d","default":null},'
        '{"name":"b","type":{"type":"enum","name":"E","namespace":"com.other","doc":"e",'
        '"symbols":["A"],"default":"A","aliases":["F"]},"order":"ignore","aliases":["c"],"x":1},'
        '{"name":"f","type":{"type":"fixed","name":"F2","size":2}},'
        '{"name":"t","type":{"type":"long","logicalType":"timestamp-millis"}},'
        '{"name":"l","type":{"type":"array","items":"com.other.E"}},'
        '{"name":"m","type":{"type":"map","values":"F2"}}]}'
    )

    assert Schema(written.replace("ü", "A")).text == printed


def test_printing_is_stable_and_decides_equality() -> None:
    first = record({"name": "a", "type": "string", "doc": "ü"})
    spaced = Schema(json.dumps(json.loads(first.text), indent=2))

    assert Schema(first.text).text == first.text
    assert spaced == first
    assert hash(spaced) == hash(first)
    assert record({"name": "a", "type": "string", "doc": "other"}) != first


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        "null",
        '"nothing"',
        "{}",
        '{"type": "record", "name": "R"}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "b"}]}',
        '{"type": "record", "name": "1R", "fields": []}',
        '{"type": "fixed", "name": "F"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_schema_is_refused_as_an_invalid_request(text: str) -> None:
    with pytest.raises(InvalidRequest, match="not an Avro schema"):
        Schema(text)


def test_logical_types_stand_in_columns_as_what_carries_them() -> None:
    schema = record(
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    )

    fields: list[pa.Field[Any]] = [
        pa.field("at", pa.int64(), nullable=False),
        pa.field("day", pa.int32()),
        pa.field("id", pa.string(), nullable=False),
    ]
    assert schema.arrow == pa.schema(fields)


def test_bulk_leaves_out_what_pyruhvro_panics_on() -> None:
    bomb = record({"name": "a", "type": {"type": "array", "items": "null"}})

    assert RICH.bulk
    assert not BINARY.bulk
    assert not bomb.bulk


@pytest.mark.parametrize("name", names())
def test_every_schema_of_ours_goes_in_bulk_but_those_with_bytes(name: str) -> None:
    assert load(name).bulk == (name not in {"metric-result", "example", "model"})
