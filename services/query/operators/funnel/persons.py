"""The persons of a funnel, from ClickHouse: who reached a step, or dropped out before it.

Names and values of a definition are bound parameters of the statement, never its text.
"""

import datetime
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec
from starlette.requests import Request

from schemas.operators.funnel import FunnelDefinition, Step
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import EventSource, Statement, limit_sql
from services.query.clickhouse.queries import QueryResult
from services.query.http.params import read_choice, read_day, read_number, read_page
from services.query.operators.funnel.chain_sql import reached_sql
from services.query.operators.funnel.sql import constants, day_number, times_sql

Outcome = Literal["reached", "dropped"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("reached", "dropped")


class FunnelPersonsResponse(msgspec.Struct, frozen=True):
    """Some persons of a funnel, by id; `next` is the next page's `after`, null at the end.

    `positions` and `complete_until` say which events are included, as with the results: with the
    positions as `as_of`, further pages are of the same events.
    """

    persons: list[str]
    next: str | None
    positions: dict[int, int]
    complete_until: datetime.datetime | None = None


class PersonsQuery(NamedTuple):
    """Which persons a request is for: by their outcome at a step, and by their entry day."""

    step: int
    outcome: Outcome
    after: str
    limit: int | None
    first: datetime.date
    last: datetime.date


def read_persons_query(request: Request, definition: FunnelDefinition) -> PersonsQuery:
    """Read which persons a request is for.

    Raises:
        InvalidRequest: names the parameter and what is accepted.
    """
    steps = len(definition.funnel.steps)
    outcome = read_choice(request, "outcome", OUTCOMES)
    least = 2 if outcome == "dropped" else 1
    return PersonsQuery(
        read_number(request, "step", least, steps, steps),
        outcome,
        *read_page(request),
        read_day(request, "from", datetime.date.min),
        read_day(request, "to", datetime.date.max),
    )


def persons_statement(
    source: EventSource, definition: FunnelDefinition, query: PersonsQuery
) -> Statement:
    """Return the statement for a page of persons, and one more if there are more.

    Without a limit it is for all of them.
    """
    limit = None if query.limit is None else query.limit + 1
    bind = Binder()
    step = bind(query.step, "UInt64")
    holds = f"has(reached, {step})"
    if query.outcome == "dropped":
        before = bind(previous(definition.funnel.steps, query.step), "UInt64")
        holds = f"has(reached, {before}) AND NOT has(reached, {step})"
    plain = definition.funnel.plain
    text = f"""
WITH {constants(definition, bind) if plain else "0 AS nothing"}
SELECT person_id FROM ({(_plain if plain else _chains)(source, definition, query, bind)})
WHERE {holds} AND person_id > {bind(query.after, "String")}
ORDER BY person_id{limit_sql(limit, bind)}
"""  # noqa: S608
    return Statement(text, bind.parameters)


def reached_statement(
    source: EventSource, definition: FunnelDefinition, first: datetime.date, last: datetime.date
) -> Statement:
    """Return the statement for how many persons reached each step on any day of a range.

    It has a row with the number (from 1) and the persons of each step that anybody reached.
    """
    bind = Binder()
    query = PersonsQuery(1, "reached", "", 0, first, last)
    plain = definition.funnel.plain
    text = f"""
WITH {constants(definition, bind) if plain else "0 AS nothing"}
SELECT step, count() FROM ({(_plain if plain else _chains)(source, definition, query, bind)})
ARRAY JOIN reached AS step
GROUP BY step
"""  # noqa: S608
    return Statement(text, bind.parameters)


def previous(steps: Sequence[Step], step: int) -> int:
    """Return the nearest step before a step (from 1) that is not optional."""
    return next(number for number in range(step - 1, 0, -1) if not steps[number - 1].optional)


def read_persons(
    query: PersonsQuery, result: QueryResult, complete_until: datetime.datetime | None = None
) -> FunnelPersonsResponse:
    """Read the result of a `persons_statement`."""
    page = result.page(query.limit or len(result.only))
    return FunnelPersonsResponse(*page, result.positions, complete_until)


def _plain(
    source: EventSource, definition: FunnelDefinition, query: PersonsQuery, bind: Binder
) -> str:
    """Return each person's steps reached on any of the days."""
    times = times_sql(source, definition, query.first, query.last, bind)
    return f"""
SELECT
    person_id, maxForEach(times) AS best,
    arrayFilter((step, time) -> time >= 0, arrayEnumerate(best), best) AS reached
FROM ({times}) WHERE day != total GROUP BY person_id
"""  # noqa: S608


def _chains(
    source: EventSource, definition: FunnelDefinition, query: PersonsQuery, bind: Binder
) -> str:
    days = f"{bind(day_number(query.first), 'Int32')} AND {bind(day_number(query.last), 'Int32')}"
    return f"""
SELECT person_id, groupUniqArray(step) AS reached
FROM ({reached_sql(source, definition, bind)}) WHERE entry_day BETWEEN {days} GROUP BY person_id
"""  # noqa: S608
