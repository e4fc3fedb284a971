"""Which values of a property are the same, and in which order equal events come by their values.

Numbers are the same as doubles, text by its first 200 characters; a list, an object and what is not
set are one value.
"""

import struct
from collections.abc import Iterable
from hashlib import md5
from typing import Any

NOT_SET = ""


def name_of(value: Any) -> str:
    """A text that the same values have in common; `NOT_SET` of what is not set."""
    match value:
        case str():
            return f"s{value[:200]}"
        case bool():
            return "t" if value else "f"
        case int() | float():
            return f"n{struct.pack('>d', float(value) + 0.0).hex()}"
    return NOT_SET


def rank(names: Iterable[str]) -> int:
    """Where values come among those of other events that are alike otherwise: lesser ones first."""
    digests = "".join(md5(name.encode()).hexdigest().upper() for name in names)
    return int.from_bytes(md5(digests.encode()).digest()[:8], "little")
