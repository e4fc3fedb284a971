"""What all breakdowns by a property have in common."""

from collections.abc import Iterable
from typing import Final

# The values that are shown by themselves: those with the most persons. The rest is `other`.
MAX_SHOWN: Final = 25


def add_errors(errors: Iterable[int | None]) -> int | None:
    """Return how many persons a value may lack at most in all partitions; None if none in any."""
    known = [error for error in errors if error is not None]
    return sum(known) if known else None
