"""Conditions on the properties of an event, compiled once and asked per event.

What a property is, here and in ClickHouse alike (`services/query/clickhouse/conditions.py` is the
twin of this file, and a test holds the two together):

- A property is a member of the outermost object. A dot in its name is a dot and leads nowhere;
  ClickHouse keeps it as `%2E`, so a name spelled that way is the same name.
- An object is not a value: a property that is one is not set. A list is a value that is set and
  equals nothing.
- A whole number that does not fit into 64 bits is kept by ClickHouse as text of its digits, so it
  is text here too.
- Properties that are not an object, or not JSON, are none.
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from types import NoneType
from typing import Any, Final

import msgspec

from schemas.conditions import Condition
from schemas.patterns import compile_pattern
from schemas.properties import (
    MAX_INT,
    MIN_INT,
    Value,
    is_spelled_variously,
    moment,
    operands,
    stored_name,
)
from schemas.time.rfc3339 import read_time

Test = Callable[[Mapping[str, Any]], bool]
Read = Callable[[Mapping[str, Any]], Any]

_KEPT_AS_IT_IS: Final = frozenset({str, float, bool, NoneType, list})

# Reads whole numbers of any size exactly; other readers turn the large ones into floats.
_decoder: Final = msgspec.json.Decoder(dict[str, Any])


def parse_properties(text: str | bytes) -> dict[str, Any]:
    """Read the JSON text of an event's properties; empty if there is no object in it."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}


def compile_conditions(conditions: Sequence[Condition]) -> Test:
    """Return a test of parsed properties that holds if all `conditions` do (none: always).

    The properties are those of `parse_properties`, or equal to them. Never raises on any of them.
    """
    tests = tuple(_compile(condition) for condition in conditions)
    if not tests:
        return _always
    if len(tests) == 1:
        return tests[0]
    return lambda properties: all(test(properties) for test in tests)


def compile_read(name: str) -> Read:
    """Return what reads a property, as it is kept, off parsed properties; None if it is not set."""
    if is_spelled_variously(name):
        stored = stored_name(name)
        return lambda properties: _read_spellings(properties, stored)

    def read(properties: Mapping[str, Any]) -> Any:
        value = properties.get(name)
        return value if type(value) in _KEPT_AS_IT_IS else _as_kept(value)

    return read


def compile_member_read(outer: str, name: str) -> Read:
    """Return what reads a property in the same way off the object that is one called `outer`."""
    read = compile_read(name)

    def read_member(properties: Mapping[str, Any]) -> Any:
        members = properties.get(outer)
        return read(members) if isinstance(members, dict) else None

    return read_member


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _compile(condition: Condition) -> Test:
    if condition.and_:
        return compile_conditions(condition.and_)
    if condition.or_:
        tests = tuple(_compile(inner) for inner in condition.or_)
        return lambda properties: any(test(properties) for test in tests)
    if (inner := condition.negated()) is not None:
        test = _compile(inner)
        return lambda properties: not test(properties)
    return _compile_comparison(condition)


def _compile_comparison(condition: Condition) -> Test:
    values, read = operands(condition), compile_read(condition.property)
    match condition.op:
        case "is_set":
            return lambda properties: read(properties) is not None
        case "equals" | "in":
            accepted = _by_type(values)
            return lambda properties: (value := read(properties)) in accepted.get(type(value), ())
        case "gt" | "gte" | "lt" | "lte":
            bound, compare = values[0], _COMPARISONS[condition.op]
            return lambda properties: (
                type(value := read(properties)) in _NUMBERS and compare(value, bound)
            )
    holds = _compile_text(condition)
    return lambda properties: isinstance(value := read(properties), str) and holds(value)


def _compile_text(condition: Condition) -> Callable[[str], bool]:
    part = str(condition.value)
    match condition.op:
        case "contains":
            return lambda text: part in text
        case "starts_with":
            return lambda text: text.startswith(part)
        case "ends_with":
            return lambda text: text.endswith(part)
        case "matches":
            return compile_pattern(part)
        case "before":
            end = moment(condition)
            return lambda text: (at := read_time(text)) is not None and at < end
        case "after":
            start = moment(condition)
            return lambda text: (at := read_time(text)) is not None and at > start
    raise AssertionError(f"{condition.op} is a negation")


_NUMBERS: Final = (int, float)
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _by_type(values: list[Value]) -> dict[type, Collection[Value]]:
    """Sort `values` by JSON type, so that 1 and 1.0 are equal, and 1 and true are not."""
    numbers = frozenset(value for value in values if type(value) in _NUMBERS)
    return {
        int: numbers,
        float: numbers,
        bool: frozenset(value for value in values if type(value) is bool),
        str: frozenset(value for value in values if type(value) is str),
    }


def _read_spellings(properties: Mapping[str, Any], stored: str) -> Any:
    for key, value in properties.items():
        if stored_name(key) == stored and (kept := _as_kept(value)) is not None:
            return kept
    return None


def _as_kept(value: Any) -> Any:
    if isinstance(value, dict):
        return None
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        return str(value)
    return value
