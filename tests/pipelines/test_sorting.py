"""Numbers are sorted, and rows of equal numbers keep their order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.columnar.argsort import order_of


@given(st.lists(st.integers(0, 5) | st.integers(0, 2**31 - 1)))
def test_the_order_is_that_of_a_stable_sort(numbers: list[int]) -> None:
    column = np.array(numbers, np.int32)
    assert order_of(column).tolist() == np.argsort(column, kind="stable").tolist()
