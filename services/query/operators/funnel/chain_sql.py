"""A funnel with options as one ClickHouse query; equal to what the stream counts.

Names and values of a definition are bound parameters of the statement, never its text.

The query puts all events of a person that may matter into one array, in order. Each entry is a row
with the events from it to the end of its window. Turn by turn, a chain takes the next event that
satisfies one of the steps that may follow: `place` is the position of that event (0 once the chain
has ended), `last` the step it has reached with it, and `nexts` the mask of the steps that may
follow.
"""

import datetime
from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.operators.funnel import (
    Breakdown,
    Exclusion,
    Funnel,
    FunnelDefinition,
    Step,
    exclusion_spans,
    next_steps,
)
from schemas.sketches.durations import EMPTY, bucket_of, collect
from schemas.value_tokens import to_json
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import Statement, events, fingerprint_sql, holds, token_sql
from services.query.clickhouse.queries import QueryResult
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.funnel.aggregates import (
    DayCounts,
    FunnelAggregates,
    ValueCounts,
)
from services.query.operators.funnel.sql import day_number, floors, groups

_DAY_MS: Final = 86_400_000
_TOTAL: Final = -(2**31)
_COLUMNS: Final = 6  # numbers, after the label
# Labels: all chains, the chains of one value (its token follows), and the rest.
_ALL, _VALUE, _OTHER = "all", "is:", "other"


def chain_statement(
    database: str,
    definition: FunnelDefinition,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
) -> Statement:
    """Return the statement whose result `read_chain_counts` understands.

    It has the entry days from `first` to `last`, and the total over all days.
    """
    bind = Binder()
    window_ms = definition.funnel.window_s * 1_000
    days = f"{bind(day_number(first), 'Int32')} AND {bind(day_number(last), 'Int32')}"
    labels = f"['{_ALL}']"
    if definition.funnel.breakdown:
        labels = f"['{_ALL}', concat('{_VALUE}', value)]"
    text = f"""
WITH {bind(_TOTAL, "Int32")} AS total
SELECT
    if(place <= 1 + {bind(MAX_SHOWN, "UInt8")}, label, '{_OTHER}') AS shown, day, step,
    if(timed, roundDown(took, {bind(floors(window_ms), "Array(Int64)")}), 0) AS time,
    count() AS persons, sum(if(timed, took, 0)) AS sum_ms, sum(chains) AS entries
FROM (
    SELECT
        label, day, step, chains, best.1 + best.2 AS took,
        day != total AND label = '{_ALL}' AS timed,
        dense_rank() OVER (ORDER BY label != '{_ALL}', entered DESC, label) AS place
    FROM (
        SELECT *, countIf(day = total AND step = 1) OVER (PARTITION BY label) AS entered
        FROM (
            SELECT person_id, label, day, step, count() AS chains, min((at, -begin)) AS best
            FROM (
                SELECT *, arrayJoin([entry_day, total]) AS day, arrayJoin({labels}) AS label
                FROM ({reached_sql(database, definition, bind)})
            )
            WHERE day = total OR day BETWEEN {days}
            GROUP BY person_id, label, day, step
        )
    )
)
GROUP BY shown, day, step, time
"""  # noqa: S608
    return Statement(text, bind.parameters)


def reached_sql(database: str, definition: FunnelDefinition, bind: Binder) -> str:
    """Return a table with a row for each step that a chain reached.

    Its columns are `person_id`, `entry_day`, `begin`, `step` (from 1), `at` and `value`, the token
    of the chain's value.
    """
    day_ms = bind(_DAY_MS, "Int64")
    takings = f"takings_{len(definition.funnel.steps)}"
    value = _value(definition.funnel.breakdown, takings, bind)
    return f"""
SELECT
    person_id, begin, taken.1 AS step, taken.2 AS at, {value} AS value,
    toInt32(intDiv(begin - positiveModulo(begin, {day_ms}), {day_ms})) AS entry_day
FROM ({_turns(database, definition, bind)})
ARRAY JOIN {takings} AS taken
"""  # noqa: S608


def _value(breakdown: Breakdown | None, takings: str, bind: Binder) -> str:
    """Return the token of a chain's value, from the events that the chain took."""
    if breakdown is None:
        return "''"
    match breakdown.attribution:
        case "first":
            return f"{takings}[1].3"
        case "last":
            return f"{takings}[-1].3"
        case step:
            return f"arrayFirst(one -> one.1 = {bind(step, 'UInt64')}, {takings}).3"


class _Bound(NamedTuple):
    """The rules of a funnel as placeholders of a statement."""

    bits: str  # the steps, each as a mask
    follows: str  # of each step, those that may come next
    excluded: list[tuple[str, str, str]]  # selector, after and before


def _turns(database: str, definition: FunnelDefinition, bind: Binder) -> str:
    """Return all chains with the events that they take."""
    funnel = definition.funnel
    steps = range(len(funnel.steps))
    bound = _Bound(
        bits=bind([1 << step for step in steps], "Array(UInt64)"),
        follows=bind([next_steps(funnel, step) for step in steps], "Array(UInt64)"),
        excluded=[
            (bind(selector, "UInt8"), bind(after, "UInt64"), bind(before, "UInt64"))
            for selector, after, before in exclusion_spans(funnel)
        ],
    )
    chains = _first_turn(funnel, bound, _entries(database, definition, bind))
    for turn in steps[1:]:
        chains = _next_turn(turn, funnel, bound, chains)
    return chains


def _first_turn(funnel: Funnel, bound: _Bound, entries: str) -> str:
    nexts = (
        f"bitXor(arraySum({bound.bits}), bit_1)" if funnel.order == "any" else f"{bound.follows}[1]"
    )
    return f"""
SELECT *, {nexts} AS nexts_1
FROM (
    SELECT
        *, arrayEnumerate(ats) AS places, toUInt64(1) AS place_1, toUInt64(1) AS last_1,
        {_lowest("fits[1]")} AS bit_1, [(toUInt64(1), begin, tokens[1])] AS takings_1
    FROM ({entries})
)
"""  # noqa: S608


def _next_turn(n: int, funnel: Funnel, bound: _Bound, chains: str) -> str:
    """Add the event that each chain takes after its n-th, which may be the same event.

    Names are numbered, since a new name hides a column of the same name within a SELECT. What is
    used more than once is a column of an inner SELECT: an alias would be computed at each use.
    """
    m = n + 1
    earliest = f"place_{n} + 1" if funnel.once else f"place_{n}"
    near = f"AND i <= place_{n} + 1" if funnel.order == "strict" else ""
    last = str(m) if funnel.order == "any" else f"indexOf({bound.bits}, bit_{m})"
    nexts = f"bitXor(nexts_{n}, bit_{m})" if funnel.order == "any" else f"{bound.follows}[last_{m}]"
    return f"""
SELECT *, {nexts} AS nexts_{m}, if(place_{m} = 0, takings_{n}, arrayPushBack(
    takings_{n}, (last_{m}, ats[place_{m}], tokens[place_{m}])
)) AS takings_{m}
FROM (SELECT *, toUInt64(if(place_{m} = 0, 0, {last})) AS last_{m}
FROM (SELECT *, {_lowest(f"fit_{m}")} AS bit_{m}
FROM (SELECT *, bitAnd(fits[place_{m}], nexts_{n}) AS fit_{m}
FROM (SELECT *, if(end_{n} > 0 AND found_{n} > end_{n}, 0, found_{n}) AS place_{m}
FROM (SELECT *, {_end(n, bound)} AS end_{n}, arrayFirstIndex(
    (fit, i) -> place_{n} > 0 AND i >= {earliest} {near} AND bitAnd(fit, nexts_{n}) > 0,
    fits, places
) AS found_{n}
FROM ({chains}))))))
"""  # noqa: S608


def _end(n: int, bound: _Bound) -> str:
    """Return the position of the first event after the n-th that ends the chain; 0 if none does."""
    if not bound.excluded:
        return "0"
    excluded = " OR ".join(
        f"(bitTest(mask, {selector}) AND last_{n} >= {after} AND last_{n} < {before})"
        for selector, after, before in bound.excluded
    )
    return f"arrayFirstIndex((mask, i) -> i > place_{n} AND ({excluded}), masks, places)"


def _entries(database: str, definition: FunnelDefinition, bind: Binder) -> str:
    """Return a table with a row for each entry: `begin`, and arrays of the events in its window.

    `fits` is the mask of an event's steps, 0 if it has other values of the properties that are held
    constant; `tokens` are those of the breakdown's property.
    """
    funnel = definition.funnel
    selectors: list[Step | Exclusion] = [*funnel.steps, *funnel.exclusions]
    held = f"[{', '.join(token_sql(name, bind) for name in funnel.hold_constant)}]"
    held_order = fingerprint_sql("held") if funnel.hold_constant else "0"
    value_order = fingerprint_sql("[token]") if funnel.breakdown else "0"
    every = bind((1 << len(funnel.steps)) - 1, "UInt64")
    begins = every if funnel.order == "any" else bind(1, "UInt64")
    mask = " + ".join(
        f"bitShiftLeft(toUInt64({holds(selector, bind)}), {number})"
        for number, selector in enumerate(selectors)
    )
    named = (
        f" AND event IN {bind(sorted({selector.event for selector in selectors}), 'Array(String)')}"
    )
    window = bind(funnel.window_s * 1_000, "Int64")
    return f"""
SELECT
    person_id, begin,
    arrayMap(one -> one.1, near) AS ats,
    arrayMap(one -> one.3, near) AS masks,
    arrayMap(one -> if(one.4 = near[1].4, one.2, 0), near) AS fits,
    arrayMap(one -> one.6, near) AS tokens
FROM (
    SELECT
        person_id, line[entry].1 AS begin,
        arrayFilter(one -> one.1 <= begin + {window}, arraySlice(line, entry)) AS near
    FROM (
    SELECT person_id, arraySort(groupArray(
        (at, bitAnd(mask, {every}), mask, {held_order}, {value_order}, token)
    )) AS line
    FROM (
        SELECT
            person_id, toUnixTimestamp64Milli(timestamp) AS at, {mask} AS mask,
            {held} AS held,
            {_token(funnel.breakdown, bind)} AS token
        FROM {events(database, definition.project_id, bind, definition.since_ms)}
            {"" if funnel.order == "strict" else named}
    )
    {"" if funnel.order == "strict" else "WHERE mask > 0"}
    GROUP BY person_id
    )
    ARRAY JOIN arrayFilter(i -> bitAnd(line[i].2, {begins}) > 0, arrayEnumerate(line)) AS entry
)
"""  # noqa: S608


def _token(breakdown: Breakdown | None, bind: Binder) -> str:
    return token_sql(breakdown.property, bind) if breakdown else "''"


def _lowest(bits: str) -> str:
    return f"bitAnd({bits}, bitNot({bits}) + 1)"


def read_chain_counts(
    definition: FunnelDefinition, result: QueryResult, now_ms: int
) -> FunnelAggregates:
    """Read the result of a `chain_statement`."""
    labels, *numbers = result.columns or [[]]
    # No rows may come as no columns.
    table = np.array(numbers, np.int64).reshape(_COLUMNS, -1)
    by_label: dict[str, dict[int, DayCounts]] = {}
    for label in dict.fromkeys(labels):
        own = table[:, [at for at, one in enumerate(labels) if one == label]]
        by_label[label] = _by_day(definition, own)
    days = by_label.pop(_ALL, {})
    nothing = _nothing(len(definition.funnel.steps))
    values: defaultdict[int, dict[str | None, ValueCounts]] = defaultdict(dict)
    for label, of_days in by_label.items():
        value = None if label == _OTHER else to_json(label.removeprefix(_VALUE))
        for day, counts in of_days.items():
            values[day][value] = ValueCounts(counts.reached, counts.entries)
    total = days.pop(_TOTAL, nothing)
    return FunnelAggregates(
        total.reached,
        {day: counts._replace(values=values[day]) for day, counts in days.items()},
        late_dropped=0,
        updated_at=now_ms,
        positions=result.positions,
        entries=total.entries if definition.funnel.entries else [],
        values=values[_TOTAL],
    )


def _by_day(definition: FunnelDefinition, table: NDArray[np.int64]) -> dict[int, DayCounts]:
    """Return the counts of each day (`_TOTAL`: all days), from rows of one label in any order."""
    steps = len(definition.funnel.steps)
    table = table[:, np.lexsort(table[1::-1])]
    days: dict[int, DayCounts] = {}
    for day, step, rows in groups(table[0], table[1]):
        _, _, time, persons, sum_ms, entries = table[:, rows]
        counts = days.setdefault(day, _nothing(steps))
        counts.reached[step - 1] = int(persons.sum())
        counts.entries[step - 1] = int(entries.sum())
        counts.times[step - 1] = collect(bucket_of(time), persons, int(sum_ms.sum()))
    if definition.funnel.entries:
        return days
    return {day: counts._replace(entries=[]) for day, counts in days.items()}


def _nothing(steps: int) -> DayCounts:
    return DayCounts([0] * steps, [EMPTY] * steps, [0] * steps)
