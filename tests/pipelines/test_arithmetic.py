"""Functions made of additions and multiplications agree with those of libm."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.columnar.arithmetic import MINUTES, SINES, half_to, log1p, minute_of, signed_log1p


@given(st.floats(0, 1e300))
def test_log1p_is_the_logarithm(x: float) -> None:
    assert math.isclose(log1p(x), math.log1p(x), rel_tol=2**-50, abs_tol=2**-50)
    assert signed_log1p(-x) == -log1p(x)
    assert log1p(0.0) == 0


@given(st.floats(0, 999))
def test_half_to_is_the_power_of_two(x: float) -> None:
    assert math.isclose(half_to(x), 2.0**-x, rel_tol=2**-48)


def test_half_to_is_exact_for_whole_numbers_and_ends_at_zero() -> None:
    assert [half_to(float(n)) for n in range(900)] == [2.0**-n for n in range(900)]
    assert half_to(1e9) == 0


def test_sines_are_those_of_the_minutes_of_a_day() -> None:
    np.testing.assert_allclose(SINES, np.sin(2 * np.pi * np.arange(MINUTES) / MINUTES), atol=1e-14)
    assert minute_of(np.int64(86_400_000 + 61_000)) == 1
