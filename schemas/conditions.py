"""Conditions on the properties of an event: the language that all definitions share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.errors import InvalidRequest
from schemas.patterns import compile_pattern
from schemas.time.rfc3339 import read_time

MAX_CONDITIONS: Final = 16
MAX_DEPTH: Final = 8

PropertyName = Annotated[str, Meta(min_length=1, max_length=200)]
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
    """What must hold of the properties of an event, in one of four forms.

    `{"property": …, "op": …, "value": …}` compares one property, `{"and": […]}` holds if all of its
    conditions do, `{"or": […]}` if any of them does, `{"not": …}` if the one in it does not. They
    nest up to 8 levels deep, with up to 16 properties compared in all.

    Comparison is by JSON type; a property that is absent or null is not set.

    - `equals`, `in`: a number equals numbers only (1 equals 1.0), text equals text only, true and
      false equal themselves. `in` holds if any of the listed values is equal.
    - `gt`, `gte`, `lt`, `lte` compare numbers.
    - `contains`, `starts_with`, `ends_with` look for text in text, character by character.
    - `matches` finds a regular expression anywhere in text. Its dialect is RE2's; a dot is any
      character, newlines too; case matters unless it begins with `(?i)`; up to 200 characters.
    - `before`, `after` compare times. A time is text: a date, `2026-11-22`, which is its first
      moment in UTC, or a date and time with a zone, `2026-11-22T10:00:00.000Z` or
      `…T11:00:00+01:00` (RFC 3339 in upper case, from year 0001 on, without leap seconds).
      Milliseconds count and what is smaller does not. They do not hold for other text.
    - `is_set` holds for every value but an object.

    What begins with `not_`, `is_not_set`, and `not` are plain negations: they hold wherever the
    rest of it does not, so for a property that is not set too.
    """

    property: PropertyName = ""
    op: Op = "equals"
    value: Scalar | Annotated[list[Scalar], Meta(min_length=1, max_length=100)] | None = None
    and_: Annotated[tuple["Condition", ...], Meta(min_length=1, max_length=MAX_CONDITIONS)] = ()
    or_: Annotated[tuple["Condition", ...], Meta(min_length=1, max_length=MAX_CONDITIONS)] = ()
    not_: "Condition | None" = None

    def negated(self) -> "Condition | None":
        """The condition that this one is the negation of; None if it is the negation of none."""
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
    """Refuse conditions that mean nothing or are too many; `path` is that of their list.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    for number, (condition, place) in enumerate(comparisons(conditions, path), 1):
        if number > MAX_CONDITIONS:
            raise InvalidRequest(f"accepted are up to {MAX_CONDITIONS} properties compared", path)
        _check_value(condition, f"{place}.value")


def comparisons(
    conditions: Sequence[Condition], path: str, depth: int = 1
) -> Iterator[tuple[Condition, str]]:
    """Walk all conditions that compare a property, with their paths (`steps[0].where[1].or[2]`).

    Raises:
        InvalidRequest: one has not just one of the four forms, or is nested too deeply.
    """
    for number, condition in enumerate(conditions):
        yield from _walk(condition, f"{path}[{number}]", depth)


def hold_of_nothing(conditions: Sequence[Condition]) -> bool:
    """Whether all conditions hold where no property is set."""
    return all(map(_holds_of_nothing, conditions))


def _holds_of_nothing(condition: Condition) -> bool:
    if condition.and_:
        return hold_of_nothing(condition.and_)
    if condition.or_:
        return any(map(_holds_of_nothing, condition.or_))
    negated = condition.negated()
    return negated is not None and not _holds_of_nothing(negated)


def _walk(condition: Condition, path: str, depth: int) -> Iterator[tuple[Condition, str]]:
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"accepted are up to {MAX_DEPTH} levels of conditions", path)
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
        raise InvalidRequest("accepted is one of `property`, `and`, `or` and `not`", path)
    if not condition.property and (condition.op != "equals" or condition.value is not None):
        raise InvalidRequest("`op` and `value` go with `property` only", path)


def _check_value(condition: Condition, path: str) -> None:
    op, value = condition.op, condition.value
    plain = _NEGATIONS.get(op, op)
    if plain == "is_set":
        if value is not None:
            raise InvalidRequest(f"`{op}` takes no value", path)
    elif plain == "in":
        if not isinstance(value, list):
            raise InvalidRequest(f"`{op}` takes a list of values", path)
    elif value is None or isinstance(value, list):
        raise InvalidRequest(f"`{op}` takes one value", path)
    elif plain in _NUMERIC and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidRequest(f"`{op}` takes a number", path)
    elif plain in _TEXTUAL and not isinstance(value, str):
        raise InvalidRequest(f"`{op}` takes text", path)
    elif plain == "matches":
        _check_pattern(op, value, path)
    elif plain in {"before", "after"} and (not isinstance(value, str) or read_time(value) is None):
        raise InvalidRequest(
            f"`{op}` takes a time: accepted are 2026-11-22 and 2026-11-22T10:00:00.000Z, or with "
            "an offset such as +01:00 in place of the Z",
            path,
        )


def _check_pattern(op: Op, value: Scalar, path: str) -> None:
    if not isinstance(value, str):
        raise InvalidRequest(f"`{op}` takes a regular expression", path)
    try:
        compile_pattern(value)
    except ValueError as error:
        raise InvalidRequest(f"`{op}` takes a regular expression of RE2: {error}", path) from None
