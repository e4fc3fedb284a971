"""What all breakdowns by a property have in common."""

from typing import Final

# The values that are shown by themselves: those with the most persons. The rest is `other`.
MAX_SHOWN: Final = 25
