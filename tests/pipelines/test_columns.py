"""Columns grow, and keep what was in them."""

import errno
import mmap
import subprocess
import sys

import numpy as np
import pytest

from pipelines.columnar.growable import grown

WIDE = np.dtype([("number", np.int64), ("flag", np.uint8)], align=True)


@pytest.mark.parametrize(("shape", "of"), [((3,), np.int32), ((3, 4, 5), np.int64), ((3,), WIDE)])
def test_a_grown_column_keeps_its_rows_and_new_rows_are_zero(
    shape: tuple[int, ...], of: np.dtype[np.generic]
) -> None:
    column = np.ones(shape, of)
    while column.nbytes < 40 << 20:
        known = len(column)
        column = grown(column, known + 1)
        assert len(column) >= known * 3 // 2
        assert (column[:known] == np.ones(1, of)).all()
        assert (column[known:] == np.zeros(1, of)).all()
        column[known:] = np.ones(1, of)


def test_a_large_column_grows_in_place() -> None:
    column = grown(np.zeros(1, np.int64), 1 << 20)
    larger = grown(column, 4 << 20)
    assert larger.ctypes.data == column.ctypes.data
    larger[0] = 7
    assert grown(larger, 8 << 20)[0] == 7


def test_a_column_that_is_large_enough_does_not_change() -> None:
    column = np.zeros(10)
    assert grown(column, 10) is column


def test_a_part_of_a_column_grows_apart_from_the_whole() -> None:
    column = grown(np.zeros(1, np.int64), 1 << 20)
    column[:] = 1
    for part in (column[10:], column.view(np.int32), column.reshape(-1, 2)):
        larger = grown(part, len(part) + 1)
        assert larger.ctypes.data != part.ctypes.data
        assert (larger[: len(part)] == part).all()
        assert not larger[len(part) :].any()
    assert (column == 1).all()


def test_a_kernel_without_large_pages_does_without() -> None:
    class Mapping(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.columnar.growable.mmap.mmap", Mapping)
        column = grown(np.ones(1 << 20, np.int64), 2 << 20)
        larger = grown(column, 4 << 20)
    assert larger.ctypes.data == column.ctypes.data
    assert larger[: 1 << 20].all()


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_where_a_limit_counts_addresses_none_are_reserved(limit: str) -> None:
    code = f"""
import resource
resource.setrlimit(resource.{limit}, (8 << 30, 8 << 30))
import numpy as np
from pipelines.columnar.growable import addresses_are_free, grown
assert not addresses_are_free()
assert grown(np.ones(1 << 20, np.int64), 3 << 20)[: 1 << 20].all()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_system_that_reserves_no_memory_allocates_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("pipelines.columnar.growable.mmap.mmap", refuse)
    column = grown(np.ones(1 << 20, np.int64), 3 << 20)
    assert column[: 1 << 20].all()
    assert not column[1 << 20 :].any()
