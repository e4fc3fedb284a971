import io
import random
import re
from collections.abc import Collection
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.avro.codec import Codec, Decoded, Encoder
from schemas.avro.files import history, load, names
from schemas.avro.schema import Schema
from schemas.errors import InvalidRequest
from tests.schemas.examples import (
    BINARY,
    EVENT,
    RICH,
    changed,
    comparable,
    datum,
    framed,
    patient,
    record,
    records_of,
    rows_of,
)

SCHEMAS = {1: EVENT, 2: RICH, 3: BINARY}

# What we refuse though fastavro reads it: each is bytes that no Avro encoder writes.
STRICTER = re.compile(
    r"bytes? follow the datum"
    r"|a number of more than (10 bytes|32 bits|64 bits)"
    r"|index -?\d+ of \d+ choices"
    r"|items declared"
    r"|a block does not have its declared length"
    r"|is not a boolean"
)

AN_EVENT: dict[str, Any] = {
    "event_id": "e1",
    "project_id": "shop",
    "distinct_id": "ann",
    "person_id": "",
    "anonymous_id": None,
    "session_id": "s",
    "event": "purchase",
    "timestamp": 1_700_000_000_000,
    "sent_at": None,
    "received_at": 1_700_000_000_001,
    "properties": '{"price":1}',
    "context": "{}",
}


def codec(reader: Schema, writers: dict[int, Schema] | None = None) -> Codec:
    known = SCHEMAS if writers is None else writers

    def find(ids: Collection[int]) -> dict[int, Schema]:
        return {number: known[number] for number in ids if number in known}

    return Codec(reader, find)


def assert_whole(decoded: Decoded, count: int) -> None:
    """Every value is either a row or a failure, rows are in order."""
    assert decoded.rows.dtype == np.int32
    assert (np.diff(decoded.rows) > 0).all()
    assert decoded.batch.num_rows == len(decoded.rows)
    assert sorted([*decoded.rows.tolist(), *(f.row for f in decoded.failures)]) == [*range(count)]
    assert decoded.failures == sorted(decoded.failures)


def reasons(decoded: Decoded) -> list[str]:
    return [failure.reason for failure in decoded.failures]


@pytest.mark.parametrize("schema_id", SCHEMAS)
@patient
@given(st.data())
def test_bulk_decoding_and_encoding_equal_fastavro(schema_id: int, data: st.DataObject) -> None:
    schema = SCHEMAS[schema_id]
    rows = data.draw(st.lists(records_of(schema), max_size=8))
    values: list[bytes | None] = [framed(schema_id, datum(schema, row)) for row in rows]

    decoded = codec(schema).decode(values)

    assert decoded.batch.schema.equals(schema.arrow)
    assert_whole(decoded, len(rows))
    assert decoded.failures == []
    assert rows_of(decoded.batch) == [comparable(row) for row in rows]
    assert Encoder(schema, schema_id).encode(decoded.batch) == values


def test_a_megabyte_of_any_text_survives_both_ways() -> None:
    huge = "ü\0\u2028🎯" * 100_000
    rows = [AN_EVENT | {"properties": huge}, AN_EVENT, AN_EVENT | {"event": huge}]
    values: list[bytes | None] = [framed(1, datum(EVENT, row)) for row in rows]

    decoded = codec(EVENT).decode(values)

    assert decoded.batch.to_pylist() == rows
    assert Encoder(EVENT, 1).encode(decoded.batch) == values


def test_times_are_int64_milliseconds_without_a_copy() -> None:
    decoded = codec(EVENT).decode([framed(1, datum(EVENT, AN_EVENT))])

    times = decoded.batch.column("timestamp").to_numpy(zero_copy_only=True)

    assert times.dtype == np.int64
    assert times.tolist() == [AN_EVENT["timestamp"]]


NEWER = changed(
    EVENT,
    add=[
        {"name": "revision", "type": "long", "default": 7},
        {"name": "plan", "type": ["null", "string"], "default": None},
    ],
    drop={"session_id"},
)


@patient
@given(
    st.lists(
        st.tuples(st.just(10), records_of(EVENT)) | st.tuples(st.just(11), records_of(NEWER)),
        max_size=8,
    ),
    st.booleans(),
)
def test_both_generations_of_an_evolved_schema_stand_in_one_batch(
    sent: list[tuple[int, dict[str, Any]]], reads_newer: bool
) -> None:
    writers = {10: EVENT, 11: NEWER}
    reader = NEWER if reads_newer else EVENT
    values: list[bytes | None] = [
        framed(number, datum(writers[number], row)) for number, row in sent
    ]

    decoded = codec(reader, writers).decode(values)

    assert_whole(decoded, len(sent))
    assert decoded.failures == []
    expected = []
    for number, row in sent:
        data = io.BytesIO(datum(writers[number], row))
        expected.append(fastavro.schemaless_reader(data, writers[number].plain, reader.plain))
    assert decoded.batch.to_pylist() == expected


@patient
@given(records_of(record({"name": "a", "type": "int"}, {"name": "b", "type": ["null", "float"]})))
def test_numbers_are_promoted_as_avro_says(row: dict[str, Any]) -> None:
    writer = record({"name": "a", "type": "int"}, {"name": "b", "type": ["null", "float"]})
    reader = record({"name": "b", "type": ["null", "double"]}, {"name": "a", "type": "long"})

    decoded = codec(reader, {1: writer}).decode([framed(1, datum(writer, row))])

    assert comparable(decoded.batch.to_pylist()) == comparable([row])


def test_a_field_is_found_by_its_alias() -> None:
    writer = record({"name": "old", "type": "string"})
    reader = record({"name": "new", "type": "string", "aliases": ["old"]})

    decoded = codec(reader, {1: writer}).decode([framed(1, b"\x02x")])

    assert decoded.batch.to_pylist() == [{"new": "x"}]


def test_a_null_that_the_reader_does_not_allow_is_refused_by_itself() -> None:
    writer = record({"name": "a", "type": ["null", "string"]})
    reader = record({"name": "a", "type": "string"})

    decoded = codec(reader, {1: writer}).decode([framed(1, b"\x02\x02x"), framed(1, b"\0")])

    assert decoded.batch.to_pylist() == [{"a": "x"}]
    assert [(f.row, f.reason) for f in decoded.failures] == [(1, "undecodable")]


def test_text_and_bytes_are_read_as_each_other_where_the_text_is_utf8() -> None:
    writer = record({"name": "a", "type": "bytes"})
    reader = record({"name": "a", "type": "string"})

    decoded = codec(reader, {1: writer}).decode([framed(1, b"\x02x"), framed(1, b"\x02\xff")])

    assert decoded.batch.to_pylist() == [{"a": "x"}]
    assert reasons(decoded) == ["undecodable"]


def test_a_time_in_another_unit_is_refused_not_misread() -> None:
    micros = record({"name": "t", "type": {"type": "long", "logicalType": "timestamp-micros"}})
    millis = record({"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}})

    decoded = codec(millis, {1: micros}).decode([framed(1, b"\x02")])

    assert decoded.failures[0].detail == "t: timestamp-micros cannot be read as timestamp-millis"


def test_a_schema_that_cannot_be_resolved_fails_its_own_rows_only() -> None:
    other = record({"name": "x", "type": "string"}, name="Other")
    good = framed(1, datum(EVENT, AN_EVENT))

    decoded = codec(EVENT, {1: EVENT, 2: other}).decode([good, framed(2, b"\x02x"), good])

    assert decoded.rows.tolist() == [0, 2]
    assert reasons(decoded) == ["undecodable"]


@pytest.mark.parametrize(
    ("value", "reason", "detail"),
    [
        (None, "not_wire_format", "a null value"),
        (b"", "not_wire_format", "an empty value"),
        (b'{"event":"x"}', "not_wire_format", "begins with byte 123, not 0"),
        (b"\0\0\0\0", "not_wire_format", "4 bytes, shorter than a header"),
        (b"\0\0\0\0\x63abc", "unknown_schema", "no schema has the id 99"),
        (b"\0\xff\xff\xff\xffabc", "unknown_schema", "no schema has the id 4294967295"),
        (b"\0\0\0\0\x01", "undecodable", "event_id: the datum ends inside it"),
        (b"\0\0\0\0\x01\x05", "undecodable", "event_id: -3 is not a length"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_is_kept(
    value: bytes | None, reason: str, detail: str
) -> None:
    good = framed(1, datum(EVENT, AN_EVENT))

    decoded = codec(EVENT).decode([good, value, good])

    assert decoded.rows.tolist() == [0, 2]
    assert decoded.batch.to_pylist() == [AN_EVENT, AN_EVENT]
    assert decoded.failures == [(1, reason, detail)]


SMALL = record(
    {"name": "text", "type": "string"},
    {"name": "maybe", "type": ["null", "string"]},
    {"name": "int", "type": "int"},
    {"name": "long", "type": "long"},
    {"name": "list", "type": {"type": "array", "items": "string"}},
)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\x02x\0\x02\x02\0junk", "4 bytes follow the datum"),
        (b"\x02x\0\x02", "long: the datum ends inside it"),
        (b"\x05xx\0\x02\x02\0", "text: -3 is not a length"),
        (b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7fx", "text: 4611686018427387903 bytes declared"),
        (b"\x02\xff\0\x02\x02\0", "text: not UTF-8 at byte 0: invalid start byte"),
        (b"\x06\xed\xa0\x80\0\x02\x02\0", "text: not UTF-8 at byte 0"),
        (b"\x02x\x04\x02y\x02\x02\0", "maybe: index 2 of 2 choices"),
        (b"\x02x\x01\x02y\x02\x02\0", "maybe: index -1 of 2 choices"),
        (b"\x02x\0\x80\x80\x80\x80\x20\x02\0", "int: a number of more than 32 bits"),
        (b"\x02x\0\x02" + b"\xff" * 9 + b"\x7f\0", "long: a number of more than 64 bits"),
        (b"\x02x\0\x02" + b"\xff" * 10 + b"\x01\0", "long: a number of more than 10 bytes"),
        (b"\x02x\0\x02\x02\xfe\xff\xff\xff\x0f\0", "list: 2147483647 items declared, 1 bytes"),
        (b"\x02x\0\x02\x02\x01\x06\x02a\0", "list: a block does not have its declared length"),
    ],
)
def test_hostile_bytes_are_refused_with_place_and_cause(data: bytes, detail: str) -> None:
    good = b"\x02x\0\x02\x02\x02\x02a\0"

    decoded = codec(SMALL, {1: SMALL}).decode([framed(1, good), framed(1, data), framed(1, good)])

    assert decoded.rows.tolist() == [0, 2]
    assert [failure.reason for failure in decoded.failures] == ["undecodable"]
    assert detail in decoded.failures[0].detail


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x02x\0\x82\0\x02\0", id="a number in more bytes than it needs"),
        pytest.param(b"\x02x\0\x02\x02\x02\x02a\x02\x02b\0", id="an array in two blocks"),
        pytest.param(b"\x02x\0\x02\x02\x03\x08\x02a\x02b\0", id="a block with its length"),
    ],
)
def test_sound_datums_in_an_unusual_form_are_read(data: bytes) -> None:
    decoded = codec(SMALL, {1: SMALL}).decode([framed(1, data)])

    expected = fastavro.schemaless_reader(io.BytesIO(data), SMALL.plain, None)
    assert decoded.failures == []
    assert decoded.batch.to_pylist() == [expected]


def test_a_list_that_contains_itself_has_no_columns_but_may_be_dropped_by_the_reader() -> None:
    chain = {
        "type": "record",
        "name": "Chain",
        "fields": [{"name": "n", "type": ["null", "Chain"]}],
    }
    writer = record({"name": "a", "type": "string"}, {"name": "c", "type": chain})
    reader = record({"name": "a", "type": "string"})
    deep = b"\x02x" + b"\x02" * 1_000_000 + b"\0"

    decoded = codec(reader, {1: writer}).decode([framed(1, b"\x02x\x02\0"), framed(1, deep)])

    assert decoded.batch.to_pylist() == [{"a": "x"}]
    assert "nested more than" in decoded.failures[0].detail
    with pytest.raises(InvalidRequest, match="must be a record"):
        codec(writer)


def test_an_array_of_nothing_cannot_announce_more_than_it_carries() -> None:
    writer = record({"name": "a", "type": {"type": "array", "items": "null"}})
    reader = record({"name": "b", "type": "long", "default": 0})
    bomb = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\0"

    decoded = codec(reader, {1: writer}).decode([framed(1, bomb)])

    assert reasons(decoded) == ["undecodable"]


def assert_agrees_with_fastavro(schema: Schema, datums: list[bytes]) -> None:
    decoded = codec(schema, {1: schema}).decode([framed(1, data) for data in datums])
    assert_whole(decoded, len(datums))
    rows = dict(zip(decoded.rows.tolist(), rows_of(decoded.batch), strict=True))
    failures = {failure.row: failure.detail for failure in decoded.failures}
    for position, data in enumerate(datums):
        source = io.BytesIO(data)
        try:
            read = fastavro.schemaless_reader(source, schema.plain, None)
        except (EOFError, LookupError, ValueError, OverflowError, MemoryError):
            assert position in failures
            continue
        if position in rows:
            assert rows[position] == comparable(read)
            assert source.tell() == len(data)
        else:
            assert STRICTER.search(failures[position]), failures[position]
            # fastavro writes an int of any size, too.
            beyond_int = "more than 32 bits" in failures[position]
            assert beyond_int or datum_or_none(schema, read) != data


def datum_or_none(schema: Schema, value: Any) -> bytes | None:
    try:
        return datum(schema, value)
    except (OverflowError, ValueError):
        return None


# Arrays that announce 2^60 items keep fastavro busy for years: the oracle is spared them.
FLAT = [
    EVENT,
    BINARY,
    record({"name": "a", "type": ["string", "null"]}, {"name": "b", "type": "int"}),
]


@settings(patient, max_examples=200)
@given(st.sampled_from(FLAT), st.lists(st.binary(max_size=40), max_size=50))
def test_random_bytes_are_judged_as_fastavro_judges_them(
    schema: Schema, datums: list[bytes]
) -> None:
    assert_agrees_with_fastavro(schema, datums)


@settings(patient, max_examples=200)
@given(st.sampled_from(FLAT), st.data())
def test_mutations_of_sound_datums_are_judged_as_fastavro_judges_them(
    schema: Schema, data: st.DataObject
) -> None:
    sound = [datum(schema, row) for row in data.draw(st.lists(records_of(schema), max_size=40))]
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    assert_agrees_with_fastavro(schema, [mutated(one, chance) for one in sound])


@patient
@given(st.data())
def test_no_mutation_of_a_nested_datum_stops_the_batch(data: st.DataObject) -> None:
    sound = [datum(RICH, row) for row in data.draw(st.lists(records_of(RICH), max_size=40))]
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    values: list[bytes | None] = [framed(2, mutated(one, chance)) for one in sound]

    decoded = codec(RICH).decode(values)

    assert_whole(decoded, len(values))
    # Compared as bytes: what is no number equals nothing.
    again = Encoder(RICH, 2).encode(decoded.batch)
    assert Encoder(RICH, 2).encode(codec(RICH).decode(list(again)).batch) == again


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Half of the datums as they are, the others with some bytes changed, lost or added."""
    if not data or chance.random() < 0.5:
        return data
    at = chance.randrange(len(data))
    match chance.randrange(5):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[at + 1 :]
        case 2:
            return data[:at] + chance.randbytes(chance.randrange(1, 4)) + data[at:]
        case 3:
            return data + chance.randbytes(chance.randrange(1, 4))
        case _:
            changed = bytearray(data)
            for _ in range(chance.randrange(1, 4)):
                changed[chance.randrange(len(changed))] = chance.choice([0, 1, 127, 128, 254, 255])
            return bytes(changed)


def test_bad_rows_anywhere_in_a_large_batch_are_found() -> None:
    good = framed(1, datum(EVENT, AN_EVENT))
    values: list[bytes | None] = [good] * 2_000
    bad = {0: good[:-1], 999: good + b"x", 1_000: b"\0\0\0\0\x01\x02\xff", 1_999: None}
    for row, value in bad.items():
        values[row] = value

    decoded = codec(EVENT).decode(values)

    assert_whole(decoded, len(values))
    assert [failure.row for failure in decoded.failures] == sorted(bad)
    assert decoded.batch.to_pylist() == [AN_EVENT] * 1_996


def test_schemas_are_asked_for_once_and_not_again_when_known() -> None:
    asked: list[set[int]] = []

    def find(ids: Collection[int]) -> dict[int, Schema]:
        asked.append(set(ids))
        return {1: EVENT} if 1 in ids else {}

    reader = Codec(EVENT, find)
    values = [framed(1, datum(EVENT, AN_EVENT)), framed(8, b""), framed(9, b"")]
    reader.decode(values)
    reader.decode(values)

    assert asked == [{1, 8, 9}, {8, 9}]


def test_an_empty_call_gives_an_empty_batch() -> None:
    decoded = codec(EVENT).decode([])

    assert decoded.batch.schema.equals(EVENT.arrow)
    assert_whole(decoded, 0)


def test_encoding_takes_slices_other_orders_and_timestamps() -> None:
    rows = [AN_EVENT | {"timestamp": number} for number in range(4)]
    batch = pa.RecordBatch.from_pylist(rows, schema=EVENT.arrow)
    times = batch.column("timestamp").cast(pa.timestamp("ms", "UTC"))
    table = pa.Table.from_batches([batch]).drop(["timestamp"]).append_column("timestamp", times)

    values = Encoder(EVENT, 258).encode(table.to_batches()[0].slice(1, 2))

    assert values == [framed(258, datum(EVENT, row)) for row in rows[1:3]]


def test_encoding_refuses_what_the_schema_does_not_hold() -> None:
    encoder = Encoder(SMALL, 1)
    row: dict[str, Any] = {"text": "x", "maybe": None, "int": 1, "long": 1, "list": []}
    batch = pa.RecordBatch.from_pylist([row], schema=SMALL.arrow)

    with pytest.raises(ValueError, match=r"columns \['list'\] are missing"):
        encoder.encode(batch.drop_columns(["list"]))
    nothing = pa.array([None], pa.string())
    with pytest.raises(ValueError, match="text must not be null"):
        encoder.encode(batch.set_column(0, "text", nothing))
    with pytest.raises(ValueError, match="not in range"):
        encoder.encode(batch.set_column(2, "int", pa.array([2**40])))


@pytest.mark.parametrize("name", names())
@patient
@given(st.data())
def test_values_whose_ids_the_registry_has_lost_are_read_by_the_schemas_that_we_ship(
    name: str, data: st.DataObject
) -> None:
    newest = history(name)[-1]
    rows = data.draw(st.lists(records_of(newest), min_size=1, max_size=4))
    values: list[bytes | None] = [framed(70, datum(newest, row)) for row in rows]
    lost = Codec(load(name), lambda _: {}, shipped=history(name))

    decoded = lost.decode([*values, framed(9, b"\xff" * 9), None])

    assert decoded.rows.tolist() == list(range(len(values)))
    assert rows_of(decoded.batch) == rows_of(codec(load(name), {70: newest}).decode(values).batch)
    assert reasons(decoded) == ["unknown_schema", "not_wire_format"]


def test_a_lost_id_of_an_older_version_is_read_by_that_version() -> None:
    added = [{"name": "extra", "type": ["null", "string"], "default": None}]
    newer = changed(EVENT, add=added, drop=set())
    values: list[bytes | None] = [
        framed(70, datum(EVENT, AN_EVENT)),
        framed(71, datum(newer, AN_EVENT | {"extra": "x"})),
    ]

    decoded = Codec(newer, lambda _: {}, shipped=[EVENT, newer]).decode(values)

    assert not decoded.failures
    assert [row["extra"] for row in decoded.batch.to_pylist()] == [None, "x"]
