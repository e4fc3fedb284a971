"""Paths as trees of ClickHouse queries.

A person's path is cut out of the events of the range, in their order: it has the anchor, the events
behind it up to the first gap, and those before it back to the first gap.
"""

from schemas.queries.journeys import PathPersons, PathsQuery
from services.query.clickhouse.tree import (
    Events,
    Expression,
    Matches,
    Person,
    Select,
    Value,
    column,
    sql,
)
from services.query.queries.ranges import read_range


def steps_select(query: PathsQuery, complete_until: int | None) -> Select:
    """Return a row for each step of each path.

    It has `step` (0 is the anchor), `name`, the name of the `following` event, and whether the path
    `ended` there, or is `open`: it may still go on. Of an ended or open path nothing follows.
    """
    span = read_range(query)
    until = span.begin if complete_until is None else min(complete_until, span.end)
    gap = Value(1_000 * query.gap_s, "Int64")
    behind = sql("arraySlice(acts, anchor, {count})", count=Value(query.behind + 1, "Int64"))
    path = column("after_it")
    if query.before:
        before = sql(
            "arrayReverse("
            "arraySlice(acts, greatest(anchor - {count} + 1, 1), least(anchor, {count})))",
            count=Value(query.before + 1, "Int64"),
        )
        path = sql(
            "arrayConcat(arrayReverse(arrayPopFront({before})), after_it)",
            before=_until_gap(before, gap),
        )
    paths = Select(
        {
            "who": column("who"),
            "after_it": _until_gap(behind, gap),
            "path": path,
            "offset": sql("length(path) - length(after_it)"),
        },
        _anchored(query),
    )
    limit = Value(query.behind, "Int64")
    rows = sql(
        "arrayJoin(arrayMap((one, place) -> (toInt64(place) - 1 - toInt64(offset), one.3,"
        " if(place < length(path), path[place + 1].3, ''),"
        " place = length(path) AND toInt64(place) - 1 - toInt64(offset) < {limit},"
        " one.1 + {gap} >= {until}), path, arrayEnumerate(path)))",
        limit=limit,
        gap=gap,
        until=Value(until, "Int64"),
    )
    joined = Select({"who": column("who"), "row": rows}, paths)
    return Select(
        {
            "who": column("who"),
            "step": sql("row.1"),
            "name": sql("row.2"),
            "following": sql("row.3"),
            "open": sql("row.4 AND row.5"),
            "ended": sql("row.4 AND NOT row.5"),
        },
        joined,
    )


def edges_select(query: PathsQuery, complete_until: int | None) -> Select:
    """Return the query of how many persons are at each step, by the event that follows."""
    return Select(
        {
            "place": column("step"),
            "source": column("name"),
            "target": column("following"),
            "persons": sql("count()"),
            "dropped": sql("countIf(ended)"),
            "still_open": sql("countIf(open)"),
        },
        steps_select(query, complete_until),
        group_by=("place", "source", "target"),
        order_by=(column("place"), sql("persons DESC"), column("source"), column("target")),
    )


def persons_select(query: PathsQuery, asked: PathPersons, complete_until: int | None) -> Select:
    """Return the query of a page of the persons at a step, and of one more."""
    where: list[Expression] = [
        sql("step = {step}", step=Value(asked.step, "Int64")),
        sql("name = {event}", event=Value(asked.event, "String")),
        sql("who > {after}", after=Value(asked.after, "String")),
    ]
    if asked.outcome == "dropped":
        where.append(column("ended"))
    return Select(
        {"person": column("who")},
        steps_select(query, complete_until),
        where=where,
        order_by=(column("person"),),
        limit=asked.limit + 1,
    )


def _anchored(query: PathsQuery) -> Select:
    """Return each person's events in order, and the place of the anchor among them."""
    found = Select(
        {
            "person": Person(),
            "act": sql("(toUnixTimestamp64Milli(timestamp), _offset, toString(event))"),
        },
        Events([read_range(query)], query.where),
        where=(Matches(None),),
    )
    name = query.anchor
    anchor = sql("toInt64(1)")
    if name is not None:
        anchor = sql(
            "toInt64(arrayFirstIndex(one -> one.3 = {name}, acts))", name=Value(name, "String")
        )
    persons = Select(
        {"who": column("person"), "acts": sql("arraySort(groupArray(act))"), "anchor": anchor},
        found,
        group_by=("who",),
        having=(sql("anchor > 0"),),
    )
    return Select({name: column(name) for name in ("who", "acts", "anchor")}, persons)


def _until_gap(cut: Expression, gap: Value) -> Expression:
    """Return the first events of a cut, up to the first that is too far from the one before."""
    return sql(
        "arraySplit((one, before) -> abs(one.1 - before) > {gap}, {cut},"
        " arrayPushFront(arrayPopBack(arrayMap(one -> one.1, {cut})), {cut}[1].1))[1]",
        gap=gap,
        cut=cut,
    )
