"""log1p, exp2 and sine from additions and multiplications alone.

Those of libm and NumPy differ from one processor to another in the last bit. These do not: IEEE 754
says what each operation gives, and kernels are compiled without contracting or reordering them.
`frexp` and `ldexp` are exact.
"""

import math
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Int, kernel

# A floating-point scalar inside a kernel; see `Int`.
Float: TypeAlias = Any
Float32s: TypeAlias = NDArray[np.float32]
Float64s: TypeAlias = NDArray[np.float64]

MINUTES: Final = 1_440

_LN_2: Final = 0.6931471805599453
_PARTS: Final = 64  # of the tables
_SMALLEST_EXPONENT: Final = 1_000.0
# `ldexp` of kernels takes no other integer; `Any`, because that of Python takes another.
_int32: Final[Any] = np.int32


def _power(x: float) -> float:
    """Return exp(x) for -1 < x <= 0 by its Taylor series."""
    total = 1.0
    for term in range(24, 0, -1):
        total = 1.0 + total * x / term
    return total


def _logarithm(x: float) -> float:
    """Return ln(x) for 0.5 <= x <= 1 as 2 (s + s³/3 + s⁵/5 + …), where s = (x - 1) / (x + 1)."""
    s = (x - 1.0) / (x + 1.0)
    total = 0.0
    for n in range(24, -1, -1):
        total = total * s * s + 1.0 / (2 * n + 1)
    return 2.0 * s * total


def _sine(x: float) -> float:
    """Return sin(x) for 0 <= x <= π/2 by its Taylor series."""
    total = 1.0
    for n in range(24, 1, -2):
        total = 1.0 - total * x * x / (n * (n + 1))
    return x * total


def _sines() -> Float64s:
    quarter = [_sine(minute * (math.pi / 720)) for minute in range(MINUTES // 4 + 1)]
    half = quarter + quarter[-2::-1]
    return np.array([*half[:-1], *(-value for value in half[:-1])])


# sin(2π n / 1,440), for each minute of a day.
SINES: Final = _sines()
# 2^-(k / 64).
_POWERS: Final = np.array([_power(-_LN_2 * part / _PARTS) for part in range(_PARTS)])
# For m in [0.5 + k / 128, 0.5 + (k + 1) / 128): 1 / the middle, and the logarithm of what that
# number, rounded, is the inverse of.
_INVERSES: Final = np.array([1.0 / (0.5 + (part + 0.5) / (2 * _PARTS)) for part in range(_PARTS)])
_LOGARITHMS: Final = np.array([_logarithm(1.0 / inverse) for inverse in _INVERSES.tolist()])


@kernel
def log1p(x: Float) -> Float:
    """Return ln(1 + x) for x >= 0, within 2^-50; 0 for 0.

    With 1 + x = m · 2^e, and r = m · inverse - 1, the inverse of a table: the sum of e · ln 2,
    ln(1 / inverse) of a table, and the Taylor series of ln(1 + r).
    """
    m, e = math.frexp(1.0 + x)
    part = int((m - 0.5) * (2 * _PARTS))
    r = m * _INVERSES[part] - 1.0
    series = 1.0 / 7.0 - r * (1.0 / 8.0)
    series = 1.0 / 6.0 - r * series
    series = 1.0 / 5.0 - r * series
    series = 1.0 / 4.0 - r * series
    series = 1.0 / 3.0 - r * series
    series = 1.0 / 2.0 - r * series
    series = 1.0 - r * series
    return max(e * _LN_2 + (_LOGARITHMS[part] + r * series), 0.0)


@kernel
def signed_log1p(x: Float) -> Float:
    """Return ln(1 + |x|) with the sign of x."""
    return log1p(x) if x >= 0.0 else -log1p(-x)


@kernel
def half_to(x: Float) -> Float:
    """Return 2^-x for x >= 0, within 2^-50; 0 from x = 1,000 on.

    With x = n + k / 64 + f: 2^-(k / 64) of a table, the Taylor series of exp(-f ln 2), and 2^-n.
    """
    if x >= _SMALLEST_EXPONENT:
        return 0.0
    n = np.int64(x)
    part = np.int64((x - n) * _PARTS)
    power = -(x - n - part / _PARTS) * _LN_2
    series = 1.0 + power * (1.0 / 6.0)
    series = 1.0 + power * (1.0 / 5.0) * series
    series = 1.0 + power * (1.0 / 4.0) * series
    series = 1.0 + power * (1.0 / 3.0) * series
    series = 1.0 + power * (1.0 / 2.0) * series
    series = 1.0 + power * series
    return math.ldexp(_POWERS[part] * series, _int32(-n))


@kernel
def minute_of(at: Int) -> Int:
    """Return the minute of the day (UTC) of a time in ms."""
    return at // 60_000 % MINUTES
