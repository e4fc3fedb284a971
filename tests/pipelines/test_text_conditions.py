"""Regular expressions and times mean the same on the stream and in ClickHouse."""

import json
from datetime import timedelta, timezone
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas.conditions import Condition, Op
from schemas.patterns import compile_pattern
from schemas.time.rfc3339 import read_time
from tests.twins import in_clickhouse, on_the_stream
from tests.warehouse import Warehouse

# With letters that fold to others, that are newlines to some, and that are several bytes long.
LETTERS = "abAB1_ .-]}\\\n\r\0\t\u0085\u2028éÉs\u017fkK\u212aİ\u0131ßẞ\u03b1\u0391٣😀\U00011f02"
ATOMS = [
    *("a", "b", "é", "s", "K", "\n", "\0", " ", "]", "}", "-", "😀", "/", "\u017f"),
    *(".", r"\.", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\b", r"\B", "^", "$", r"\A", r"\z"),
    *("[a-c]", "[^a]", "[]a]", "[^]a]", "[[:alpha:]]", "[[:^word:]]", r"[\d_-]", r"[^\x00-\x7f]"),
    *(r"\pL", r"\p{Greek}", r"\P{Lu}", r"\p{^Lu}", r"\C", r"\x41", r"\x{1F600}", r"\101", r"\n"),
    *(r"\Qa.b\E", r"\Qa|(", "(?i)", "(?-s)", "(?m)", "(?U)", "(?i-s:a.B)", "(?P<n>a)", "()"),
]
REPEATS = ["*", "+", "?", "*?", "+?", "??", "{2}", "{0}", "{1,3}", "{2,}", "{,2}", "{0,2}?"]


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map("|".join),
        inner.map(lambda part: f"({part})"),
        st.tuples(inner, st.sampled_from(REPEATS)).map(lambda part: f"(?:{part[0]}){part[1]}"),
        st.tuples(inner, st.sampled_from(REPEATS)).map("".join),
    )


def is_pattern(text: str) -> bool:
    try:
        compile_pattern(text)
    except ValueError:
        return False
    return True


patterns = st.recursive(st.sampled_from(ATOMS), compound, max_leaves=8).filter(is_pattern)
texts = st.text(st.sampled_from(LETTERS), max_size=6) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=3
)


def differences(warehouse: Warehouse, values: list[Any], asked: list[Condition]) -> list[Any]:
    """The values and conditions that the two do not agree on."""
    documents = [json.dumps({"a": value}) for value in values]
    rows = zip(
        values,
        on_the_stream(documents, asked),
        in_clickhouse(warehouse, documents, asked),
        strict=True,
    )
    return [
        (value, condition.op, condition.value, here)
        for value, stream, store in rows
        for condition, here, there in zip(asked, stream, store, strict=True)
        if here != there
    ]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(texts, min_size=1, max_size=20),
    st.lists(patterns, min_size=1, max_size=20),
)
@example(
    [*LETTERS, "", "a\nb", "a.b", "aXb", "abc", "\u017fK", "a\0b"],
    [p for p in ATOMS if is_pattern(p)],
)
@example(["Abcd", "zabcd", "abcd", "bcd"], [r"\x41bcd", r"\pLabcd", "[]z]abcd", "(?P<n>abc)d", ""])
@example(["a" * 300, "é" * 300], ["(?:.{10}){30}$", "^(a|é)+$", "(?i)(?:É?){200}É{100}"])
def test_a_pattern_matches_the_same_texts(
    warehouse: Warehouse, values: list[str], expressions: list[str]
) -> None:
    ops: tuple[Op, ...] = ("matches", "not_matches")
    asked = [Condition("a", op, text) for text in expressions for op in ops]
    assert differences(warehouse, values, asked) == []


ZONES = [
    *("Z", "Z", "Z", "Z", "+01:00", "-01:00", "+05:30", "-00:00", "+23:59", "-23:59"),
    *("", "z", " Z", "Z ", "Z\n", "+24:00", "+01:60", "+0100", "+01", "UTC"),
]


@st.composite
def times(draw: st.DrawFn) -> str:
    """A time, for the most part: a number out of its range, or a letter too many, makes it none."""
    year = draw(st.sampled_from([0, 1, 999, 1582, 1900, 1969, 1970, 2000, 2026, 2028, 2300, 9999]))
    month, day = draw(st.integers(0, 13)), draw(st.sampled_from([0, 1, 2, 15, 28, 29, 30, 31, 32]))
    date = f"{year:04}-{month:02}-{day:02}"
    if draw(st.booleans()):
        return date
    hour = draw(st.sampled_from([0, 1, 12, 23, 24]))
    minute, second = (draw(st.sampled_from([0, 1, 30, 59, 60])) for _ in range(2))
    fraction = draw(st.sampled_from(["", "", ".", ".0", ".5", ".999", ".0009", "." + "9" * 30]))
    zone = draw(st.sampled_from(ZONES))
    letter = draw(st.sampled_from([*"TTTTTTTT", "t", " "]))
    return f"{date}{letter}{hour:02}:{minute:02}:{second:02}{fraction}{zone}"


offsets = st.integers(-1_439, 1_439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=offsets).map(lambda at: at.isoformat())


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(times() | moments | texts, min_size=1, max_size=30),
    st.lists(
        (moments | times()).filter(lambda text: read_time(text) is not None), min_size=1, max_size=3
    ),
)
@example(
    [
        *("2026-12-31T23:59:60Z", "2026-12-31T23:59:59.999Z", "2027-01-01", "2027-01-01T00:00:00Z"),
        *(
            "2027-01-01T01:00:00+01:00",
            "2026-12-31T23:00:00.001-01:00",
            "2026-12-31T23:59:59.9999Z",
        ),
        *("2027-02-29", "2028-02-29", "1900-02-29", "0000-12-31", "0001-01-01", "٢٠٢٧-01-01"),
        *("2027-01-01T00:00:00", "2027-01-01t00:00:00z", "2027-01-01T00:00Z", "20270101", "2027"),
    ],
    ["2027-01-01", "0001-01-01", "2026-12-31T23:59:59.999Z"],
)
@example(
    ["9999-12-31T23:59:59.999-23:59", "0001-01-01T00:00:00+23:59"], ["9999-12-31", "0001-01-01"]
)
def test_a_time_is_before_and_after_the_same_times(
    warehouse: Warehouse, values: list[str], bounds: list[str]
) -> None:
    ops: tuple[Op, ...] = ("before", "after")
    asked = [Condition("a", op, bound) for bound in bounds for op in ops]
    assert differences(warehouse, values, asked) == []


def test_what_is_not_text_matches_nothing_and_is_no_time(warehouse: Warehouse) -> None:
    values = [20, 2.5, True, None, [], ["2026-11-22"], {"b": "2026-11-22"}, 2**64, -(2**70)]
    asked = [
        *(Condition("a", "matches", ""), Condition("a", "not_matches", "")),
        *(Condition("a", "before", "9999-12-31"), Condition("a", "after", "0001-01-01")),
    ]
    assert differences(warehouse, values, asked) == []
