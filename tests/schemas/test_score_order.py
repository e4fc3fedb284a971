"""Scores as whole numbers keep their order, and whatever is no score is below all of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.score_order import LOWEST, NO_SCORE, ordered, ordered_all

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers)
def test_numbers_are_in_the_order_of_scores(one: float, other: float) -> None:
    assert (ordered(one) < ordered(other)) == (one < other)
    assert (ordered(one) == ordered(other)) == (one == other)
    assert NO_SCORE < LOWEST < ordered(one)


@given(st.lists(st.floats()))
def test_a_column_has_the_number_of_each_score(scores: list[float]) -> None:
    found = ordered_all(np.array(scores, np.float64)).tolist()
    assert found == [ordered(one) if np.isfinite(one) else NO_SCORE for one in scores]
