"""Rows that are joined into records can be split again; other records are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine.operator import Packed
from pipelines.engine.person_record import Part, join, split

# For each definition's tag: the persons it knows, and their rows.
FUNNEL = st.dictionaries(
    st.integers(0, 2**64 - 1),
    st.dictionaries(st.integers(0, 9), st.binary(max_size=300), max_size=10),
    max_size=5,
)


def part(tag: int, rows: dict[int, bytes]) -> Part:
    ends = np.cumsum([len(row) for row in rows.values()], dtype=np.int64)
    sizes = np.array([len(row) for row in rows.values()], np.int64)
    data = np.frombuffer(b"".join(rows.values()), np.uint8)
    return Part(np.uint64(tag), np.array(list(rows), np.intp), Packed(data, ends - sizes, ends))


def joined(count: int, parts: list[Part]) -> list[bytes]:
    records: list[bytes] = []
    for some, column in join(count, parts):
        assert some == slice(len(records), len(records) + len(column))
        records += column.to_pylist()
    return records


@pytest.mark.parametrize("batch", [1, 20, 40, 10_000])
def test_long_records_are_joined_in_slices(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    parts = [part(7, {0: b"one", 1: b"second", 3: b"x" * 30}), part(8, {1: b"another"})]
    whole = joined(4, parts)
    monkeypatch.setattr("pipelines.engine.person_record._BYTES_BATCH", batch)
    assert joined(4, parts) == whole
    assert [len(column) for _, column in join(4, parts)] == {
        1: [1, 1, 1, 1],
        20: [1, 1, 1, 1],
        40: [1, 2, 1],
        10_000: [4],
    }[batch]


@settings(max_examples=100, deadline=None)
@given(FUNNEL)
def test_joined_rows_are_split_again(funnels: dict[int, dict[int, bytes]]) -> None:
    records = joined(10, [part(tag, rows) for tag, rows in funnels.items()])
    starts = np.cumsum([0, *(len(record) for record in records)], dtype=np.int64)
    data = np.frombuffer(b"".join(records), np.uint8)
    found: dict[int, dict[int, bytes]] = {}
    *columns, malformed = split(data, starts)
    assert not len(malformed)
    for tag, record, begin, end in zip(*columns, strict=True):
        found.setdefault(int(tag), {})[int(record)] = data[begin:end].tobytes()
    assert found == {tag: rows for tag, rows in funnels.items() if rows}


@pytest.mark.parametrize("cut", [1, 11, 13, 20])
def test_a_record_that_is_cut_short_is_named_and_the_others_are_split(cut: int) -> None:
    first, last = joined(2, [part(7, {0: b"row", 1: b"other"}), part(8, {0: b"more"})])
    data = np.frombuffer(first[:cut] + last, np.uint8)
    parts = split(data, np.array([0, cut, len(data)], np.int64))
    assert parts.malformed.tolist() == [0]
    rows = zip(parts.records, parts.begins, parts.ends, strict=True)
    assert [(record, data[begin:end].tobytes()) for record, begin, end in rows] == [(1, b"other")]
