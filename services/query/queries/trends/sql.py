"""Trends as trees of ClickHouse queries.

`trends_select` reads the events of all series once. For each period it returns a row for each
interval that has events, and one for the whole range, which is not the sum of the others: a person
counts in it once. With a breakdown, both are by the values that are shown, which `top_select`
finds first, with all other values as one.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from schemas.queries.trends import BreakdownBy, TrendSeries, TrendsQuery
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
    TokenNumber,
    Value,
    column,
    sql,
)
from services.query.queries.intervals import Slot
from services.query.queries.trends.plan import TrendsPlan

# The tokens of a breakdown's values; empty for all values that are not shown, or no breakdown.
Label = tuple[str, ...]

# How many columns of the result each series has.
COLUMNS_OF_SERIES: Final = 3


def trends_select(plan: TrendsPlan, shown: Sequence[Label] = ()) -> Select:
    """Return the query whose result `read_figures` understands; `shown` are those of a breakdown.

    A row has whether it is about all intervals, labels and periods, what it is about otherwise, and
    the parts of each series' figure. Labels are numbers, from 1 for the first that is shown.
    """
    by: dict[str, Expression] = {}
    if plan.previous:
        by["period"] = sql("slot >= {first}", first=Value(plan.slots[0].begin, "Int64"))
    if plan.query.breakdown:
        by["label"] = column("label_number")
    labelled = Select(
        {"slot": _slot_begin(plan), **by, **_read_columns(plan, named=True)},
        _found(plan, plan.periods, shown),
    )
    figures: dict[str, Expression] = {}
    for place, series in enumerate(plan.query.series):
        of = column(f"s{place}") if len(plan.query.series) > 1 else None
        for number, figure in enumerate(_figures(series, place, of)):
            figures[f"f{place}_{number}"] = figure
    return Select(
        {
            "of_slots": sql("grouping(slot)"),
            "of_labels": sql("grouping(label)") if "label" in by else sql("0"),
            "of_periods": sql("grouping(period)") if "period" in by else sql("0"),
            "is_now": column("period") if "period" in by else sql("1"),
            "begin": column("slot"),
            "of": column("label") if "label" in by else sql("0"),
            **figures,
        },
        labelled,
        group_by=(*by, "slot"),
        rollup=True,
    )


def _found(
    plan: TrendsPlan, periods: list[list[Slot]], shown: Sequence[Label] | None = None
) -> Select:
    """Return the events of all series, with what is read of them.

    With `shown`, they have the number of their label.
    """
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
        elif shown is None or not _is_one_property(query):
            columns[f"k{place}"] = _key(by)
    if shown is not None and _is_one_property(query):
        (by,) = query.breakdown
        assert by.property is not None, "it is one of the event"
        columns["label_number"] = TokenNumber(by.property, tuple(one for (one,) in shown))
    for place, series in enumerate(plan.query.series):
        columns[f"s{place}"] = matches[place] if len(matches) > 1 else sql("1")
        if series.property is not None:
            columns[f"v{place}"] = Number(series.property, series.text_numbers)
    found = Select(columns, Events(ranges, query.where), where=(_any(matches),))
    if persons:
        names = (*columns, *persons)
        found = Select({name: column(name) for name in names}, found, joined=PersonValues(persons))
    if shown is None or not query.breakdown or "label_number" in columns:
        return found
    number = sql(
        "toInt64(indexOf({shown}, [{keys}]))",
        shown=Value([list(one) for one in shown], "Array(Array(String))"),
        keys=_list(_keys(plan)),
    )
    named = {name: column(name) for name in columns if name not in _keys(plan)}
    return Select({**named, "label_number": number}, found)


def _is_one_property(query: TrendsQuery) -> bool:
    return len(query.breakdown) == 1 and query.breakdown[0].property is not None


def top_select(plan: TrendsPlan) -> Select:
    """Return the query of the labels that are shown, a column for each part of the breakdown.

    They are those for which the first series has the highest figures in the present range.
    """
    keys = _keys(plan)
    first = plan.query.series[0]
    return Select(
        {name: column(name) for name in keys},
        _found(plan, [plan.slots]),
        where=(column("s0"),),
        group_by=keys,
        order_by=(
            sql("{rank} DESC NULLS LAST", rank=_rank(first)),
            *map(column, keys),
        ),
        limit=plan.query.top,
    )


def _read_columns(plan: TrendsPlan, *, named: bool) -> dict[str, Expression]:
    names = ["person"] if named else []
    for place, series in enumerate(plan.query.series):
        names += [f"s{place}"] if len(plan.query.series) > 1 else []
        names += [f"v{place}"] if series.property is not None else []
    return {name: column(name) for name in names}


def _keys(plan: TrendsPlan) -> list[str]:
    return [f"k{place}" for place in range(len(plan.query.breakdown))]


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


def _figures(series: TrendSeries, place: int, of: Expression | None) -> Iterator[Expression]:
    """Yield what is measured of a series: the figure's parts, filled up with zeros.

    `of` is 1 for the events of the series; None if all events are.
    """
    parts = list(_parts(series, place, of))
    yield from parts
    yield from [sql("0")] * (COLUMNS_OF_SERIES - len(parts))


def _parts(series: TrendSeries, place: int, of: Expression | None) -> Iterator[Expression]:
    events = sql("count()") if of is None else sql("countIf({of})", of=of)
    match series.measure:
        case "events":
            yield events
            return
        case "persons":
            yield _persons(of)
            return
        case "events_per_person":
            yield events
            yield _persons(of)
            return
    value = column(f"v{place}")
    yield _measured(series, value, of)
    count = (
        sql("count({value})", value=value)
        if of is None
        else sql("countIf({value}, {of})", value=value, of=of)
    )
    yield count
    yield sql("{events} - {count}", events=events, count=count)


def _persons(of: Expression | None) -> Expression:
    return sql("uniqExact(person)") if of is None else sql("uniqExactIf(person, {of})", of=of)


def _measured(series: TrendSeries, value: Expression, of: Expression | None) -> Expression:
    if series.measure == "percentile":
        return _percentile(series.percentile or 0.0, value, of)
    if of is None:
        match series.measure:
            case "minimum":
                return sql("min({value})", value=value)
            case "maximum":
                return sql("max({value})", value=value)
        return sql("sum({value})", value=value)
    match series.measure:
        case "minimum":
            return sql("minIf({value}, {of})", value=value, of=of)
        case "maximum":
            return sql("maxIf({value}, {of})", value=value, of=of)
    return sql("sumIf({value}, {of})", value=value, of=of)


def _percentile(percentile: float, value: Expression, of: Expression | None) -> Expression:
    """Return the least value that this percentage of the values does not exceed.

    `quantileExact` takes the value number floor(level * count), from 0. A level that is less by
    next to nothing makes it the value before where the product is whole, and changes nothing else.
    """
    level = Value(percentile / 100 - 1e-13, "Float64")
    if of is None:
        return sql("quantileExact({level})({value})", level=level, value=value)
    return sql("quantileExactIf({level})({value}, {of})", level=level, value=value, of=of)


def _rank(series: TrendSeries) -> Expression:
    parts = list(_parts(series, 0, None))
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
