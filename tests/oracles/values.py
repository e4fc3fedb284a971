"""Which values of a property are the same, and in which order equal events come by their values.

Numbers are the same if they are equal, text if it is the same to its end; a list, an object and
what is not set are one value. In figures by value, a text of more than 200 characters goes by its
first 200 and a digest. Where values are held constant, text is not cut, and lists are values, too.
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
            digest = md5(value.encode()).hexdigest()[:16]
            return f"s{value}" if len(value) <= 200 else f"s{value[:200]}…{digest}"
        case bool():
            return "t" if value else "f"
        case int() if -(2**63) <= value < 2**64 and int(float(value)) != value:
            return f"i{value}"
        case int() | float():
            return f"n{struct.pack('>d', float(value) + 0.0).hex()}"
    return NOT_SET


def name_of_shown(value: str) -> str:
    """The name of a value as it is shown, in JSON."""
    shown = json.loads(value)
    return f"s{shown}" if isinstance(shown, str) else name_of(shown)


def whole_name_of(value: Any) -> str:
    """The same of a value that is held constant."""
    match value:
        case str():
            return f"s{value}"
        case list():
            return f"a{json.dumps([whole_name_of(one) for one in value])}"
    return name_of(value)


def rank(names: Iterable[str]) -> int:
    """Where values come among those of other events that are alike otherwise: lesser ones first."""
    digests = "".join(md5(name.encode()).hexdigest().upper() for name in names)
    return int.from_bytes(md5(digests.encode()).digest()[:8], "little")
