"""Filters of queries: the condition language, and who the persons of the events are."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.conditions import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    Condition,
    Op,
    PropertyName,
    Scalar,
    check_condition,
)
from schemas.definitions import Id
from schemas.errors import InvalidRequest

# When a person has a property: now, or at the time of each event.
PersonAt = Literal["now", "event"]

_FORMS: Final = "`property`, `person`, `segment`, `and`, `or` and `not`"


class QueryFilter(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"and_": "and", "or_": "or", "not_": "not"},
):
    """A filter on events, in one of six forms.

    `{"property": …, "op": …, "value": …}` compares a property of the event, as a `Condition` does.
    `{"person": <Condition>}` holds if the condition holds for the properties that the event's
    person has now: those that events have set with `$set` and `$set_once`. With `"at": "event"`,
    they are the properties that the person had at the event: those set by the person's events up to
    and including it, in order of time, equal times in order of arrival. `{"segment": "vip"}` holds
    if the event's person is in that segment now. `{"and": […]}`, `{"or": […]}` and `{"not": …}`
    combine filters. They nest up to 8 levels deep and compare up to 16 values in all.
    """

    property: PropertyName = ""
    op: Op = "equals"
    value: Scalar | Annotated[list[Scalar], Meta(min_length=1, max_length=100)] | None = None
    person: Condition | None = None
    at: PersonAt = "now"
    segment: Id | None = None
    and_: Annotated[tuple["QueryFilter", ...], Meta(min_length=1, max_length=MAX_CONDITIONS)] = ()
    or_: Annotated[tuple["QueryFilter", ...], Meta(min_length=1, max_length=MAX_CONDITIONS)] = ()
    not_: "QueryFilter | None" = None

    def condition(self) -> Condition:
        """Return the condition on a property of the event; only of that form."""
        return Condition(self.property, self.op, self.value)


QueryFilters = Annotated[tuple[QueryFilter, ...], Meta(max_length=MAX_CONDITIONS)]


class Reference(msgspec.Struct, frozen=True):
    """A segment that a query refers to by its id, and the path of the field that names it."""

    segment: str
    path: str


def check_filters(filters: Sequence[QueryFilter], path: str) -> None:
    """Refuse filters that mean nothing, or too many; `path` is the path of their list.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    compared = sum(_check(one, f"{path}[{place}]", 1) for place, one in enumerate(filters))
    if compared > MAX_CONDITIONS:
        raise InvalidRequest(f"must compare at most {MAX_CONDITIONS} values", path)


def references(filters: Sequence[QueryFilter], path: str) -> Iterator[Reference]:
    """Yield the segments that filters refer to; `path` is the path of their list."""
    for place, one in enumerate(filters):
        yield from _references(one, f"{path}[{place}]")


def _references(one: QueryFilter, path: str) -> Iterator[Reference]:
    if one.segment is not None:
        yield Reference(one.segment, f"{path}.segment")
    yield from references(one.and_, f"{path}.and")
    yield from references(one.or_, f"{path}.or")
    if one.not_ is not None:
        yield from _references(one.not_, f"{path}.not")


def _check(one: QueryFilter, path: str, depth: int) -> int:
    """Return how many values a filter compares."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"must be nested at most {MAX_DEPTH} levels deep", path)
    forms = (one.property, one.person, one.segment, one.and_, one.or_, one.not_)
    if sum(map(bool, forms)) != 1:
        raise InvalidRequest(f"must have exactly one of {_FORMS}", path)
    if one.at != "now" and one.person is None:
        raise InvalidRequest("must be set with `person` only", f"{path}.at")
    if one.property:
        return check_condition(one.condition(), path, depth)
    if one.op != "equals" or one.value is not None:
        raise InvalidRequest("must have `op` and `value` with `property` only", path)
    if one.person is not None:
        return check_condition(one.person, f"{path}.person", depth)
    if one.not_ is not None:
        return _check(one.not_, f"{path}.not", depth + 1)
    name = "and" if one.and_ else "or"
    inner = one.and_ or one.or_
    below = (_check(o, f"{path}.{name}[{at}]", depth + 1) for at, o in enumerate(inner))
    return sum(below) if inner else 1
