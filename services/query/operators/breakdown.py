"""What answers that are broken down by a property have in common."""

from typing import Final

MAX_SHOWN: Final = 25  # values that are named; the others are shown as one
