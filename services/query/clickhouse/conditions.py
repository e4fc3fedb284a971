"""Conditions on the properties of an event, as ClickHouse expressions.

Equal to `pipelines.matching.conditions`, which defines what a property is; a test compares the two.
Names of properties and values are bound parameters of the statement, never its text.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from schemas.conditions import Condition
from schemas.patterns import with_flags
from schemas.properties import Value, moment, operands, stored_name
from schemas.time.rfc3339 import DAY_MS, GRAMMAR, WEIGHTS


class Binder:
    """Makes placeholders: a call with a value and its type returns the placeholder's text.

    `parameters` has the values by the placeholders' names.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, object] = {}

    def __call__(self, value: object, kind: str) -> str:
        """Return a placeholder for `value`."""
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return f"{{{name}:{kind}}}"


class Identifier:
    """A name to bind unchanged: clickhouse-connect would escape a string as a value."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return self._name


def property_sql(name: str, bind: Binder, within: str = "") -> str:
    """Return an expression for a property's value, null if it is not set.

    The property is one of the event's, or of its property `within`, which is an object.
    """
    path = f"{stored_name(within)}.{stored_name(name)}" if within else stored_name(name)
    return f"properties.{bind(Identifier(path), 'Identifier')}"


def condition_sql(condition: Condition, bind: Binder, within: str = "") -> str:
    """Return an expression that is 1 where the condition holds, and else 0.

    The condition is on a property as in `property_sql`.
    """
    if condition.and_:
        return f"({' AND '.join(condition_sql(inner, bind, within) for inner in condition.and_)})"
    if condition.or_:
        return f"({' OR '.join(condition_sql(inner, bind, within) for inner in condition.or_)})"
    if (inner := condition.negated()) is not None:
        return f"(NOT {condition_sql(inner, bind, within)})"
    return _comparison(condition, property_sql(condition.property, bind, within), bind)


def _comparison(condition: Condition, value: str, bind: Binder) -> str:
    match condition.op:
        case "is_set":
            return f"({value} IS NOT NULL)"
        case "equals" | "in":
            return _equals_any(value, operands(condition), bind)
        case "gt" | "gte" | "lt" | "lte":
            return _compares(value, _SIGNS[condition.op], operands(condition)[0], bind)
    return f"ifNull({_text_test(f'{value}.:String', condition, bind)}, 0)"


def _text_test(text: str, condition: Condition, bind: Binder) -> str:
    match condition.op:
        case "contains":
            return f"position({text}, {bind(condition.value, 'String')}) > 0"
        case "starts_with":
            return f"startsWith({text}, {bind(condition.value, 'String')})"
        case "ends_with":
            return f"endsWith({text}, {bind(condition.value, 'String')})"
        case "matches":
            return f"match({text}, {bind(with_flags(str(condition.value)), 'String')})"
        case "before":
            return f"{_time(text, bind)} < {bind(moment(condition), 'Int64')}"
        case "after":
            return f"{_time(text, bind)} > {bind(moment(condition), 'Int64')}"
    raise AssertionError(f"{condition.op} is a negation")


def _time(text: str, bind: Binder) -> str:
    """Return the time in a text as `rfc3339` reads it: ms since 1970, null if it is no time."""
    groups = f"extractGroups(ifNull({text}, ''), {bind(f'^{GRAMMAR}$', 'String')})"
    days = f"(toModifiedJulianDayOrNull({groups}[1]) - {_DAY_1970})"
    numbers = f"arrayResize(arrayPopFront({groups}), {len(WEIGHTS)})"
    later = f"arraySum((n, weight) -> toInt64OrZero(n) * weight, {numbers}, {list(WEIGHTS)})"
    return f"{days} * {DAY_MS} + {later}"


_DAY_1970: Final = 40_587
_SIGNS: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _equals_any(value: str, values: Sequence[Value], bind: Binder) -> str:
    """Compare values of equal types: a number is converted to each type that can hold it."""
    by_type: defaultdict[str, list[Value]] = defaultdict(list)
    for item in values:
        for kind, like in _likenesses(item):
            by_type[kind].append(like)
    tests = [
        f"has({bind(likes, f'Array({kind})')}, {value}.:{kind})" for kind, likes in by_type.items()
    ]
    return f"ifNull({' OR '.join(tests)}, 0)"


def _likenesses(item: Value) -> list[tuple[str, Value]]:
    if isinstance(item, bool):
        return [("Bool", item)]
    if isinstance(item, str):
        return [("String", item)]
    found: list[tuple[str, Value]] = []
    if item == item // 1 and abs(item) < 2**65:
        whole = int(item)
        if -(2**63) <= whole < 2**63:
            found.append(("Int64", whole))
        elif 0 < whole < 2**64:
            found.append(("UInt64", whole))
    if float(item) == item:
        found.append(("Float64", float(item)))
    return found


def _compares(value: str, sign: str, bound: Value, bind: Binder) -> str:
    if isinstance(bound, float):
        kind = "Float64"
    else:
        assert isinstance(bound, int)
        kind = "Int64" if bound < 2**63 else "UInt64"
    other = bind(bound, kind)
    tests = " OR ".join(
        f"{value}.:{held} {sign} {other}" for held in ("Int64", "UInt64", "Float64")
    )
    return f"ifNull({tests}, 0)"
