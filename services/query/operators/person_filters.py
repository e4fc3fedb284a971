"""Filters on who the person of an event is, which queries accept and definitions do not.

The stream decides once whether an event counts, when it folds the event, and by the event alone.
What its person is may depend on other events, which may come later although they are dated earlier:
then what was counted would have to be taken back, which no operator can do for one person.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import InvalidRequest
from schemas.operators.segment import Rule, forms

_BY_QUERY: Final = "A query (`POST …/query/…`) accepts this filter"
_PERSON: Final = (
    "depends on properties of the person: an event that arrives late may change what they were at "
    "an event that is counted already"
)
# Why no event says by itself whether a rule holds, by the form of the condition.
_REASONS: Final = {
    "performed": "depends on other events of the person",
    "first_seen": "depends on other events of the person",
    "last_seen": "depends on other events of the person, and on the time",
    "sequence": "depends on other events of the person",
    "predicted": "depends on scores, which count from the definition of the segment on",
    "person": _PERSON,
}


class PersonFilter(NamedTuple):
    """A filter by its path: on membership of `segment`, or if that is None, on properties."""

    path: str
    segment: str | None


def refuse_person_filters(body: bytes, rule_of: Callable[[str], Rule | None]) -> None:
    """Refuse a definition with a filter on persons, by the reason.

    `rule_of` returns the rule of a segment without references; None if there is no such segment.

    Raises:
        InvalidRequest: names the filter, and what in a segment's rule no event says by itself.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return  # the caller's own decoding refuses it
    for found in find_person_filters(value):
        raise InvalidRequest(_reason(found, rule_of), found.path)


def find_person_filters(body: Any) -> Iterator[PersonFilter]:
    """Find the filters on persons in the body of a definition, which may be any JSON value."""
    # Values with their paths, and whether they are conditions of a list `where`.
    waiting: list[tuple[Any, str, bool]] = [(body, "", False)]
    while waiting:
        value, path, is_condition = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(
                [(one, f"{path}[{place}]", is_condition) for place, one in enumerate(value)]
            )
        elif isinstance(value, dict):
            if is_condition and isinstance(segment := value.get("segment"), str):
                yield PersonFilter(f"{path}.segment", segment)
            if is_condition and "person" in value:
                yield PersonFilter(f"{path}.person", None)
            waiting += reversed(
                [
                    (one, f"{path}.{name}" if path else name, is_condition or name == "where")
                    for name, one in value.items()
                ]
            )


def _reason(found: PersonFilter, rule_of: Callable[[str], Rule | None]) -> str:
    if found.segment is None:
        return f"must not be set: it {_PERSON}. {_BY_QUERY}"
    rule = rule_of(found.segment)
    if rule is None:
        return f"there is no segment {found.segment!r}"
    asked = forms(rule, "rule")
    name, path = next((one for one in asked if one[0] != "person"), asked[0])
    return (
        f"must not be set: the rule of segment {found.segment} asks for `{name}` ({path}), which "
        f"{_REASONS[name]}. {_BY_QUERY}"
    )
