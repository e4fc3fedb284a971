"""Conditions on the properties of events: the language that all definitions share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.errors import InvalidRequest
from schemas.patterns import compile_pattern
from schemas.time.rfc3339 import TIME_FORMATS, read_time

MAX_CONDITIONS: Final = 16
MAX_DEPTH: Final = 8

# A name that begins with ^` reads as a path expression of ClickHouse's JSON type.
_NAME: Final = r"^(?!\^`)"
PropertyName = Annotated[str, Meta(min_length=1, max_length=200, pattern=_NAME)]
# What errors say in place of a pattern.
PATTERNS: Final = {_NAME: "a name that begins with ^` is not accepted"}
Scalar = bool | int | float | Annotated[str, Meta(max_length=1_000)]
Op = Literal[
    "equals",
    "not_equals",
    "in",
    "not_in",
    "contains",
    "not_contains",
    "starts_with",
    "not_starts_with",
    "ends_with",
    "not_ends_with",
    "matches",
    "not_matches",
    "gt",
    "gte",
    "lt",
    "lte",
    "before",
    "after",
    "is_set",
    "is_not_set",
]


class Condition(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"and_": "and", "or_": "or", "not_": "not"},
):
    """A condition on the properties of an event, in one of four forms.

    `{"property": …, "op": …, "value": …}` compares one property. `{"and": […]}` holds if all of its
    conditions hold, `{"or": […]}` if any of them holds, and `{"not": …}` if its condition does not.
    They nest up to 8 levels deep and compare up to 16 properties in all.

    Values are compared by their JSON type; a property that is absent or null is not set.

    - `equals`, `in`: a number equals numbers only (1 equals 1.0), text equals text only, true and
      false equal themselves. `in` holds if any of the listed values is equal.
    - `gt`, `gte`, `lt`, `lte` compare numbers.
    - `contains`, `starts_with`, `ends_with` search text for text, character by character.
    - `matches` searches text for a regular expression of up to 200 characters, in RE2's syntax. A
      dot matches any character, newlines too; case matters unless the pattern begins with `(?i)`.
    - `before`, `after` compare times. A time is text: a date, `2026-11-22`, which means its first
      moment in UTC, or a date and time with a zone, `2026-11-22T10:00:00.000Z` or
      `…T11:00:00+01:00` (RFC 3339 in upper case, from year 0001 on, without leap seconds). Digits
      beyond milliseconds are ignored. For other text neither holds.
    - `is_set` holds for every value but an object.

    `is_not_set`, `not`, and the operators that begin with `not_` are plain negations: they hold
    wherever the positive form does not, also if the property is not set.
    """

    property: PropertyName = ""
    op: Op = "equals"
    value: Scalar | Annotated[list[Scalar], Meta(min_length=1, max_length=100)] | None = None
    and_: Annotated[tuple["Condition", ...], Meta(min_length=1, max_length=MAX_CONDITIONS)] = ()
    or_: Annotated[tuple["Condition", ...], Meta(min_length=1, max_length=MAX_CONDITIONS)] = ()
    not_: "Condition | None" = None

    def negated(self) -> "Condition | None":
        """Return the condition that this one negates; None if it negates none."""
        op = _NEGATIONS.get(self.op)
        return self.not_ if op is None else msgspec.structs.replace(self, op=op)


_NEGATIONS: Final[Mapping[Op, Op]] = {
    "not_equals": "equals",
    "not_in": "in",
    "not_contains": "contains",
    "not_starts_with": "starts_with",
    "not_ends_with": "ends_with",
    "not_matches": "matches",
    "is_not_set": "is_set",
}
_NUMERIC: Final = {"gt", "gte", "lt", "lte"}
_TEXTUAL: Final = {"contains", "starts_with", "ends_with"}


def check_conditions(conditions: Sequence[Condition], path: str) -> None:
    """Refuse conditions that mean nothing, or too many; `path` is the path of their list.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    for number, (condition, place) in enumerate(comparisons(conditions, path), 1):
        if number > MAX_CONDITIONS:
            raise InvalidRequest(f"must compare at most {MAX_CONDITIONS} properties", path)
        _check_value(condition, f"{place}.value")


def check_condition(condition: Condition, path: str, depth: int = 1) -> int:
    """Refuse a condition that means nothing; return how many properties it compares.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    found = list(_walk(condition, path, depth))
    for comparison, place in found:
        _check_value(comparison, f"{place}.value")
    return len(found)


def comparisons(
    conditions: Sequence[Condition], path: str, depth: int = 1
) -> Iterator[tuple[Condition, str]]:
    """Yield all conditions that compare a property, with their paths (`steps[0].where[1].or[2]`).

    Raises:
        InvalidRequest: a condition does not have exactly one form, or is nested too deeply.
    """
    for number, condition in enumerate(conditions):
        yield from _walk(condition, f"{path}[{number}]", depth)


def hold_without_properties(conditions: Sequence[Condition]) -> bool:
    """Whether all conditions hold for an event of which no property is set."""
    return all(map(_holds_without_properties, conditions))


def _holds_without_properties(condition: Condition) -> bool:
    if condition.and_:
        return hold_without_properties(condition.and_)
    if condition.or_:
        return any(map(_holds_without_properties, condition.or_))
    negated = condition.negated()
    return negated is not None and not _holds_without_properties(negated)


def _walk(condition: Condition, path: str, depth: int) -> Iterator[tuple[Condition, str]]:
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"must be nested at most {MAX_DEPTH} levels deep", path)
    _check_form(condition, path)
    if condition.property:
        yield condition, path
    yield from comparisons(condition.and_, f"{path}.and", depth + 1)
    yield from comparisons(condition.or_, f"{path}.or", depth + 1)
    if condition.not_ is not None:
        yield from _walk(condition.not_, f"{path}.not", depth + 1)


def _check_form(condition: Condition, path: str) -> None:
    forms = (condition.property, condition.and_, condition.or_, condition.not_)
    if sum(map(bool, forms)) != 1:
        raise InvalidRequest("must have exactly one of `property`, `and`, `or` and `not`", path)
    if not condition.property and (condition.op != "equals" or condition.value is not None):
        raise InvalidRequest("must have `op` and `value` with `property` only", path)


def _check_value(condition: Condition, path: str) -> None:
    op, value = condition.op, condition.value
    plain = _NEGATIONS.get(op, op)
    if plain == "is_set":
        if value is not None:
            raise InvalidRequest(f"must not be set: `{op}` takes no value", path)
    elif plain == "in":
        if not isinstance(value, list):
            raise InvalidRequest(f"must be a list of values with `{op}`", path)
    elif value is None or isinstance(value, list):
        raise InvalidRequest(f"must be one value with `{op}`", path)
    elif plain in _NUMERIC and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidRequest(f"must be a number with `{op}`", path)
    elif plain in _TEXTUAL and not isinstance(value, str):
        raise InvalidRequest(f"must be text with `{op}`", path)
    elif plain == "matches":
        _check_pattern(op, value, path)
    elif plain in {"before", "after"} and (not isinstance(value, str) or read_time(value) is None):
        raise InvalidRequest(f"must be a time with `{op}`: {TIME_FORMATS}", path)


def _check_pattern(op: Op, value: Scalar, path: str) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(f"must be a regular expression with `{op}`", path)
    try:
        compile_pattern(value)
    except ValueError as error:
        raise InvalidRequest(f"must be a regular expression of RE2: {error}", path) from None
