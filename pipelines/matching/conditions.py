"""Conditions on the properties of an event, compiled once and evaluated per event.

`services/query/clickhouse/conditions.py` evaluates the same conditions in ClickHouse; a test
compares the two. Both agree on what a property is:

- A property is a member of the outermost object. A dot in its name has no meaning; ClickHouse
  stores it as `%2E`, so a name that is written that way is the same name.
- An object is not a value: a property that holds one is not set. A list is a value: the property is
  set, and equals nothing.
- ClickHouse stores a whole number that does not fit into 64 bits as the text of its digits, so it
  is text here too.
- Properties that are not a JSON object are empty.
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from types import NoneType
from typing import Final, TypeAlias

import msgspec

from pipelines.columnar.dictionary import Value as JsonValue
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

Parsed: TypeAlias = Mapping[str, JsonValue]
Test: TypeAlias = Callable[[Parsed], bool]
Read: TypeAlias = Callable[[Parsed], JsonValue]

_STORED_AS_IS: Final = frozenset({str, float, bool, NoneType, list})

# Decodes whole numbers of any size exactly; other decoders turn large ones into floats.
_decoder: Final = msgspec.json.Decoder(dict[str, JsonValue])


def parse_properties(text: str | bytes) -> dict[str, JsonValue]:
    """Parse the JSON text of an event's properties; empty if it is not an object."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}


def compile_conditions(conditions: Sequence[Condition]) -> Test:
    """Return a test of parsed properties: whether all `conditions` hold of them.

    It is given what `parse_properties` returns, and never raises.
    """
    tests = tuple(_compile(condition) for condition in conditions)
    if not tests:
        return _always
    if len(tests) == 1:
        return tests[0]
    return lambda properties: all(test(properties) for test in tests)


def compile_read(name: str) -> Read:
    """Return a function that reads a property as it is stored; None if it is not set."""
    if is_spelled_variously(name):
        stored = stored_name(name)
        return lambda properties: _read_any_spelling(properties, stored)

    def read(properties: Parsed) -> JsonValue:
        value = properties.get(name)
        return value if type(value) in _STORED_AS_IS else _as_stored(value)

    return read


def compile_member_read(outer: str, name: str) -> Read:
    """Return a function that reads a member of the object `outer` in the same way."""
    read = compile_read(name)

    def read_member(properties: Parsed) -> JsonValue:
        members = properties.get(outer)
        return read(members) if isinstance(members, dict) else None

    return read_member


def _always(_: Parsed) -> bool:
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
_COMPARISONS: Final[dict[str, Callable[[JsonValue, JsonValue], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def _by_type(values: list[Value]) -> dict[type, Collection[Value]]:
    """Group `values` by JSON type, so that 1 and 1.0 are equal, and 1 and true are not."""
    numbers = frozenset(value for value in values if type(value) in _NUMBERS)
    return {
        int: numbers,
        float: numbers,
        bool: frozenset(value for value in values if type(value) is bool),
        str: frozenset(value for value in values if type(value) is str),
    }


def _read_any_spelling(properties: Parsed, stored: str) -> JsonValue:
    for key, value in properties.items():
        if stored_name(key) == stored and (stored_value := _as_stored(value)) is not None:
            return stored_value
    return None


def _as_stored(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return None
    if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
        return str(value)
    return value
