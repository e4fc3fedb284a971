"""One reading of JSON: what is stored is read alike by everybody, and the fast path agrees."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.json_text import canonicalize, is_empty_object
from services.ingest.json_text import DECODE_ERRORS, is_canonical_object, split_array, split_object
from tests.services.ingest.conftest import UNHURRIED, Ingest
from tests.services.ingest.test_native import event

MIN_INT, MAX_INT = -(1 << 63), (1 << 64) - 1
MAX_DEPTH = 32

NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(-(10**25), 10**25).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.builds("{}e{}".format, st.integers(-(10**6), 10**6), st.integers(-420, 420)),
    st.builds("{}.0".format, st.integers(-(10**20), 10**20)),
    st.sampled_from(["1e17", "100000000000000000.0", "18446744073709551616", "1e400", "-1E400"]),
)
STRINGS = st.one_of(
    st.text(max_size=5).map(json.dumps),
    st.text("aé🎁", max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from([r'"a"', r'"\u0061"', r'"\ud83c\udf81"', '"1e5"', r'"\\"', r'"\"1e5"']),
)
KEYS = st.sampled_from(['"a"', '"b"', r'"\u0061"', '"ab"', '"é"']) | STRINGS


def objects_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Objects as text, with keys that may be there more than once."""
    members = st.lists(st.tuples(KEYS, values), max_size=4)
    return members.map(lambda given: "{" + ",".join(f"{key}:{value}" for key, value in given) + "}")


VALUES = st.recursive(
    st.sampled_from(["null", "true", "false"]) | NUMBERS | STRINGS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]") | objects_of(inner)
    ),
    max_leaves=8,
)


OBJECTS = objects_of(VALUES)
# What writers produce that is not JSON.
BROKEN = st.sampled_from(["NaN", "-Infinity", r'"\ud83c"', r'"\udf81 x"', '"a\nb"'])
NEARLY = objects_of(
    VALUES | BROKEN | st.lists(BROKEN, max_size=2).map(lambda it: f"[{','.join(it)}]")
)


def read(text: bytes | str) -> Any:
    """Read as JavaScript does: the last of equal keys wins, numbers are doubles."""
    return json.loads(text, parse_int=float, parse_float=float)


def numbers_in(text: bytes) -> list[str]:
    found: list[str] = []

    def keep(number: str) -> float:
        found.append(number)
        return float(number)

    json.loads(text, parse_int=keep, parse_float=keep)
    return found


def is_valid(text: bytes) -> bool:
    try:
        msgspec.json.Decoder(msgspec.Raw).decode(text)
    except DECODE_ERRORS:
        return False
    return True


def has_duplicates(text: bytes) -> bool:
    found: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return any(found)


@UNHURRIED
@given(OBJECTS)
@example('{"a":1,"a":2}')
@example('{"a":{"b":1,"b":2},"b":3}')
def test_the_canonical_form_says_the_same_and_has_each_key_once(text: str) -> None:
    canonical = canonicalize(text.encode())

    assert not has_duplicates(canonical.text)
    if "left out" not in canonical.remarks:
        assert read(canonical.text) == read(text)
    for number in numbers_in(canonical.text):
        value = float(number)
        assert math.isfinite(value)
        if value.is_integer() and MIN_INT <= value <= MAX_INT:
            assert number.lstrip("-").isdecimal()
        else:
            assert "e" in number or "." in number
    assert canonicalize(canonical.text).text == canonical.text


@UNHURRIED
@given(OBJECTS)
@example('{"a":1,"b":{"a":1}}')
@example(r'{"a":1,"\u0061":2}')
@example('{"a":[{"b":1},{"b":1}]}')
def test_what_the_fast_path_takes_for_canonical_is_read_alike_by_all(text: str) -> None:
    if is_canonical_object(text.encode(), MAX_DEPTH):
        canonical = canonicalize(text.encode())
        assert not canonical.remarks
        assert not has_duplicates(text.encode())
        assert json.loads(canonical.text) == json.loads(text)
        assert not any(set("eE") & set(number) for number in numbers_in(text.encode()))


@UNHURRIED
@given(OBJECTS)
def test_the_canonical_form_stays_on_the_fast_path(text: str) -> None:
    canonical = canonicalize(text.encode()).text
    numbers = numbers_in(canonical)

    if not any("e" in number or len(number) > 15 for number in numbers) and b"\\" not in canonical:
        assert is_canonical_object(canonical, MAX_DEPTH)


@pytest.mark.parametrize(
    ("text", "canonical", "word"),
    [
        (b'{"plan":"free","plan":"pro"}', b'{"plan":"pro"}', "plan: is there more than once"),
        (b'{"a":{"b":1,"b":2}}', b'{"a":{"b":2}}', "more than once"),
        (rb'{"plan":1,"pl\u0061n":2}', b'{"plan":2}', "more than once"),
        (b'{"a":50000000000000000000}', b'{"a":5e+19}', ""),
        (b'{"a":18446744073709551615}', b'{"a":18446744073709551615}', ""),
        (b'{"a":18446744073709551616}', b'{"a":1.8446744073709552e+19}', ""),
        (b'{"a":-9223372036854775809}', b'{"a":-9223372036854775808}', ""),
        (b'{"a":1e17}', b'{"a":100000000000000000}', ""),
        (b'{"a":-0,"b":-0.0,"c":-0.00,"d":[-0]}', b'{"a":0,"b":0,"c":0,"d":[0]}', ""),
        (b'{"a":100000000000000000}', b'{"a":100000000000000000}', ""),
        (b'{"a":1e400,"b":1}', b'{"b":1}', "a: 1e400 is beyond a double"),
        (b'{"a":[1,-1e400]}', b'{"a":[1,null]}', "a: -1e400"),
        (b'{"a":' + b"9" * 5_000 + b"}", b"{}", "is beyond a double"),
        (b'{"a":NaN,"b":{"c":[Infinity]}}', b'{"b":{"c":[null]}}', "a: NaN is not a number"),
        (rb'{"a":"cut \ud83d"}', '{"a":"cut \ufffd"}'.encode(), "surrogate"),
        (rb'{"a\ud83d":1,"a\ud83e":2}', '{"a\ufffd":2}'.encode(), "more than once"),
        (rb'{"a":"\ud83c\udf81"}', '{"a":"🎁"}'.encode(), ""),
        (b'{"a":"\xed\xa0\xbc\xed\xbe\x81"}', '{"a":"🎁"}'.encode(), ""),
        (b"\xef\xbb\xbf{}", b"{}", ""),
    ],
)
def test_examples_of_the_canonical_form(text: bytes, canonical: bytes, word: str) -> None:
    found = canonicalize(text)

    assert found.text == canonical
    assert word in found.remarks
    assert bool(word) == bool(found.remarks)
    if word and is_valid(text):
        assert not is_canonical_object(text, MAX_DEPTH)


@pytest.mark.parametrize("text", [b"", b"{", b'{"a":1,}', b'{"a":01}', b'{"a":"\xff"}', b"{'a':1}"])
def test_what_is_not_nearly_json_has_no_canonical_form(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonicalize(text)


def test_remarks_are_few_and_short() -> None:
    text = "{" + ",".join(f'"{n}{"x" * 1_000}":NaN' for n in range(100)) + "}"

    remarks = canonicalize(text.encode()).remarks

    assert remarks.endswith("; and 95 more")
    assert len(remarks) < 1_000


@UNHURRIED
@given(st.lists(NEARLY | VALUES | st.just("NaN"), max_size=5), st.text(" \n\t", max_size=2))
def test_an_array_is_split_where_its_items_are(items: list[str], space: str) -> None:
    text = f"{space}[{space}{f'{space},{space}'.join(items)}{space}]{space}"

    assert split_array(text.encode(), 10) == [item.encode() for item in items]


@UNHURRIED
@given(st.binary(max_size=60) | VALUES.map(str.encode))
def test_any_bytes_are_split_as_a_reader_of_json_does_or_not_at_all(data: bytes) -> None:
    split = split_array(data, 100)
    members = split_object(data)
    try:
        items = msgspec.json.Decoder(list[msgspec.Raw]).decode(data)
    except DECODE_ERRORS:
        pass
    else:
        assert split == [bytes(item) for item in items]
    try:
        fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode(data)
    except DECODE_ERRORS:
        pass
    else:
        assert members == {name: bytes(value) for name, value in fields.items()}


@pytest.mark.parametrize(
    "text", [b"[1", b"[1,]", b"[,1]", b"[1}]", b"[1]]", b"[1] x", b'["a]', b""]
)
def test_an_array_that_is_not_closed_is_not_split(text: bytes) -> None:
    assert split_array(text, 10) is None


def test_no_more_items_are_found_than_may_be() -> None:
    items = split_array(b"[" + b",".join([b"1"] * 1_000) + b"]", 10)

    assert items is not None
    assert len(items) == 11


@pytest.mark.parametrize("text", [b"{}", b"{ }", b"[]", b"[\n]", b"null"])
def test_an_empty_object_has_several_spellings(text: bytes) -> None:
    assert is_empty_object(text)


@pytest.mark.parametrize("text", [b'{"a":1}', b"[0]", b'""', b"0", b""])
def test_other_values_are_no_empty_objects(text: bytes) -> None:
    assert not is_empty_object(text)


def test_what_is_taken_is_stored_in_canonical_form_however_many_come_together(
    ingest: Ingest,
) -> None:
    texts = {
        '{"plan":"free","plan":"pro"}': ('{"plan":"pro"}', "warning"),
        '{"a":50000000000000000000}': ('{"a":5e+19}', "ok"),
        '{"a":1e17}': ('{"a":100000000000000000}', "ok"),
        '{"a":-0.0,"b":-0.5,"c":-0}': ('{"a":0,"b":-0.5,"c":0}', "ok"),
        '{"a":1e400,"b":1}': ('{"b":1}', "warning"),
        '{"a":1}': ('{"a":1}', "ok"),
    }
    for count in (1, 40):
        for field in ("properties", "context"):
            bodies = [
                json.dumps(event(**{field: "?"})).replace('"?"', text)
                for text in texts
                for _ in range(count)
            ]
            results = ingest.results(
                content=f"[{','.join(bodies)}]", headers={"Content-Type": "application/json"}
            )
            stored = {one["event_id"]: one for one in ingest.inbox()}
            expected = [kept for kept in texts.values() for _ in range(count)]
            for result, (text, verdict) in zip(results, expected, strict=True):
                assert stored[result["event_id"]][field] == text
                assert result["result"] == verdict
                assert verdict == "ok" or result["details"].startswith(f"{field}: ")
