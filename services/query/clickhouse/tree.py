"""Queries of events as a typed tree, which `services.query.clickhouse.printer` prints.

A tree says which figures of which events are asked for. It has no project, no table and no text of
a request: the printer adds the project to each source of events, and binds all values.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, Union

from schemas.queries.filters import QueryFilter


class Value(NamedTuple):
    """A value that is bound as a parameter of a ClickHouse type."""

    value: object
    type: str


class Person(NamedTuple):
    """The person of an event."""


class Matches(NamedTuple):
    """1 for events that have a name (any, if None) and pass all filters, and else 0."""

    event: str | None
    where: Sequence[QueryFilter] = ()


class Number(NamedTuple):
    """A property of the event as a 64-bit float, null if it is no number.

    With `of_text`, text that spells a number in JSON's grammar is one, too.
    """

    property: str
    of_text: bool = False


class Token(NamedTuple):
    """A property of the event as text that is the same for equal values; empty if it is not set."""

    property: str


class TokenNumber(NamedTuple):
    """The place (from 1) of the token of an event's property among some tokens; else 0."""

    property: str
    shown: tuple[str, ...]


class PersonToken(NamedTuple):
    """A property that the event's person had at the event, as text like that of `Token`."""

    property: str


class PersonNow(NamedTuple):
    """A property that the event's person has now, as text like that of `Token`."""

    property: str


class FirstTouch(NamedTuple):
    """A property of the first event of the event's person that has it, as text like `Token`."""

    property: str


class Raw(NamedTuple):
    """A property of the event as it is stored, null if it is not set."""

    property: str


class Member(NamedTuple):
    """1 for events whose person is in a segment, by its id, and else 0."""

    segment: str


class Sql(NamedTuple):
    """SQL of our own, with the expressions that its `{names}` stand for; `sql` makes it."""

    text: str
    parts: Mapping[str, "Expression"]


Expression: TypeAlias = Union[
    Value, Person, Matches, Number, Token, TokenNumber, PersonToken, Raw, Member, Sql, "Select"
]


# What a statement labels each event with, as text that is the same for equal values.
Label: TypeAlias = Token | PersonToken | PersonNow | FirstTouch | Member


class Events(NamedTuple):
    """The events of the project that pass all filters, and lie in one of the ranges.

    A range has the times (ms) from its first to its second, which is not part of it.
    """

    ranges: Sequence[tuple[int, int]]
    where: Sequence[QueryFilter] = ()


class Persons(NamedTuple):
    """A row for each person of the project, as the store keeps them.

    The columns are those of `services.query.clickhouse.persons`. A query of it has no filters.
    """


class PersonValues(NamedTuple):
    """A row for each person, with `person` and the tokens of properties that the person has now.

    The columns have the names that `properties` are by.
    """

    properties: Mapping[str, str]


class Select(NamedTuple):
    """A SELECT; `columns` are by their names, which are ours.

    `joined` adds its columns to the rows of `source` with the same `person`. Rows are grouped by
    `group_by`, or, if there are any, by each of the `grouping_sets`. With `rollup`, they are also
    grouped by all of `group_by` but the last one, by all but the last two, and so on.
    """

    columns: Mapping[str, Expression]
    source: Union[Events, Persons, "Select"]
    joined: PersonValues | None = None
    where: Sequence[Expression] = ()
    group_by: Sequence[str] = ()
    rollup: bool = False
    grouping_sets: Sequence[Sequence[str]] = ()
    having: Sequence[Expression] = ()
    order_by: Sequence[Expression] = ()
    limit: int | None = None


def sql(text: str, /, **parts: Expression) -> Sql:
    """Return SQL with expressions in place of its `{names}`.

    The text must be a constant of the program: a test reads all calls.
    """
    return Sql(text, MappingProxyType(parts))


def column(name: str) -> Sql:
    """Return a column of the source, by the name that the tree gave it."""
    if not name.isidentifier():
        raise ValueError(f"{name!r} is not a column's name")
    return Sql(name, MappingProxyType({}))
