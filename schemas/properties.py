"""Properties of events: the names they are kept under, and the values they are compared with.

The stream and ClickHouse both read them so.
"""

from typing import Final

from schemas.conditions import Condition
from schemas.time.rfc3339 import read_time

Value = bool | int | float | str

_DOT: Final = "%2E"
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**64 - 1


def operands(condition: Condition) -> list[Value]:
    """Return what the condition compares with, in the types that events are kept in.

    Numbers beyond 64 bits become the nearest float, infinite if need be.
    """
    value = condition.value
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [_nearest(item) for item in values]


def moment(condition: Condition) -> int:
    """Return the time that the condition compares with, in milliseconds since 1970."""
    at = read_time(str(condition.value))
    assert at is not None, "a definition with another text is refused"
    return at


def stored_name(name: str) -> str:
    """Return the name that ClickHouse keeps a property under."""
    return name.replace(".", _DOT)


def is_spelled_variously(name: str) -> bool:
    """Whether members of several names are the property of this name."""
    return "." in name or _DOT in name


def _nearest(value: Value) -> Value:
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value
