"""Values of a property, with how many events have them."""

import json
from typing import Final

import msgspec

from schemas.queries.lists import VALUES as SPEC
from schemas.queries.lists import ValuesQuery
from schemas.value_tokens import to_json
from services.query.clickhouse.tree import (
    Events,
    Expression,
    Matches,
    Person,
    PersonValues,
    Select,
    Token,
    Value,
    column,
    sql,
)
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.ranges import read_range
from services.query.queries.response import QueryResponse
from services.query.queries.rows import rows_of
from services.query.tables.columns import columns


class ValueResponse(msgspec.Struct, frozen=True):
    """A value, and how many events have it."""

    value: bool | int | float | str
    events: int


class ValuesResponse(QueryResponse, frozen=True, kw_only=True):
    """Values, the most frequent first; equal ones by name.

    `more` says whether there are more values than the limit.
    """

    values: list[ValueResponse]
    more: bool


def values_select(query: ValuesQuery) -> Select:
    """Return the query of the tokens of values, with counts."""
    source = Events([read_range(query)], query.where)
    where: list[Expression] = [sql("token != ''")]
    if query.search:
        # A token of text begins with one letter of its own.
        part = Value(query.search, "String")
        where.append(
            sql(
                "startsWith(token, 's')"
                " AND positionCaseInsensitiveUTF8(substring(token, 2), {part}) > 0",
                part=part,
            )
        )
    if query.person is not None:
        matching = Select({"person": Person()}, source, where=(Matches(query.event),))
        found = Select(
            {"token": column("token")}, matching, joined=PersonValues({"token": query.person})
        )
    else:
        name = query.property
        token: Expression = sql("concat('s', event)") if name is None else Token(name)
        found = Select({"token": token}, source, where=(Matches(query.event),))
    return Select(
        {"of": column("token"), "total": sql("count()")},
        found,
        where=where,
        group_by=("of",),
        order_by=(sql("total DESC"), sql("of")),
        limit=query.limit + 1,
    )


async def _answer(context: QueryContext, query: ValuesQuery) -> ValuesResponse:
    result = await context.run(values_select(query))
    found = [
        ValueResponse(json.loads(to_json(token)), int(total))
        for token, total in zip(*result.columns, strict=True)
    ]
    return ValuesResponse(
        **context.parts(),
        values=found[: query.limit],
        more=len(found) > query.limit,
    )


VALUES: Final = QueryKind(
    SPEC,
    _answer,
    "QueryValues",
    ValuesResponse,
    (ValuesQuery, ValuesResponse, ValueResponse),
    rows=lambda answer: rows_of(answer.values),
    table=columns(value="json", events="integer"),
)
