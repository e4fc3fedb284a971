"""A metric as ClickHouse queries, built from its definition; equal to what the stream measures.

Everything is exact: nothing is sketched. The buckets are those that the stream keeps, the newest
1,440. An event counts in each window that includes its bucket; a window is named by the bucket that
ends it.
"""

from collections.abc import Callable
from typing import Final

from schemas.operators.metric import (
    ACTIVE_S,
    KEPT,
    WINDOWS,
    Metric,
    MetricDefinition,
    asked_of,
    buckets_of,
    length_of,
)
from schemas.properties import stored_name
from schemas.sketches.top_values import MAX_TEXT, value_of
from schemas.time.buckets import DAY_S
from services.query.clickhouse.conditions import Binder, Identifier
from services.query.clickhouse.events import (
    EventSource,
    Statement,
    day_sql,
    events,
    holds,
    period_sql,
)
from services.query.clickhouse.queries import QueryResult
from services.query.operators.metric.aggregates import MetricQuery, WindowValues


def metric_statement(
    source: EventSource, definition: MetricDefinition, query: MetricQuery
) -> Statement:
    """Return the statement whose result `read_windows` and `read_kept_since` understand."""
    metric, bind = definition.metric, Binder()
    buckets = buckets_of(metric)
    of_persons = metric.measure == "persons"
    window = WINDOWS[length_of(metric)][-1] if of_persons else query.window
    # A window of persons is counted when its bucket is, and needs no other one.
    kept = KEPT if of_persons else KEPT - query.window + 1
    first, last = query.numbers(buckets)
    current = buckets.number(query.as_of)
    begin = max(0, buckets.begin(min(first, current) - window + 1))
    end = buckets.begin(current + 1)
    distinct, columns, measured = measured_sql(metric, bind)
    text = f"""
WITH ({_newest(source, definition, bind)}) AS newest
SELECT number + shift AS ending, {measured}, newest
FROM (
    SELECT {distinct} {number_sql(metric, bind)} AS number{columns}
    FROM {events(source, definition.project_id, bind, definition.since_ms)}
        AND timestamp >= fromUnixTimestamp64Milli({bind(begin, "Int64")})
        AND timestamp < fromUnixTimestamp64Milli({bind(end, "Int64")})
        AND {holds(metric.filter, bind)}
) ARRAY JOIN range({bind(window, "UInt16")}) AS shift
GROUP BY ending
HAVING ending BETWEEN {bind(first, "Int64")} AND {bind(last, "Int64")}
    AND ending > newest - {bind(kept, "Int64")}
    OR ending = {bind(current, "Int64")}
ORDER BY ending DESC
LIMIT {bind(query.limit + 1, "UInt32")}
"""  # noqa: S608
    return Statement(text, bind.parameters)


def read_windows(definition: MetricDefinition, result: QueryResult) -> dict[int, WindowValues]:
    """Read the result of a `metric_statement`: windows by the bucket that ends them."""
    read = reader_of(definition.metric)
    return {int(ending): read(*values) for ending, *values, _ in zip(*result.columns, strict=True)}


def newest_statement(source: EventSource, definition: MetricDefinition) -> Statement:
    """Return the statement whose result `read_kept_since` understands, too."""
    bind = Binder()
    return Statement(f"{_newest(source, definition, bind)}\nHAVING count() > 0", bind.parameters)


def read_kept_since(definition: MetricDefinition, result: QueryResult) -> int | None:
    """Return when the first bucket begins (ms) that the stream keeps; None if there is no row."""
    if not result.columns or not len(result.columns[-1]):
        return None
    newest = int(result.columns[-1][0])
    return buckets_of(definition.metric).begin(newest - KEPT + 1)


def _newest(source: EventSource, definition: MetricDefinition, bind: Binder) -> str:
    return f"""
    SELECT max({number_sql(definition.metric, bind)}) AS newest
    FROM {events(source, definition.project_id, bind, definition.since_ms)}
        AND {holds(definition.metric.filter, bind)}"""  # noqa: S608


def seen_statement(source: EventSource, definition: MetricDefinition, as_of: int) -> Statement:
    """Return the statement whose result `read_seen` understands."""
    bind = Binder()
    since = as_of // 1_000 - ACTIVE_S[-1]
    text = f"""
SELECT second, count()
FROM (
    SELECT intDiv(toUnixTimestamp64Milli(max(timestamp)), 1000) AS second
    FROM {events(source, definition.project_id, bind, definition.since_ms)}
        AND timestamp >= fromUnixTimestamp64Milli({bind(1_000 * since, "Int64")})
        AND {holds(definition.metric.filter, bind)}
    GROUP BY person_id
)
GROUP BY second
"""  # noqa: S608
    return Statement(text, bind.parameters)


def read_seen(result: QueryResult) -> dict[int, int]:
    """Read the result of a `seen_statement`: persons by the second of their last activity."""
    return {int(second): int(persons) for second, persons in zip(*result.columns, strict=True)}


def number_sql(metric: Metric, bind: Binder) -> str:
    """Return an expression for the number of an event's bucket, as in `schemas.time.buckets`."""
    length = length_of(metric)
    if isinstance(length, str):
        return f"toInt64({period_sql(length, metric.timezone, metric.week_start, bind)})"
    if length == DAY_S:
        return day_sql(metric.timezone, bind)
    return f"intDiv(toUnixTimestamp64Milli(timestamp), {bind(1_000 * length, 'Int64')})"


def measured_sql(metric: Metric, bind: Binder) -> tuple[str, str, str]:
    """Return whether rows are distinct, the columns that they need, and what is measured."""
    if metric.measure == "persons":
        windows = WINDOWS[length_of(metric)]
        counts = ", ".join(f"uniqExactIf(person_id, shift < {window})" for window in windows)
        return "DISTINCT", ", person_id", f"[{counts}]"
    if metric.by_event:
        return "", ", concat('s', event) AS key", _top(metric, bind)
    if metric.property is None:
        return "", "", "count()"
    name = Identifier(stored_name(metric.property))
    value = f"properties.{bind(name, 'Identifier')}"
    if metric.measure == "top":
        return "", f", {_key(value)} AS key", _top(metric, bind)
    permilles = [round(10 * percent) for percent in asked_of(metric)]
    place = "toUInt64(intDiv(count(value) * permille + 999, 1000))"
    in_order = "arraySort(groupArray(value))"
    percentiles = (
        f"arrayMap(permille -> {in_order}[{place}], {bind(permilles, 'Array(UInt32)')})"
        if metric.measure == "percentiles"
        else "[]"
    )
    measured = f"count(), countIf(isNull(value)), sum(value), min(value), max(value), {percentiles}"
    return "", f", {_numeric(value)} AS value", measured


def _numeric(value: str) -> str:
    """Return a number as a 64-bit float; null if the value is no number."""
    return f"coalesce(toFloat64({value}.:Int64), toFloat64({value}.:UInt64), {value}.:Float64)"


def _key(value: str) -> str:
    """Return text that is the same for equal values, as `top_values.key_of`; null for no value."""
    whole = f"abs({value}.:Float64) < {_EXACT} AND trunc({value}.:Float64) = {value}.:Float64"
    number = f"if({whole}, toString(toInt64({value}.:Float64)), toString({value}.:Float64))"
    return (
        f"coalesce(concat('s', leftUTF8({value}.:String, {MAX_TEXT})), "
        f"concat('b', toString(toUInt8({value}.:Bool))), "
        f"concat('n', toString({value}.:Int64)), concat('n', toString({value}.:UInt64)), "
        f"concat('n', {number}))"
    )


_EXACT: Final = "9007199254740992."  # below it, whole floats are written as whole numbers


def _top(metric: Metric, bind: Binder) -> str:
    counts = "sumMapIf(map(assumeNotNull(key), toUInt64(1)), isNotNull(key))"
    pairs = f"arrayZip(mapKeys({counts}), mapValues({counts}))"
    in_order = f"arraySort(pair -> (-toInt64(pair.2), pair.1), {pairs})"
    limit = bind(metric.limit, "UInt16")
    return f"count(), countIf(isNull(key)), arraySlice({in_order}, 1, {limit})"


def reader_of(metric: Metric) -> Callable[..., WindowValues]:
    """Return a function of the columns that are measured (`measured_sql`)."""
    if metric.measure == "persons":
        return lambda persons: WindowValues(persons=[int(count) for count in persons])
    if metric.measure == "top" or metric.by_event:
        return _read_top
    if metric.property is None:
        return lambda events: WindowValues(int(events))
    return _read_numbers


def _read_numbers(
    events: int,
    unmeasured: int,
    sum_of: float | None,
    minimum: float | None,
    maximum: float | None,
    percentiles: list[float],
) -> WindowValues:
    shown = percentiles if events > unmeasured else []
    return WindowValues(int(events), int(unmeasured), sum_of or 0.0, minimum, maximum, shown)


def _read_top(events: int, unmeasured: int, top: list[tuple[str, int]]) -> WindowValues:
    values = [(value_of(key), int(count)) for key, count in top]
    other = int(events) - int(unmeasured) - sum(count for _, count in values)
    return WindowValues(int(events), int(unmeasured), top=values, other=other)
