"""A person's record gives back the rows that were joined into it, and nothing else does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.operators import Packed
from pipelines.person_records import Part, join, split

# For each definition's tag: the persons it knows, and their rows.
FUNNELS = st.dictionaries(
    st.integers(0, 2**64 - 1),
    st.dictionaries(st.integers(0, 9), st.binary(max_size=300), max_size=10),
    max_size=5,
)


def part(tag: int, rows: dict[int, bytes]) -> Part:
    ends = np.cumsum([len(row) for row in rows.values()], dtype=np.int64)
    sizes = np.array([len(row) for row in rows.values()], np.int64)
    data = np.frombuffer(b"".join(rows.values()), np.uint8)
    return Part(np.uint64(tag), np.array(list(rows), np.intp), Packed(data, ends - sizes, ends))


@settings(max_examples=100, deadline=None)
@given(FUNNELS)
def test_what_was_joined_is_split(funnels: dict[int, dict[int, bytes]]) -> None:
    records = join(10, [part(tag, rows) for tag, rows in funnels.items()]).to_pylist()
    starts = np.cumsum([0, *(len(record) for record in records)], dtype=np.int64)
    data = np.frombuffer(b"".join(records), np.uint8)
    found: dict[int, dict[int, bytes]] = {}
    for tag, record, begin, end in zip(*split(data, starts), strict=True):
        found.setdefault(int(tag), {})[int(record)] = data[begin:end].tobytes()
    assert found == {tag: rows for tag, rows in funnels.items() if rows}


@pytest.mark.parametrize("cut", [1, 11, 13])
def test_a_record_that_is_cut_short_is_refused(cut: int) -> None:
    (record,) = join(1, [part(7, {0: b"row"})]).to_pylist()
    torn = np.frombuffer(record[:cut], np.uint8)
    with pytest.raises(ValueError, match="not a person's rows"):
        split(torn, np.array([0, len(torn)], np.int64))
