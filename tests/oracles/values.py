"""Which values of a property are the same, and in which order equal events come by their values.

Numbers are the same as doubles, text by its first 200 characters; a list, an object and what is not
set are one value. Where values are compared as a whole, numbers are the same if they are equal,
text and lists if they are the same to their end.
"""

import json
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


def whole_name_of(value: Any) -> str:
    """The same of a value that is compared as a whole."""
    match value:
        case str():
            return f"s{value}"
        case int() if not isinstance(value, bool) and int(float(value)) != value:
            return f"i{value}"
        case list():
            return f"a{json.dumps([whole_name_of(one) for one in value])}"
    return name_of(value)


def rank(names: Iterable[str]) -> int:
    """Where values come among those of other events that are alike otherwise: lesser ones first."""
    digests = "".join(md5(name.encode()).hexdigest().upper() for name in names)
    return int.from_bytes(md5(digests.encode()).digest()[:8], "little")
