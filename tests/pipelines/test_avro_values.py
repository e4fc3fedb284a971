"""Values decoded by kernels are those that the codec decodes, and failures are the same."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.columnar.binary_column import BinaryColumn
from pipelines.kafka.avro_values import ValueDecoder
from schemas.avro.codec import Codec, Decoded
from schemas.avro.schema import Schema
from tests.schemas.examples import (
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

# Every kind of field that kernels decode, with null in either place.
FLAT = record(
    {"name": "flag", "type": "boolean"},
    {"name": "small", "type": "int"},
    {"name": "large", "type": "long"},
    {"name": "single", "type": "float"},
    {"name": "double", "type": "double"},
    {"name": "text", "type": "string"},
    {"name": "no_flag", "type": ["null", "boolean"], "default": None},
    {"name": "no_small", "type": ["int", "null"], "default": 0},
    {"name": "no_large", "type": ["null", "long"], "default": None},
    {"name": "no_single", "type": ["float", "null"], "default": 0.0},
    {"name": "no_double", "type": ["null", "double"], "default": None},
    {"name": "no_text", "type": ["string", "null"], "default": ""},
)
NEWER = changed(
    FLAT, add=[{"name": "more", "type": ["null", "string"], "default": None}], drop={"no_double"}
)
# A field that this one may have as null and the reader may not, so that some rows are refused.
NULLABLE = record(
    *({"name": f["name"], "type": ["null", f["type"]]} for f in FLAT.plain["fields"][:6]),
    *FLAT.plain["fields"][6:],
)
SCHEMAS = {1: FLAT, 2: NEWER, 3: NULLABLE, 4: RICH, 5: EVENT}


def find(ids: Collection[int]) -> dict[int, Schema]:
    return {number: SCHEMAS[number] for number in ids if number in SCHEMAS}


def assert_same(decoded: Decoded, expected: Decoded) -> None:
    decoded.batch.validate(full=True)
    assert decoded.batch.schema.equals(expected.batch.schema)
    assert rows_of(decoded.batch) == rows_of(expected.batch)
    assert decoded.rows.dtype == np.int32
    assert decoded.rows.tolist() == expected.rows.tolist()
    assert decoded.failures == expected.failures


def both(reader: Schema, values: list[bytes | None], **options: Any) -> Decoded:
    """Decode by kernels and by the codec; the result of both, which is one."""
    decoded = ValueDecoder(reader, find, **options).decode(BinaryColumn.of(values))
    assert_same(decoded, Codec(reader, find, **options).decode(values))
    return decoded


@pytest.mark.parametrize("number", [1, 5])
@patient
@given(st.data())
def test_flat_records_equal_what_was_encoded(number: int, data: st.DataObject) -> None:
    schema = SCHEMAS[number]
    rows = data.draw(st.lists(records_of(schema), max_size=8))
    sent: list[bytes | None] = [framed(number, datum(schema, row)) for row in rows]
    decoded = both(schema, sent, ours=data.draw(st.booleans()))
    assert rows_of(decoded.batch) == [comparable(row) for row in rows]
    assert decoded.rows.tolist() == list(range(len(rows)))


def values() -> st.SearchStrategy[bytes | None]:
    """Values of all schemas, whole, cut, with a byte changed or more of them, or no values."""
    whole = st.sampled_from(sorted(SCHEMAS)).flatmap(_of_schema)
    cut = st.tuples(whole, st.integers(0, 60)).map(lambda drawn: drawn[0][: drawn[1]])
    longer = st.tuples(whole, st.binary(max_size=3)).map(b"".join)
    changed_byte = st.tuples(whole, st.integers(0, 80), st.integers(0, 255)).map(_with_byte)
    return st.one_of(st.none(), st.binary(max_size=8), whole, cut, longer, changed_byte)


def _of_schema(number: int) -> st.SearchStrategy[bytes]:
    schema = SCHEMAS[number]
    return records_of(schema).map(lambda row: framed(number, datum(schema, row)))


def _with_byte(drawn: tuple[bytes, int, int]) -> bytes:
    value, place, byte = drawn
    place %= len(value)
    return value[:place] + bytes([byte]) + value[place + 1 :]


@patient
@given(st.lists(values(), max_size=8))
def test_whatever_comes_is_decoded_as_by_the_codec(sent: list[bytes | None]) -> None:
    both(FLAT, sent)
    both(EVENT, sent)
    both(FLAT, sent, shipped=[FLAT])


@patient
@given(st.lists(st.tuples(st.booleans(), st.none() | records_of(FLAT)), max_size=8))
def test_only_the_rows_asked_for_are_decoded(drawn: list[tuple[bool, Any]]) -> None:
    sent = [None if row is None else framed(1, datum(FLAT, row)) for _, row in drawn]
    rows = np.flatnonzero([is_asked for is_asked, _ in drawn]).astype(np.int32)
    decoded = ValueDecoder(FLAT, find).decode(BinaryColumn.of(sent), rows)
    expected = Codec(FLAT, find).decode([sent[row] for row in rows])
    assert decoded.rows.tolist() == rows[expected.rows].tolist()
    assert rows_of(decoded.batch) == rows_of(expected.batch)
    assert [failure.row for failure in decoded.failures] == [
        rows[failure.row] for failure in expected.failures
    ]


ONE_TEXT = record({"name": "text", "type": "string"})
ONE_LONG = record({"name": "number", "type": "long"})
ONE_INT = record({"name": "number", "type": "int"})


def one(schema: Schema, body: bytes) -> Decoded:
    """Decode one datum by kernels, which has to be what the codec says of it."""
    value: list[bytes | None] = [framed(1, body)]
    decoded = ValueDecoder(schema, lambda _: {1: schema}).decode(BinaryColumn.of(value))
    assert_same(decoded, Codec(schema, lambda _: {1: schema}).decode(value))
    return decoded


@given(st.binary(max_size=8) | st.text(max_size=4).map(str.encode))
@example(b"\xed\xa0\x80")  # half of a surrogate pair
@example(b"\xc0\x80")  # longer than necessary
@example(b"\xe0\x9f\xbf")
@example(b"\xf0\x8f\xbf\xbf")
@example(b"\xf4\x90\x80\x80")  # beyond the last character
@example(b"\xf4\x8f\xbf\xbf")  # the last character
@example(b"\xe2\x82")  # cut
def test_strings_are_accepted_exactly_if_they_are_utf8(content: bytes) -> None:
    try:
        expected = [content.decode()]
    except UnicodeDecodeError:
        expected = []
    body = bytes([2 * len(content)]) + content
    assert one(ONE_TEXT, body).batch.column("text").to_pylist() == expected


@given(st.binary(max_size=12), st.sampled_from([ONE_LONG, ONE_INT]))
@example(b"\x80\x00", ONE_LONG)  # zero, in more bytes than necessary
@example(b"\xff" * 9 + b"\x01", ONE_LONG)  # the least number
@example(b"\xfe" + b"\xff" * 8 + b"\x01", ONE_LONG)  # the greatest
@example(b"\xff" * 9 + b"\x03", ONE_LONG)  # of more than 64 bits
@example(b"\xff\xff\xff\xff\x0f", ONE_INT)
@example(b"\xff\xff\xff\xff\x1f", ONE_INT)  # of more than 32 bits
def test_numbers_are_read_as_the_codec_reads_them(body: bytes, schema: Schema) -> None:
    one(schema, body)


@given(st.integers(-(2**40), 2**40))
def test_a_string_of_any_declared_length_reads_nothing_beyond_its_value(size: int) -> None:
    raw, body = (size << 1) ^ (size >> 63), b""
    while raw >= 128:
        body, raw = body + bytes([raw & 127 | 128]), raw >> 7
    one(ONE_TEXT, body + bytes([raw]) + b"text")


def test_a_value_that_nobody_can_read_costs_the_others_nothing() -> None:
    decoder = ValueDecoder(ONE_LONG, lambda ids: {1: ONE_LONG} if 1 in ids else {})
    good = framed(1, b"\x02")
    assert decoder.decode(BinaryColumn.of([good])).batch.num_rows == 1
    decoded = decoder.decode(BinaryColumn.of([framed(9, b"\x02"), None, b"", b"\0", good, good]))
    assert decoded.rows.tolist() == [4, 5]
    assert [failure.row for failure in decoded.failures] == [0, 1, 2, 3]


def test_a_schema_that_is_registered_later_is_found_then() -> None:
    known: dict[int, Schema] = {}
    decoder = ValueDecoder(ONE_LONG, lambda ids: {n: known[n] for n in ids if n in known})
    value = BinaryColumn.of([framed(1, b"\x02")])
    assert [failure.reason for failure in decoder.decode(value).failures] == ["unknown_schema"]
    known[1] = ONE_LONG
    assert decoder.decode(value).batch.equals(
        pa.RecordBatch.from_pylist([{"number": 1}], schema=ONE_LONG.arrow)
    )
