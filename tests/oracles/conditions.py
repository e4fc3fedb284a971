"""Conditions on properties by their definition (`docs` of `Condition`), read from JSON."""

import datetime
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

NEGATIONS = {
    "not_equals": "equals",
    "not_in": "in",
    "not_contains": "contains",
    "not_starts_with": "starts_with",
    "not_ends_with": "ends_with",
    "not_matches": "matches",
    "is_not_set": "is_set",
}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "before": operator.lt,
    "after": operator.gt,
}
TEXTS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda text, part: part in text,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
    "matches": lambda text, pattern: re.search(pattern, text, re.DOTALL) is not None,
}


def holds(conditions: Sequence[Mapping[str, Any]], properties: Mapping[str, Any]) -> bool:
    """Whether all conditions hold of an event's properties."""
    return all(_holds(condition, properties) for condition in conditions)


def value_of(properties: Mapping[str, Any], name: str) -> Any:
    """The value of a property, None if it is not set.

    A dot and `%2E` spell the same name. An object is no value. A whole number beyond 64 bits is
    kept as the text of its digits.
    """
    for spelled, value in properties.items():
        if _spelling(spelled) == _spelling(name) and not isinstance(value, dict | None):
            whole = isinstance(value, int) and not isinstance(value, bool)
            return str(value) if whole and not -(2**63) <= value < 2**64 else value
    return None


def instant(text: str) -> int | None:
    """The milliseconds since 1970 of a date or a time with a zone; None of any other text."""
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        text += "T00:00:00Z"
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text):
        return None
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // _MILLISECOND


_MILLISECOND = datetime.timedelta(milliseconds=1)


def _holds(condition: Mapping[str, Any], properties: Mapping[str, Any]) -> bool:
    match condition:
        case {"and": inner}:
            return holds(inner, properties)
        case {"or": inner}:
            return any(_holds(one, properties) for one in inner)
        case {"not": inner}:
            return not _holds(inner, properties)
    op, asked = condition.get("op", "equals"), condition.get("value")
    value = value_of(properties, condition["property"])
    if op in NEGATIONS:
        return not _compare(NEGATIONS[op], value, asked)
    return _compare(op, value, asked)


def _compare(op: str, value: Any, asked: Any) -> bool:
    match op:
        case "is_set":
            return value is not None
        case "equals":
            return _equal(value, asked)
        case "in":
            return any(_equal(value, one) for one in asked)
        case "gt" | "gte" | "lt" | "lte":
            return _type_of(value) == "number" and COMPARISONS[op](value, _number(asked))
        case "before" | "after":
            at = instant(value) if isinstance(value, str) else None
            return at is not None and COMPARISONS[op](at, instant(asked))
    return isinstance(value, str) and TEXTS[op](value, asked)


def _equal(value: Any, asked: Any) -> bool:
    kind = _type_of(value)
    if kind != _type_of(asked) or kind == "other":
        return False
    return bool(value == (_number(asked) if kind == "number" else asked))


def _number(asked: float) -> float:
    """A whole number beyond 64 bits is compared as the nearest float."""
    return asked if -(2**63) <= asked < 2**64 or isinstance(asked, float) else float(asked)


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return "truth"
        case int() | float():
            return "number"
        case str():
            return "text"
    return "other"


def _spelling(name: str) -> str:
    return name.replace(".", "%2E")
