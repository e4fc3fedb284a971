"""A metric by value of a property as a ClickHouse query, equal to what the stream measures.

The query finds the most frequent values of the buckets that are shown (`MetricQuery.ranked`), and
measures those by themselves, and all others together.
"""

from collections import defaultdict
from collections.abc import Collection
from typing import Final

from schemas.operators.metric import WINDOWS, MetricDefinition, buckets_of, length_of
from schemas.value_tokens import to_json
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import (
    EventSource,
    Statement,
    events,
    fingerprint_sql,
    holds,
    token_sql,
)
from services.query.clickhouse.queries import QueryResult
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.metric.aggregates import MetricQuery, ValueWindows, WindowValues
from services.query.operators.metric.sql import measured_sql, number_sql, reader_of

_OTHER: Final = 0  # the place of all values that are not shown by themselves


def values_statement(
    source: EventSource,
    definition: MetricDefinition,
    query: MetricQuery,
    measured: Collection[int],
) -> Statement:
    """Return the statement whose result `read_values` understands.

    `measured` are the buckets that end the windows in which anything was measured.
    """
    metric, bind, buckets = definition.metric, Binder(), buckets_of(definition.metric)
    ranges, of_persons = query.ranked(metric, buckets, measured), metric.measure == "persons"
    current = buckets.number(query.as_of)
    endings = query.endings(buckets, measured) or [current]
    window = WINDOWS[length_of(metric)][-1] if of_persons else query.window
    begin = max(0, buckets.begin(min(endings[0], current) - window + 1))
    end = buckets.begin(max(endings[-1], current) + 1)
    _, columns, figures = measured_sql(metric, bind)
    assert metric.breakdown is not None, "the metric has a breakdown"
    rows = f"""
    SELECT {number_sql(metric, bind)} AS number, timestamp,
        {token_sql(metric.breakdown.property, bind)} AS token{columns}
    FROM {events(source, definition.project_id, bind, definition.since_ms)}
        AND timestamp >= fromUnixTimestamp64Milli({bind(begin, "Int64")})
        AND timestamp < fromUnixTimestamp64Milli({bind(end, "Int64")})
        AND {holds(metric.filter, bind)}"""  # noqa: S608
    if of_persons:
        last = f"argMax(token, (timestamp, {fingerprint_sql('[token]')})) AS last"
        rows = f"SELECT number, person_id, {last} FROM ({rows}) GROUP BY number, person_id"  # noqa: S608
        rows = f"SELECT number, person_id, last AS token FROM ({rows})"  # noqa: S608
    ranked = " OR ".join(
        f"number BETWEEN {bind(first, 'Int64')} AND {bind(last, 'Int64')}" for first, last in ranges
    )
    top = f"""
    SELECT token FROM ({rows}) WHERE {ranked}
    GROUP BY token ORDER BY count() DESC, token LIMIT {MAX_SHOWN}"""  # noqa: S608
    ends = f"""ending BETWEEN {bind(endings[0], "Int64")} AND {bind(endings[-1], "Int64")}
        OR ending = {bind(current, "Int64")}"""
    windows = f"""
    SELECT *, shift, number + shift AS ending, indexOf(shown, token) AS place
    FROM ({rows}) ARRAY JOIN range({bind(window, "UInt16")}) AS shift
    WHERE {ends}"""  # noqa: S608
    if of_persons:
        counts = (f"countIf(nearest < {some})" for some in WINDOWS[length_of(metric)])
        figures = f"[{', '.join(counts)}]"
        windows = f"""
    SELECT ending, person_id, min(shift) AS nearest, argMin(place, shift) AS last
    FROM ({windows}) GROUP BY ending, person_id"""  # noqa: S608
        windows = f"SELECT ending, nearest, last AS place FROM ({windows})"  # noqa: S608
    text = f"""
WITH (SELECT groupArray(token) FROM ({top})) AS shown
SELECT place, if(place = {_OTHER}, '', shown[place]), ending, {figures}
FROM ({windows})
GROUP BY place, ending
ORDER BY place = {_OTHER}, place
"""  # noqa: S608
    return Statement(text, bind.parameters)


def read_values(definition: MetricDefinition, result: QueryResult) -> ValueWindows:
    """Read the result of a `values_statement`."""
    read = reader_of(definition.metric)
    found: defaultdict[str | None, dict[int, WindowValues]] = defaultdict(dict)
    for place, token, ending, *values in zip(*result.columns, strict=True):
        value = None if place == _OTHER else to_json(token)
        found[value][int(ending)] = read(*values)
    return found
