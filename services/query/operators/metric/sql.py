"""A metric as questions to ClickHouse, built from its definition: the twin of the stream's fold.

All is exact here: nothing is sketched, no bucket is let go of, and no event comes too late. An
event counts in each of the windows that have its bucket, told apart by the bucket that ends them.
"""

from collections.abc import Callable
from typing import Final

from schemas.operators.metric import ACTIVE_S, DAY_S, WINDOWS, Metric, MetricDefinition, asked_of
from schemas.properties import stored_name
from schemas.sketches.top_values import MAX_TEXT, value_of
from schemas.time.buckets import Buckets
from services.query.clickhouse.conditions import Binder, Identifier
from services.query.clickhouse.events import Statement, events, holds
from services.query.clickhouse.queries import QueryResult
from services.query.operators.metric.response import MetricQuery, WindowValues


def metric_statement(database: str, definition: MetricDefinition, asked: MetricQuery) -> Statement:
    """Return the statement whose result `read_figures` understands."""
    metric, bind = definition.metric, Binder()
    buckets = Buckets(metric.bucket_s, metric.timezone)
    window = WINDOWS[metric.bucket_s][-1] if metric.measure == "persons" else asked.window
    first, last = asked.numbers(buckets)
    current = buckets.number(asked.as_of)
    begin = max(0, buckets.begin(min(first, current) - window + 1))
    end = buckets.begin(current + 1)
    distinct, columns, figures = _measured(metric, bind)
    text = f"""
SELECT number + shift AS ending, {figures}
FROM (
    SELECT {distinct} {_number(metric, bind)} AS number{columns}
    FROM {events(database, definition.project_id, bind, definition.since_ms)}
        AND timestamp >= fromUnixTimestamp64Milli({bind(begin, "Int64")})
        AND timestamp < fromUnixTimestamp64Milli({bind(end, "Int64")})
        AND {holds(metric.filter, bind)}
) ARRAY JOIN range({bind(window, "UInt16")}) AS shift
GROUP BY ending
HAVING ending BETWEEN {bind(first, "Int64")} AND {bind(last, "Int64")}
    OR ending = {bind(current, "Int64")}
ORDER BY ending DESC
LIMIT {bind(asked.limit + 1, "UInt32")}
"""  # noqa: S608
    return Statement(text, bind.parameters)


def read_figures(definition: MetricDefinition, answer: QueryResult) -> dict[int, WindowValues]:
    """Read the answer to a `metric_statement`: figures by the bucket that ends their window."""
    read = _reader(definition.metric)
    return {int(ending): read(*figures) for ending, *figures in zip(*answer.columns, strict=True)}


def seen_statement(database: str, definition: MetricDefinition, as_of: int) -> Statement:
    """Return the statement whose result `read_seen` understands."""
    bind = Binder()
    since = as_of // 1_000 - ACTIVE_S[-1]
    text = f"""
SELECT second, count()
FROM (
    SELECT intDiv(toUnixTimestamp64Milli(max(timestamp)), 1000) AS second
    FROM {events(database, definition.project_id, bind, definition.since_ms)}
        AND timestamp >= fromUnixTimestamp64Milli({bind(1_000 * since, "Int64")})
        AND {holds(definition.metric.filter, bind)}
    GROUP BY person_id
)
GROUP BY second
"""  # noqa: S608
    return Statement(text, bind.parameters)


def read_seen(answer: QueryResult) -> dict[int, int]:
    """Read the answer to a `seen_statement`: persons by the second they were last active in."""
    return {int(second): int(persons) for second, persons in zip(*answer.columns, strict=True)}


def _number(metric: Metric, bind: Binder) -> str:
    """The number of the bucket that an event lies in, as in `schemas.time.buckets`."""
    if metric.bucket_s == DAY_S:
        zone = bind(metric.timezone, "String")
        return f"toInt64(toInt32(toDate32(toTimeZone(timestamp, {zone}))))"
    return f"intDiv(toUnixTimestamp64Milli(timestamp), {bind(1_000 * metric.bucket_s, 'Int64')})"


def _measured(metric: Metric, bind: Binder) -> tuple[str, str, str]:
    """Whether rows are distinct, the columns that they need, and what is measured of them."""
    if metric.measure == "persons":
        windows = WINDOWS[metric.bucket_s]
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
    figures = f"count(), countIf(isNull(value)), sum(value), min(value), max(value), {percentiles}"
    return "", f", {_numeric(value)} AS value", figures


def _numeric(value: str) -> str:
    """A number as a 64-bit float, null for what is none."""
    return f"coalesce(toFloat64({value}.:Int64), toFloat64({value}.:UInt64), {value}.:Float64)"


def _key(value: str) -> str:
    """What tells values apart, as `top_values.key_of` does; null for what is none."""
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


def _reader(metric: Metric) -> Callable[..., WindowValues]:
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
