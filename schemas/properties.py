"""Properties of events: the names they are stored under, and the values they are compared with.

The stream and ClickHouse read them alike.
"""

from typing import Final

from schemas.conditions import Condition
from schemas.time.rfc3339 import read_time

Value = bool | int | float | str

_DOT: Final = "%2E"
MIN_INT: Final = -(2**63)
MAX_INT: Final = 2**64 - 1


def operands(condition: Condition) -> list[Value]:
    """Return the values that the condition compares with, in the types that events are stored in.

    Integers that do not fit into 64 bits become the nearest float, which may be infinite.
    """
    value = condition.value
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [_nearest(item) for item in values]


def moment(condition: Condition) -> int:
    """Return the time that the condition compares with (ms since 1970)."""
    at = read_time(str(condition.value))
    assert at is not None, "definitions are checked when they are decoded"
    return at


def stored_name(name: str) -> str:
    """Return the name that ClickHouse stores a property under."""
    return name.replace(".", _DOT)


def sent_name(name: str) -> str:
    """Return the name of a property, as it is sent, that ClickHouse stores under this one."""
    return name.replace(_DOT, ".")


def is_spelled_variously(name: str) -> bool:
    """Whether members of the JSON object with different names can be this property."""
    return "." in name or _DOT in name


def _nearest(value: Value) -> Value:
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value
