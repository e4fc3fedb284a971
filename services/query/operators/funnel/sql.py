"""A funnel without options as one ClickHouse query; equal to what the stream counts.

Names and values of a definition are bound parameters of the statement, never its text.

The query sorts the moments of all steps of a person into one array. A moment is `time * 32 + step`,
so equal times are in the order of the steps. Each entry day has a row, and so has the total, which
includes every day. Step by step, `starts` has for every moment the start of the latest chain that
has reached the step by then: at a moment of the step it is that of the step before, if the window
is still open; at every other moment it stays. The step is reached where `starts` is first set.
`windowFunnel` gives the same steps, but not the times.
"""

import datetime
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.operators.funnel import FunnelDefinition
from schemas.sketches.durations import EDGES, EMPTY, bucket_of, collect
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import (
    EventSource,
    Spans,
    Statement,
    entry_periods,
    events,
    holds,
)
from services.query.clickhouse.queries import QueryResult
from services.query.operators.funnel.aggregates import DayCounts, FunnelAggregates

_EPOCH: Final = datetime.date(1970, 1, 1)
_STEP_BITS: Final = 5
_AT: Final = f"bitShiftRight(moment, {_STEP_BITS})"
_STEP: Final = f"bitAnd(moment, {2**_STEP_BITS - 1})"
_UNSET: Final = -(2**63)  # before any time, by more than any window
_TOTAL: Final = -(2**31)
_COLUMNS: Final = 7


def funnel_statement(
    source: EventSource,
    definition: FunnelDefinition,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
    spans: Spans | None = None,
) -> Statement:
    """Return the statement whose result `read_counts` understands.

    It has the entry days from `first` to `last`, and the total over all days. With `spans`, days
    are those: the first is 1970-01-01.
    """
    bind = Binder()
    window_ms = definition.funnel.window_s * 1_000
    text = f"""
WITH {constants(definition, bind)}
SELECT day, step, if(day = total, 0, roundDown(took, {bind(floors(window_ms), "Array(Int64)")}))
    AS time, count() AS persons, sum(took) AS sum_ms, min(took) AS min_ms, max(took) AS max_ms
FROM ({times_sql(source, definition, first, last, bind, spans)})
ARRAY JOIN times AS took, arrayEnumerate(times) AS step
WHERE took >= 0
GROUP BY day, step, time
"""  # noqa: S608
    return Statement(text, bind.parameters)


def constants(definition: FunnelDefinition, bind: Binder) -> str:
    """Return the WITH clause that `times_sql` needs."""
    window_ms = definition.funnel.window_s * 1_000
    return f"""
    {bind(_UNSET, "Int64")} AS unset, {bind(_TOTAL, "Int32")} AS total,
    {bind(window_ms, "Int64")} AS window
"""


def times_sql(
    source: EventSource,
    definition: FunnelDefinition,
    first: datetime.date,
    last: datetime.date,
    bind: Binder,
    spans: Spans | None = None,
) -> str:
    """Return a table with a row for each person's entry day, and one for the total.

    Its columns are `person_id`, `day` and `times`: those to the steps, negative for steps that were
    not reached.
    """
    steps = len(definition.funnel.steps)
    chains = _first_step(_entries(source, definition, first, last, bind, spans))
    for number in range(1, steps):
        chains = _next_step(number, chains)
    return f"SELECT person_id, day, {_times(steps)} AS times FROM ({chains})"  # noqa: S608


def _entries(
    source: EventSource,
    definition: FunnelDefinition,
    first: datetime.date,
    last: datetime.date,
    bind: Binder,
    spans: Spans | None,
) -> str:
    """Return a table with a row for each person's entry day and one for the total: `moments`.

    `day_begin` and `day_end` are the times between which the day lies, without the latter.
    """
    steps = definition.funnel.steps
    zone = entry_periods(definition.funnel.timezone, spans, bind)
    moments = ", ".join(
        f"if({holds(step, bind)}, bitShiftLeft(at, {_STEP_BITS}) + {number}, unset)"
        for number, step in enumerate(steps)
    )
    names = bind(sorted({step.event for step in steps}), "Array(String)")
    days = f"{bind(day_number(first), 'Int32')} AND {bind(day_number(last), 'Int32')}"
    return f"""
SELECT
    person_id, day, moments, toInt64(day) AS number,
    {zone.begin("number")} AS day_begin, {zone.begin("(number + 1)")} AS day_end
FROM (
    SELECT
        person_id,
        arraySort(groupArrayArray(arrayFilter(moment -> moment != unset, [{moments}]))) AS moments,
        arrayDistinct(arrayMap(
            moment -> toInt32({zone.number(_AT)}), arrayFilter(moment -> {_STEP} = 0, moments)
        )) AS entries
    FROM (
        SELECT person_id, event, properties, toUnixTimestamp64Milli(timestamp) AS at
        FROM {events(source, definition.project_id, bind, definition.since_ms)}
            AND event IN {names}
    )
    GROUP BY person_id
    HAVING notEmpty(entries)
)
ARRAY JOIN arrayPushFront(arrayFilter(entry -> entry BETWEEN {days}, entries), total) AS day
"""  # noqa: S608


def _first_step(entries: str) -> str:
    """Add to each row the moments that it needs, and the chains that begin at its first steps."""
    return f"""
SELECT
    person_id, day, ats, steps, CAST([], 'Array(Int64)') AS times_0,
    arrayFill(start -> start != unset, arrayMap(
        (at, step) -> if(
            step = 0 AND (day = total OR (at >= day_begin AND at < day_end)), at, unset
        ), ats, steps
    )) AS starts_1
FROM (
    SELECT
        person_id, day, day_begin, day_end,
        arrayMap(moment -> {_AT}, near) AS ats, arrayMap(moment -> {_STEP}, near) AS steps
    FROM (
        SELECT person_id, day, day_begin, day_end, if(day = total, moments, arrayFilter(
            moment -> {_AT} BETWEEN day_begin AND day_end + window, moments
        )) AS near
        FROM ({entries})
    )
)
"""  # noqa: S608


def _next_step(number: int, chains: str) -> str:
    """Add the time to step `number`, and continue its chains to the next step.

    Names are numbered, since a new name hides a column of the same name within a SELECT.
    """
    return f"""
SELECT
    person_id, day, ats, steps, {_times(number)} AS times_{number},
    arrayFill(start -> start != unset, arrayMap(
        (at, step, start) -> if(step = {number} AND at - window <= start, start, unset),
        ats, steps, starts_{number}
    )) AS starts_{number + 1}
FROM ({chains})
"""  # noqa: S608


def _times(number: int) -> str:
    starts, reached = f"starts_{number}", f"reached_{number}"
    return f"""arrayPushBack(times_{number - 1}, if(
        (arrayFirstIndex(start -> start != unset, {starts}) AS {reached}) = 0, -1,
        ats[{reached}] - {starts}[{reached}]
    ))"""


def read_counts(definition: FunnelDefinition, result: QueryResult, now_ms: int) -> FunnelAggregates:
    """Read the result of a `funnel_statement`."""
    steps = len(definition.funnel.steps)
    table = np.array(result.columns, np.int64).reshape(
        _COLUMNS, -1
    )  # no rows may come as no columns
    table = table[:, np.lexsort(table[1::-1])]
    total = [0] * steps
    days: dict[int, DayCounts] = {}
    for day, step, rows in groups(table[0], table[1]):
        _, _, time, persons, sum_ms, min_ms, max_ms = table[:, rows]
        reached = int(persons.sum())
        if day == _TOTAL:
            total[step - 1] = reached
            continue
        counts = days.setdefault(day, DayCounts([0] * steps, [EMPTY] * steps, []))
        counts.reached[step - 1] = reached
        counts.times[step - 1] = collect(
            bucket_of(time), persons, int(sum_ms.sum()), int(min_ms.min()), int(max_ms.max())
        )
    return FunnelAggregates(
        total, days, late_dropped=0, updated_at=now_ms, positions=result.positions
    )


def groups(day: NDArray[np.int64], step: NDArray[np.int64]) -> Iterator[tuple[int, int, slice]]:
    """Return the runs of rows with equal day and step."""
    begins = np.flatnonzero(np.diff(day, prepend=0) | np.diff(step, prepend=0)).tolist()
    for begin, end in pairwise([*begins, len(day)]):
        yield int(day[begin]), int(step[begin]), slice(begin, end)


def day_number(day: datetime.date) -> int:
    """Return the number of days from 1970 to a day."""
    return (day - _EPOCH).days


def floors(window_ms: int) -> list[int]:
    """Return the least time of each bucket, by which ClickHouse replaces the times in it."""
    floors = [0, *(np.unique(EDGES)[:-1] + 1).tolist()]
    return [floor for floor in floors if floor <= window_ms]
