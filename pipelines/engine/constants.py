"""Numbers with a meaning of their own, each defined once, and the length of a day."""

from typing import Final

NONE: Final = -1  # no such row, place or duration: all of them count from 0
NEVER: Final = -(2**62)  # earlier than any time (ms)
FOREVER: Final = 2**62  # later than any time (ms)
TOTAL: Final = -(2**31)  # in place of a day or period: all of them together
DAY_MS: Final = 86_400_000
