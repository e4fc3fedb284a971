"""Names of properties, with how many events have them."""

from typing import Final

import msgspec

from schemas.operators.segment import SET, SET_ONCE
from schemas.properties import sent_name
from schemas.queries.lists import MAX_SAMPLED, PropertiesQuery
from schemas.queries.lists import PROPERTIES as SPEC
from services.query.clickhouse.tree import Events, Expression, Matches, Select, Value, column, sql
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.ranges import read_range
from services.query.queries.response import QueryResponse
from services.query.queries.rows import rows_of
from services.query.tables.columns import columns


class PropertyResponse(msgspec.Struct, frozen=True):
    """A property, by how many of the events looked at have it, and the types of its values.

    Types are `text`, `number`, `boolean` and `list`.
    """

    name: str
    events: int
    types: list[str]


class PropertiesResponse(QueryResponse, frozen=True, kw_only=True):
    """Names of properties, the most frequent first; equal ones by name.

    `looked_at` is how many events were, the newest of the range. `more` says whether there are more
    names than the limit.
    """

    properties: list[PropertyResponse]
    looked_at: int
    more: bool


def properties_select(query: PropertiesQuery) -> Select:
    """Return the query of names, their counts and types, and how many events were looked at."""
    newest = Select(
        {
            "paths": sql("JSONAllPathsWithTypes(properties)"),
        },
        Events([read_range(query)], query.where),
        where=(Matches(query.event),),
        order_by=(sql("timestamp DESC"),),
        limit=MAX_SAMPLED,
    )
    pairs = Select(
        {
            "pair": sql(
                "arrayJoin(arrayConcat([('', '')], CAST(paths, 'Array(Tuple(String, String))')))"
            )
        },
        newest,
    )
    names = Select({"name": _name(query), "type": sql("pair.2")}, pairs)
    where: list[Expression] = [sql("position(name, '.') = 0")]
    if query.search:
        part = Value(query.search, "String")
        where.append(
            sql(
                "name = ''"
                " OR positionCaseInsensitiveUTF8(replaceAll(name, '%2E', '.'), {part}) > 0",
                part=part,
            )
        )
    return Select(
        {
            "found": column("name"),
            "total": sql("count()"),
            "types": sql("arraySort(groupUniqArray(type))"),
        },
        names,
        where=where,
        group_by=("found",),
        # Each event looked at has the empty name once, so that it comes first.
        order_by=(sql("found != ''"), sql("total DESC"), sql("found")),
        limit=query.limit + 2,
    )


def _name(query: PropertiesQuery) -> Expression:
    if query.of == "event":
        return sql("pair.1")
    prefixes = [Value(f"{name}.", "String") for name in (SET, SET_ONCE)]
    return sql(
        "multiIf(pair.1 = '', '', startsWith(pair.1, {set}), substring(pair.1, length({set}) + 1),"
        " startsWith(pair.1, {once}), substring(pair.1, length({once}) + 1), '.')",
        set=prefixes[0],
        once=prefixes[1],
    )


def type_of(stored: str) -> str:
    """Return the type of JSON that a type of ClickHouse stores."""
    if stored.startswith("Array"):
        return "list"
    return {"String": "text", "Bool": "boolean"}.get(stored, "number")


async def _answer(context: QueryContext, query: PropertiesQuery) -> PropertiesResponse:
    result = await context.run(properties_select(query))
    rows = list(zip(*result.columns, strict=True))
    looked_at = next((int(total) for name, total, _ in rows if not name), 0)
    found = [
        PropertyResponse(sent_name(name), int(total), sorted(set(map(type_of, types))))
        for name, total, types in rows
        if name
    ]
    return PropertiesResponse(
        **context.parts(),
        properties=found[: query.limit],
        looked_at=looked_at,
        more=len(found) > query.limit,
    )


PROPERTIES: Final = QueryKind(
    SPEC,
    _answer,
    "QueryProperties",
    PropertiesResponse,
    (PropertiesQuery, PropertiesResponse, PropertyResponse),
    rows=lambda answer: rows_of(answer.properties),
    table=columns(name="text", events="integer", types="json"),
)
