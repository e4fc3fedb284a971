"""Keys get dense slots, and keep them."""

import numpy as np
import pyarrow as pa

from pipelines.columnar.key_index import ABSENT, KeyIndex
from pipelines.columnar.string_column import StringColumn


def texts(*values: str) -> StringColumn:
    return StringColumn.of(pa.array(values, pa.string()))


def test_slots_are_dense_and_stable() -> None:
    index, rows = KeyIndex(), np.arange(3)
    projects = texts("p", "p", "q")
    assert index.intern(projects, texts("a", "b", "a"), rows).tolist() == [0, 1, 2]
    assert index.intern(projects, texts("b", "a", "a"), rows).tolist() == [1, 0, 2]


def test_the_border_between_the_two_strings_counts() -> None:
    index, rows = KeyIndex(), np.arange(2)
    assert index.intern(texts("ab", "a"), texts("c", "bc"), rows).tolist() == [0, 1]


def test_an_unknown_key_is_absent() -> None:
    index = KeyIndex()
    index.intern(texts("p"), texts("a"), np.arange(1))
    assert index.find(texts("p", "p"), texts("x", "a"), np.arange(2)).tolist() == [ABSENT, 0]


def test_many_keys_survive_growth_and_a_dump() -> None:
    names = [f"person {number} é" for number in range(5_000)]
    index = KeyIndex()
    for begin in range(0, 5_000, 700):
        part = names[begin : begin + 700]
        index.intern(texts(*["p"] * len(part)), texts(*part), np.arange(len(part)))
    loaded = KeyIndex.load(index.dump())
    everything = (texts(*["p"] * 5_000), texts(*names), np.arange(5_000))
    assert loaded.find(*everything).tolist() == list(range(5_000))
    assert loaded.second(np.array([4_999, 0, 17], np.int32)).to_pylist() == [
        names[4_999],
        names[0],
        names[17],
    ]


def test_a_slice_of_a_column_is_read_from_where_it_begins() -> None:
    index = KeyIndex()
    column = pa.array(["zero", "one", "two"])[1:]
    slots = index.intern(texts("p", "p"), StringColumn.of(column), np.arange(2))
    assert index.second(slots).to_pylist() == ["one", "two"]
