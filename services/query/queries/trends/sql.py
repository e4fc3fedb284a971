"""Trends as a tree of one ClickHouse query.

The query reads the events of all series once. For each period it returns a row for each interval
that has events, and one for the whole range, which is not the sum of the others: a person counts in
it once. With a breakdown, both are by the values that are shown, which the query finds first, with
all other values as one.
"""

from collections.abc import Iterator
from typing import Final

from schemas.queries.trends import BreakdownBy, TrendSeries
from services.query.clickhouse.tree import (
    Events,
    Expression,
    Matches,
    Member,
    Number,
    Person,
    PersonToken,
    PersonValues,
    Select,
    Sql,
    Token,
    Value,
    column,
    sql,
)
from services.query.queries.intervals import Slot
from services.query.queries.trends.plan import TrendsPlan

# How many columns of the result each series has.
COLUMNS_OF_SERIES: Final = 3


def trends_select(plan: TrendsPlan) -> Select:
    """Return the query whose result `read_figures` understands."""
    query, keys = plan.query, _keys(plan)
    label: Expression = sql("[]::Array(String)")
    if keys:
        shown = sql("{keys} IN {top}", keys=_tuple(keys), top=_top(plan))
        label = sql("if({shown}, {keys}, [])", shown=shown, keys=_array(keys))
    labelled = Select(
        {
            "slot": _slot_begin(plan),
            "period": sql("slot >= {first}", first=Value(plan.slots[0].begin, "Int64")),
            "label": label,
            **_read_columns(plan, named=True),
        },
        _found(plan, plan.periods),
    )
    figures: dict[str, Expression] = {}
    for place, series in enumerate(query.series):
        for number, figure in enumerate(_figures(series, place)):
            figures[f"f{place}_{number}"] = figure
    return Select(
        {
            "is_total": sql("grouping(slot)"),
            "period_now": column("period"),
            "begin": column("slot"),
            "of": column("label"),
            **figures,
        },
        labelled,
        grouping_sets=(("period", "label", "slot"), ("period", "label")),
    )


def _found(plan: TrendsPlan, periods: list[list[Slot]]) -> Select:
    """Return the events of all series, with what is read of them."""
    query = plan.query
    ranges = [(slots[0].first, slots[-1].last) for slots in periods]
    matches = [Matches(series.event, series.where) for series in query.series]
    columns: dict[str, Expression] = {
        "at": sql("toUnixTimestamp64Milli(timestamp)"),
        "person": Person(),
    }
    persons: dict[str, str] = {}
    for place, by in enumerate(query.breakdown):
        if by.person is not None and by.at == "now":
            persons[f"k{place}"] = by.person
        else:
            columns[f"k{place}"] = _key(by)
    for place, series in enumerate(query.series):
        columns[f"s{place}"] = matches[place] if len(matches) > 1 else sql("1")
        if series.property is not None:
            columns[f"v{place}"] = Number(series.property, series.text_numbers)
    found = Select(columns, Events(ranges, query.where), where=(_any(matches),))
    if not persons:
        return found
    names = (*columns, *persons)
    return Select({name: column(name) for name in names}, found, joined=PersonValues(persons))


def _top(plan: TrendsPlan) -> Select:
    """Return the values for which the first series has the highest figures in the present range."""
    keys = _keys(plan)
    first = plan.query.series[0]
    return Select(
        {name: column(name) for name in keys},
        _found(plan, [plan.slots]),
        where=(column("s0"),),
        group_by=keys,
        order_by=(sql("{rank} DESC NULLS LAST", rank=_rank(first)), *map(column, keys)),
        limit=plan.query.top,
    )


def _read_columns(plan: TrendsPlan, *, named: bool) -> dict[str, Expression]:
    names = ["person"] if named else []
    for place, series in enumerate(plan.query.series):
        names += [f"s{place}", *([f"v{place}"] if series.property is not None else [])]
    return {name: column(name) for name in names}


def _keys(plan: TrendsPlan) -> list[str]:
    return [f"k{place}" for place in range(len(plan.query.breakdown))]


def _tuple(keys: list[str]) -> Sql:
    """Return what a subquery of these columns is compared with."""
    return column(keys[0]) if len(keys) == 1 else sql("({keys})", keys=_list(keys))


def _array(keys: list[str]) -> Sql:
    return sql("[{keys}]", keys=_list(keys))


def _list(keys: list[str]) -> Sql:
    listed = column(keys[0])
    for name in keys[1:]:
        listed = sql("{before}, {name}", before=listed, name=column(name))
    return listed


def _any(matches: list[Matches]) -> Expression:
    found: Expression = matches[0]
    for one in matches[1:]:
        found = sql("{before} OR {one}", before=found, one=one)
    return found


def _key(by: BreakdownBy) -> Expression:
    if by.segment is not None:
        return sql("if({member}, 't', 'f')", member=Member(by.segment))
    if by.person is not None:
        return PersonToken(by.person)
    assert by.property is not None, "a breakdown is by one of three"
    return Token(by.property)


def _slot_begin(plan: TrendsPlan) -> Expression:
    begins = sorted(slot.begin for slots in plan.periods for slot in slots)
    return sql("roundDown(at, {begins})", begins=Value(begins, "Array(Int64)"))


def _figures(series: TrendSeries, place: int) -> Iterator[Expression]:
    """Yield what is measured of a series: the figure's parts, filled up with zeros."""
    parts = list(_parts(series, place))
    yield from parts
    yield from [sql("0")] * (COLUMNS_OF_SERIES - len(parts))


def _parts(series: TrendSeries, place: int) -> Iterator[Expression]:
    of = column(f"s{place}")
    match series.measure:
        case "events":
            yield sql("countIf({of})", of=of)
            return
        case "persons":
            yield sql("uniqExactIf(person, {of})", of=of)
            return
        case "events_per_person":
            yield sql("countIf({of})", of=of)
            yield sql("uniqExactIf(person, {of})", of=of)
            return
    value = column(f"v{place}")
    yield _measured(series, value, of)
    yield sql("countIf({of} AND isNotNull({value}))", of=of, value=value)
    yield sql("countIf({of} AND isNull({value}))", of=of, value=value)


def _measured(series: TrendSeries, value: Expression, of: Expression) -> Expression:
    match series.measure:
        case "minimum":
            return sql("minIf({value}, {of})", value=value, of=of)
        case "maximum":
            return sql("maxIf({value}, {of})", value=value, of=of)
        case "percentile":
            return _percentile(series.percentile or 0.0, value, of)
    return sql("sumIf({value}, {of})", value=value, of=of)


def _percentile(percentile: float, value: Expression, of: Expression) -> Expression:
    """Return the least value that this percentage of the values does not exceed.

    `quantileExact` takes the value number floor(level * count), from 0. A level that is less by
    next to nothing makes it the value before where the product is whole, and changes nothing else.
    """
    level = Value(percentile / 100 - 1e-13, "Float64")
    return sql("quantileExactIf({level})({value}, {of})", level=level, value=value, of=of)


def _rank(series: TrendSeries) -> Expression:
    parts = list(_parts(series, 0))
    match series.measure:
        case "events_per_person":
            return sql("{events} / {persons}", events=parts[0], persons=parts[1])
        case "average":
            return sql("{sum} / nullIf({count}, 0)", sum=parts[0], count=parts[1])
        case "percentile":
            return sql("if({count} > 0, {value}, NULL)", count=parts[1], value=parts[0])
        case "sum":
            return sql("ifNull({sum}, 0)", sum=parts[0])
    return parts[0]
