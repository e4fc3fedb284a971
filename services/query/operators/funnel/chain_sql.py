"""A funnel with options as one ClickHouse query; equal to what the stream counts.

Names and values of a definition are bound parameters of the statement, never its text.

Per person all events that matter are one array, in order; each entry is a row with the events from
it to the end of its window, and its chain is one fold over them.
"""

import datetime
from collections import defaultdict
from typing import Final

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
from services.query.clickhouse.events import (
    EventSource,
    Spans,
    Statement,
    entry_periods,
    events,
    fingerprint_sql,
    holds,
    token_sql,
    whole_token_sql,
)
from services.query.clickhouse.queries import QueryResult
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.funnel.aggregates import (
    DayCounts,
    FunnelAggregates,
    ValueCounts,
)
from services.query.operators.funnel.sql import day_number, floors, groups

_TOTAL: Final = -(2**31)
_OVER: Final = -(2**62)  # before any time
_COLUMNS: Final = 8  # numbers, after the label
# Labels: all chains, the chains of one value (its token follows), and the rest.
_ALL, _VALUE, _OTHER = "all", "is:", "other"


def chain_statement(
    source: EventSource,
    definition: FunnelDefinition,
    first: datetime.date = datetime.date.min,
    last: datetime.date = datetime.date.max,
    spans: Spans | None = None,
) -> Statement:
    """Return the statement whose result `read_chain_counts` understands.

    It has the entry days from `first` to `last`, and the total over all days. With `spans`, days
    are those: the first is 1970-01-01.
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
    count() AS persons, sum(if(timed, took, 0)) AS sum_ms, sum(chains) AS entries,
    min(if(timed, took, 0)) AS min_ms, max(if(timed, took, 0)) AS max_ms
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
                FROM ({reached_sql(source, definition, bind, spans)})
            )
            WHERE day = total OR day BETWEEN {days}
            GROUP BY person_id, label, day, step
        )
    )
)
GROUP BY shown, day, step, time
"""  # noqa: S608
    return Statement(text, bind.parameters)


def reached_sql(
    source: EventSource, definition: FunnelDefinition, bind: Binder, spans: Spans | None = None
) -> str:
    """Return a table with a row for each step that a chain reached.

    Its columns are `person_id`, `entry_day`, `begin`, `step` (from 1), `at` and `value`, the token
    of the chain's value.
    """
    entry_day = entry_periods(definition.funnel.timezone, spans, bind).number("begin")
    return f"""
SELECT
    person_id, begin, taken.1 AS step, taken.2 AS at, value, toInt32({entry_day}) AS entry_day
FROM ({chains_sql(source, definition, bind)})
ARRAY JOIN takings AS taken
"""  # noqa: S608


def chains_sql(
    source: EventSource, definition: FunnelDefinition, bind: Binder, token: str | None = None
) -> str:
    """Return a table with a row for each chain.

    Its columns are `person_id`, `begin`, `takings` (the number, time, token and place of each step
    that it took), `value`, the token of the chain's value, and `ended`: whether it can take no
    further step, whatever events come. `token` is an expression for the tokens of events, which are
    otherwise those of the breakdown's property.
    """
    funnel = definition.funnel
    return f"""
SELECT
    person_id, begin, takings, {_value(funnel.breakdown, bind)} AS value,
    {_ended(funnel, bind)} AS ended
FROM (
    SELECT person_id, begin, ats, masks, places, {_chain(funnel, bind)}.4 AS takings
    FROM ({_entries(source, definition, bind, token)})
)
"""  # noqa: S608


def _ended(funnel: Funnel, bind: Binder) -> str:
    """Whether a chain has all steps, or an event after its last one that ended it."""
    ends = [f"takings[-1].1 = {bind(len(funnel.steps), 'UInt64')}"]
    if funnel.order == "strict":
        used = "arrayMap(one -> one.4, takings)"
        ends.append(
            "arrayExists((at, i) -> at > takings[-1].2 OR (at = takings[-1].2 AND at > begin"
            f" AND NOT has({used}, i)), ats, places)"
        )
    excluded = " OR ".join(
        f"(bitTest(mask, {bind(selector, 'UInt8')}) AND takings[-1].1 >= {bind(after, 'UInt64')}"
        f" AND takings[-1].1 < {bind(before, 'UInt64')})"
        for selector, after, before in exclusion_spans(funnel)
    )
    if excluded:
        ends.append(f"arrayExists((mask, at) -> at > takings[-1].2 AND ({excluded}), masks, ats)")
    return f"({' OR '.join(ends)})"


def _value(breakdown: Breakdown | None, bind: Binder) -> str:
    """The token of a chain's value, from what the chain took."""
    if breakdown is None:
        return "''"
    match breakdown.attribution:
        case "first":
            return "takings[1].3"
        case "last":
            return "takings[-1].3"
        case step:
            return f"arrayFirst(one -> one.1 = {bind(step, 'UInt64')}, takings).3"


def _chain(funnel: Funnel, bind: Binder) -> str:
    """A chain from its entry to its end: `(place, last, nexts, takings)`, folded turn by turn.

    A turn takes the next step: at the first moment, from that of the last one on, at which an event
    satisfies a step that may come next, the lowest of those steps. `place` is where its event
    stands among those of the window (0 when the chain is over), `last` how far the chain has come
    with it, `nexts` the steps that may follow, as a mask, and `takings` have the number, time,
    token and place of every step. One expression whatever the number of steps: neither the parser
    nor the planner sees the turns.
    """
    steps = range(len(funnel.steps))
    bits = bind([1 << step for step in steps], "Array(UInt64)")
    if funnel.order == "any":
        every = bind((1 << len(funnel.steps)) - 1, "UInt64")
        last, nexts = "chain.2 + 1", "bitXor(chain.3, bit)"
        first_nexts = f"bitXor({every}, {_lowest('fits[start]')})"
    else:
        follows = bind([next_steps(funnel, step) for step in steps], "Array(UInt64)")
        last, nexts = f"indexOf({bits}, bit)", f"{follows}[last]"
        first_nexts = f"{follows}[1]"
    taken = _let(
        "last",
        f"toUInt64(if(place = 0, 0, {last}))",
        f"""(
            place, last, toUInt64({nexts}), if(
                place = 0, chain.4, arrayPushBack(chain.4, (last, ats[place], tokens[place], place))
            )
        )""",
    )
    free = "AND NOT has(used, i)" if funnel.once else ""
    fitting = f"if(at = moment {free}, bitAnd(fit, chain.3), 0)"
    turn = _let(
        "bit",
        _lowest(
            f"arrayReduce('groupBitOr', arrayMap((fit, at, i) -> {fitting}, fits, ats, places))"
        ),
        _let("place", _place(funnel, bind), taken),
    )
    turn = _let("moment", _next_moment(funnel, bind), turn)
    turn = _let("used", "arrayMap(one -> one.4, chain.4)", turn)
    turns = bind(len(funnel.steps) - 1, "UInt64")
    return f"""arrayFold(
        (chain, _) -> {turn}, range({turns}),
        (start, toUInt64(1), toUInt64({first_nexts}), [(toUInt64(1), begin, tokens[start], start)])
    )"""


def _next_moment(funnel: Funnel, bind: Binder) -> str:
    """When the chain takes its next step; before any event if it is over."""
    free = "AND NOT has(used, i)" if funnel.once else ""
    found = f"""arrayFirstIndex(
        (fit, at, i) -> at >= now AND bitAnd(fit, chain.3) > 0 {free}, fits, ats, places
    )"""
    ends = ["place = 0"]
    spans = [
        (bind(selector, "UInt8"), bind(after, "UInt64"), bind(before, "UInt64"))
        for selector, after, before in exclusion_spans(funnel)
    ]
    if spans:
        excluded = " OR ".join(
            f"(bitTest(mask, {selector}) AND chain.2 >= {after} AND chain.2 < {before})"
            for selector, after, before in spans
        )
        ends.append(
            "arrayExists((mask, fit, at) -> at > now AND at <= ats[place] "
            f"AND bitAnd(fit, chain.3) = 0 AND ({excluded}), masks, fits, ats)"
        )
    if funnel.order == "strict":
        ends.append(
            "arrayExists((at, i) -> at < ats[place] AND (at > now "
            "OR (at = now AND now > begin AND NOT has(used, i))), ats, places)"
        )
    moment = _let("place", found, f"if({' OR '.join(ends)}, {bind(_OVER, 'Int64')}, ats[place])")
    return _let("now", "ats[chain.1]", f"if(chain.1 = 0, {bind(_OVER, 'Int64')}, {moment})")


def _place(funnel: Funnel, bind: Binder) -> str:
    """Where the event stands that the chain takes at a moment, as the step of `bit`.

    Events of one moment are in the order of their values. If an event is one step at most, one that
    satisfies none of the next steps is taken rather than others.
    """
    if not funnel.once:
        fits = "at = moment AND bitAnd(fit, bit) > 0"
        return f"toUInt64(arrayFirstIndex((fit, at) -> {fits}, fits, ats))"
    highest = bind(1 << (len(funnel.steps) - 1), "UInt64")
    later = f"bitAnd(backwards[i], intDiv({highest}, greatest(bit, 1)) - 1)"
    return f"""toUInt64(arraySort(i -> ({later}, i), arrayFilter(
        (i, fit, at) -> at = moment AND bitAnd(fit, bit) > 0 AND NOT has(used, i), places, fits, ats
    ))[1])"""


def _let(name: str, value: str, body: str) -> str:
    """An expression with a name for a value, which is worked out once."""
    return f"arrayMap({name} -> {body}, [{value}])[1]"


def _entries(
    source: EventSource, definition: FunnelDefinition, bind: Binder, token: str | None
) -> str:
    """Return a table with a row for each entry: `begin`, and arrays of the events in its window.

    The window includes all events of the moment at which the entry is; it is the one at `start`.
    `fits` is the mask of an event's steps, and `masks` has its exclusions, too, both 0 if it has
    other values of the properties that are held constant. `backwards` are the steps with the first
    one in the highest bit. `tokens` are those of the breakdown's property.
    """
    funnel = definition.funnel
    selectors: list[Step | Exclusion] = [*funnel.steps, *funnel.exclusions]
    held = f"[{', '.join(whole_token_sql(name, bind) for name in funnel.hold_constant)}]"
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
    backwards = ""
    if funnel.once:
        count = bind(len(funnel.steps), "UInt8")
        backwards = f"""
    arrayMap(fit -> arraySum(
        n -> bitShiftLeft(toUInt64(bitTest(fit, n)), {count} - 1 - n), range({count})
    ), fits) AS backwards,"""
    return f"""
SELECT
    person_id, begin,
    start,
    arrayMap(one -> one.1, near) AS ats,
    arrayMap(one -> if(one.5 = near[start].5, one.4, 0), near) AS masks,
    arrayMap(one -> if(one.5 = near[start].5, one.3, 0), near) AS fits,{backwards}
    arrayMap(one -> one.6, near) AS tokens, arrayEnumerate(near) AS places
FROM (
    SELECT
        person_id, line[entry].1 AS begin,
        toUInt64(entry - arrayFirstIndex(one -> one.1 >= begin, line) + 1) AS start,
        arrayFilter(one -> one.1 BETWEEN begin AND begin + {window}, line) AS near
    FROM (
    SELECT person_id, arraySort(groupArray(
        (at, {value_order}, bitAnd(mask, {every}), mask, {held_order}, token)
    )) AS line
    FROM (
        SELECT
            person_id, toUnixTimestamp64Milli(timestamp) AS at, {mask} AS mask,
            {held} AS held,
            {_token(funnel.breakdown, bind) if token is None else token} AS token
        FROM {events(source, definition.project_id, bind, definition.since_ms)}
            {"" if funnel.order == "strict" else named}
    )
    {"" if funnel.order == "strict" else "WHERE mask > 0"}
    GROUP BY person_id
    )
    ARRAY JOIN arrayFilter(i -> bitAnd(line[i].3, {begins}) > 0, arrayEnumerate(line)) AS entry
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
        _, _, time, persons, sum_ms, entries, min_ms, max_ms = table[:, rows]
        counts = days.setdefault(day, _nothing(steps))
        counts.reached[step - 1] = int(persons.sum())
        counts.entries[step - 1] = int(entries.sum())
        counts.times[step - 1] = collect(
            bucket_of(time), persons, int(sum_ms.sum()), int(min_ms.min()), int(max_ms.max())
        )
    if definition.funnel.entries:
        return days
    return {day: counts._replace(entries=[]) for day, counts in days.items()}


def _nothing(steps: int) -> DayCounts:
    return DayCounts([0] * steps, [EMPTY] * steps, [0] * steps)
