import io
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro.resolution import COMPATIBILITIES, incompatible, unreadable
from schemas.avro.schema import Schema
from tests.schemas.examples import changed, datum, patient, record, records_of

BASE = record({"name": "a", "type": "string"}, {"name": "b", "type": ["null", "long"]})
WITH_DEFAULT = changed(BASE, add=[{"name": "c", "type": "int", "default": 1}], drop=set())
WITHOUT_DEFAULT = changed(BASE, add=[{"name": "c", "type": "int"}], drop=set())


def kind(**attributes: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "Kind", **attributes}


def one(type_: Any) -> Schema:
    return record({"name": "x", "type": type_})


MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


@pytest.mark.parametrize(
    ("reader", "writer"),
    [
        (BASE, BASE),
        (WITH_DEFAULT, BASE),
        (BASE, WITHOUT_DEFAULT),
        (one("long"), one("int")),
        (one("double"), one("float")),
        (one("string"), one("bytes")),
        (one(["null", "string"]), one("string")),
        (one("string"), one(["string"])),
        (one(["null", "double"]), one(["int", "null"])),
        (one(kind(symbols=["a", "b"])), one(kind(symbols=["b"]))),
        (one(kind(symbols=["a"], default="a")), one(kind(symbols=["b"]))),
        (one({"type": "array", "items": "long"}), one({"type": "array", "items": "int"})),
        (one({"type": "map", "values": "long"}), one({"type": "map", "values": "int"})),
        (one(MILLIS), one("long")),
        (one("long"), one(MICROS)),
        (
            record({"name": "new", "type": "int", "aliases": ["old"]}, aliases=["Elder"]),
            record({"name": "old", "type": "int"}, name="Elder"),
        ),
        (
            record({"name": "a", "type": "int"}, namespace="one"),
            record({"name": "a", "type": "int"}, namespace="two"),
        ),
        (
            record({"name": "next", "type": ["null", "Sample"]}),
            record({"name": "next", "type": ["null", "Sample"]}),
        ),
    ],
)
def test_a_reader_reads_what_avro_lets_it_read(reader: Schema, writer: Schema) -> None:
    assert unreadable(reader, writer) == []


@pytest.mark.parametrize(
    ("reader", "writer", "problem"),
    [
        (WITHOUT_DEFAULT, BASE, "c: not written, and without a default"),
        (one("int"), one("long"), "x: long cannot be read as int"),
        (one("string"), one(["null", "string"]), "x: null cannot be read as string"),
        (one(["null", "int"]), one("string"), "x: string is none of the union's branches"),
        (
            one(kind(symbols=["a"])),
            one(kind(symbols=["a", "b"])),
            "x: b are not symbols, and there is no default",
        ),
        (
            one({"type": "fixed", "name": "F", "size": 2}),
            one({"type": "fixed", "name": "F", "size": 3}),
            "x: 3 bytes cannot be read as 2 bytes",
        ),
        (
            one({"type": "fixed", "name": "F", "size": 2}),
            one({"type": "fixed", "name": "G", "size": 2}),
            "x: G is neither named nor aliased F",
        ),
        (
            one({"type": "array", "items": "int"}),
            one({"type": "array", "items": "string"}),
            "x[]: string cannot be read as int",
        ),
        (
            record({"name": "a", "type": "int"}),
            record({"name": "a", "type": "int"}, name="Other"),
            "the schema: Other is neither named nor aliased Sample",
        ),
        (one(MILLIS), one(MICROS), "x: timestamp-micros cannot be read as timestamp-millis"),
        (
            one(["null", MILLIS]),
            one(["null", MICROS]),
            "x: timestamp-micros cannot be read as timestamp-millis",
        ),
    ],
)
def test_what_a_reader_cannot_read_is_named_with_its_place(
    reader: Schema, writer: Schema, problem: str
) -> None:
    assert [str(found) for found in unreadable(reader, writer)] == [problem]


@pytest.mark.parametrize(
    ("level", "allowed"),
    [
        ("NONE", [BASE, WITH_DEFAULT, WITHOUT_DEFAULT]),
        ("BACKWARD", [BASE, WITH_DEFAULT]),
        ("FORWARD", [BASE, WITH_DEFAULT, WITHOUT_DEFAULT]),
        ("FULL", [BASE, WITH_DEFAULT]),
    ],
)
def test_a_level_compares_in_its_direction(level: Any, allowed: list[Schema]) -> None:
    candidates = [BASE, WITH_DEFAULT, WITHOUT_DEFAULT]

    assert [new for new in candidates if not incompatible(level, new, [BASE])] == allowed


def test_only_transitive_levels_look_beyond_the_newest() -> None:
    # The middle one gave `c` a default, so that the newest could drop it, and the oldest cannot.
    oldest, middle, newest = WITHOUT_DEFAULT, WITH_DEFAULT, BASE

    assert not incompatible("FORWARD", newest, [oldest, middle])
    assert incompatible("FORWARD_TRANSITIVE", newest, [oldest, middle])
    assert incompatible("FULL_TRANSITIVE", newest, [oldest, middle])
    assert not incompatible("FULL", newest, [oldest, middle])


@pytest.mark.parametrize("level", COMPATIBILITIES)
def test_the_first_schema_is_compatible_at_every_level(level: Any) -> None:
    assert incompatible(level, BASE, []) == []


FIELD_TYPES: list[Any] = [
    "int",
    "long",
    "float",
    "double",
    "string",
    "boolean",
    ["null", "int"],
    ["null", "string"],
    ["string", "long"],
    {"type": "array", "items": "int"},
    {"type": "array", "items": ["null", "long"]},
    {"type": "map", "values": "long"},
    {"type": "enum", "name": "Kind", "symbols": ["a", "b"]},
    {"type": "enum", "name": "Kind", "symbols": ["a", "b", "c"]},
]


@patient
@given(st.sampled_from(FIELD_TYPES), st.sampled_from(FIELD_TYPES), st.data())
def test_what_is_called_readable_fastavro_reads(
    read: Any, written: Any, data: st.DataObject
) -> None:
    reader, writer = one(read), one(written)
    value = data.draw(records_of(writer))
    source = io.BytesIO(datum(writer, value))
    try:
        fastavro.schemaless_reader(source, writer.plain, reader.plain)
    except SchemaResolutionError:
        assert unreadable(reader, writer)
