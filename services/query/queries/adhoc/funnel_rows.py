"""The chains of a funnel query as rows, which its figures and its persons are read from.

A row is of a person, and of the chains that are counted together: those of the whole range, those
of one label, or those of one day. It has the columns

- `person_id`,
- `counted`: what it is counted for, as pairs of a day since 1970 (`TOTAL`: the whole range) and a
  label (as in `labels`),
- `times`: how long (ms) the first chain to reach each step took to it; -1 if none did,
- `still`: whether the window of any of the chains is open, so that it may go on,
- `chains`: how many of the chains reached each step; empty for plain funnels.

The chains of plain funnels are not made one by one: see `services.query.operators.funnel.sql`, of
which this is a variant. Events of equal times are in the order of the steps there, too.
"""

from collections.abc import Sequence
from typing import Final

from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import Days, EventSource, events, holds
from services.query.clickhouse.printer import TokenSql
from services.query.operators.funnel.chain_sql import chains_sql
from services.query.queries.adhoc.funnel_plan import FunnelPlan
from services.query.queries.adhoc.labels import EVERY, number_sql

TOTAL: Final = -(2**31)
_UNSET: Final = -(2**63)
_NEVER: Final = 2**62
# A moment is the time, the step (5 bits), and the label of a first step (7 bits).
_LABEL_BITS: Final = 7
_STEP_BITS: Final = 5
_AT: Final = f"bitShiftRight(moment, {_STEP_BITS + _LABEL_BITS})"
_STEP: Final = f"bitAnd(bitShiftRight(moment, {_LABEL_BITS}), {2**_STEP_BITS - 1})"
_LABEL: Final = f"bitAnd(moment, {2**_LABEL_BITS - 1})"


def rows_sql(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return the table of a plan's rows; `shown` are the tokens of the labels that are shown."""
    rows = _plain_rows if plan.is_plain else _chain_rows
    return rows(source, plan, token, shown, bind)


# ── plain funnels ────────────────────────────────────────────────────────────────────────────────


def _plain_rows(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    chains = _first_step(plan, _keys(source, plan, token, shown, bind), bind)
    steps = len(plan.definition.funnel.steps)
    for number in range(1, steps):
        chains = _next_step(number, chains, plan, bind)
    return f"""
SELECT
    person_id, counted, {_times(steps)} AS times, []::Array(UInt64) AS chains,
    latest + {bind(plan.window_ms, "Int64")} >= {bind(plan.until, "Int64")} AS still
FROM ({chains})
"""  # noqa: S608 (of placeholders)


def _moments(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return a table of each person's `moments`, in order, and the `firsts` that begin chains."""
    steps = plan.definition.funnel.steps
    names = sorted({step.event for step in steps})
    label = number_sql(token(bind), shown, bind) if plan.label is not None else "0"

    def moment(number: int) -> str:
        low = label if number == 0 else "0"
        return f"bitShiftLeft(at, {_STEP_BITS + _LABEL_BITS}) + {number << _LABEL_BITS} + {low}"

    matches = [holds(step, bind) for step in steps]
    if len(names) == len(steps):  # an event is one step at most
        cases = ", ".join(f"{match}, {moment(at)}" for at, match in enumerate(matches))
        found = f"groupArrayIf(moment, moment != {_UNSET})"
        of_event = f"multiIf({cases}, {_UNSET})"
    else:
        cases = ", ".join(
            f"if({match}, {moment(at)}, {_UNSET})" for at, match in enumerate(matches)
        )
        found = "groupArrayArray(moment)"
        of_event = f"arrayFilter(one -> one != {_UNSET}, [{cases}])"
    begin, end = bind(plan.begin, "Int64"), bind(plan.end, "Int64")
    return f"""
SELECT
    person_id, arraySort({found}) AS moments,
    arrayFilter(moment -> {_STEP} = 0 AND {_AT} >= {begin} AND {_AT} < {end}, moments) AS firsts
FROM (
    SELECT person_id, toUnixTimestamp64Milli(timestamp) AS at, {of_event} AS moment
    FROM {events(source, plan.definition.project_id, bind)}
        AND event IN {bind(names, "Array(String)")}
)
GROUP BY person_id
HAVING notEmpty(firsts)
"""  # noqa: S608 (of placeholders)


def _keys(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return a table with a row for each `key` of a person: what it is counted for, and its chains.

    Those are the chains that begin from `key.2` to `key.3` with the label `key.4`. If all of a
    person's chains begin on one day, the row of the whole range is that of the day as well; and
    likewise for labels.
    """
    zone = Days(plan.definition.funnel.timezone, bind)
    begin, end = bind(plan.begin, "Int64"), bind(plan.end, "Int64")
    total, every = f"toInt32({TOTAL})", f"toInt64({EVERY})"
    by_label = "[]::Array(Int64)"
    if plan.label is not None:
        by_label = f"arrayDistinct(arrayMap(moment -> toInt64({_LABEL}), firsts))"
    return f"""
SELECT person_id, moments, key.1 AS counted, key.2 AS first, key.3 AS last, key.4 AS label
FROM (
    SELECT
        person_id, moments,
        arrayDistinct(arrayMap(moment -> toInt64({zone.number(_AT)}), firsts)) AS days,
        {by_label} AS labels,
        arrayMap(day -> (toInt32(day), {every}), days) AS of_days,
        arrayMap(label -> ({total}, label), labels) AS of_labels,
        arrayConcat(
            [(
                arrayConcat(
                    [({total}, {every})],
                    if(length(days) = 1, of_days, []), if(length(labels) = 1, of_labels, [])
                ),
                {begin}, {end}, {every}
            )],
            if(length(labels) > 1, arrayMap(one -> ([one], {begin}, {end}, one.2), of_labels), []),
            if(length(days) > 1, arrayMap(
                (one, day) -> ([one], {zone.begin("day")}, {zone.begin("(day + 1)")}, {every}),
                of_days, days
            ), [])
        ) AS keys
    FROM ({_moments(source, plan, token, shown, bind)})
)
ARRAY JOIN keys AS key
"""  # noqa: S608 (of placeholders)


def _first_step(plan: FunnelPlan, keys: str, bind: Binder) -> str:
    """Add to each row the moments that it needs, and the chains that begin at its first steps."""
    return f"""
SELECT
    person_id, counted, CAST([], 'Array(Int64)') AS times_0,
    arrayMap(moment -> {_AT}, near) AS ats, arrayMap(moment -> {_STEP}, near) AS steps,
    arrayFill(start -> start != {_UNSET}, arrayMap(
        (moment, at, step) -> if(
            step = 0 AND at < last AND (label = {EVERY} OR {_LABEL} = label), at, {_UNSET}
        ), near, ats, steps
    )) AS starts_1,
    arrayMax(starts_1) AS latest
FROM (
    SELECT person_id, counted, last, label, arrayFilter(
        moment -> {_AT} BETWEEN first AND last + {bind(plan.window_ms, "Int64")}, moments
    ) AS near
    FROM ({keys})
)
"""  # noqa: S608 (of placeholders)


def _next_step(number: int, chains: str, plan: FunnelPlan, bind: Binder) -> str:
    """Add the time to step `number`, and continue its chains to the next step."""
    window = bind(plan.window_ms, "Int64")
    return f"""
SELECT
    person_id, counted, ats, steps, latest, {_times(number)} AS times_{number},
    arrayFill(start -> start != {_UNSET}, arrayMap(
        (at, step, start) -> if(step = {number} AND at - {window} <= start, start, {_UNSET}),
        ats, steps, starts_{number}
    )) AS starts_{number + 1}
FROM ({chains})
"""  # noqa: S608 (of placeholders)


def _times(number: int) -> str:
    starts, reached = f"starts_{number}", f"reached_{number}"
    return f"""arrayPushBack(times_{number - 1}, if(
        (arrayFirstIndex(start -> start != {_UNSET}, {starts}) AS {reached}) = 0, -1,
        ats[{reached}] - {starts}[{reached}]
    ))"""


# ── funnels with options ─────────────────────────────────────────────────────────────────────────


def _chain_rows(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    steps = bind(len(plan.definition.funnel.steps), "UInt16")
    day = f"toInt32({Days(plan.definition.funnel.timezone, bind).number('begin')})"
    total, every = f"toInt32({TOTAL})", f"toInt64({EVERY})"
    keys = [f"({total}, {every})", f"({day}, {every})"]
    if plan.label is not None:
        keys.append(f"({total}, {number_sql('value', shown, bind)})")
    return f"""
SELECT
    person_id, [key] AS counted, chains, still,
    arrayMap(one -> if(one.1 = {_NEVER}, -1, one.1 + one.2), best) AS times
FROM (
    SELECT
        person_id, key, minForEach(firsts) AS best, sumForEach(has) AS chains, max(may) AS still
    FROM (
        SELECT
            person_id, arrayJoin([{", ".join(keys)}]) AS key,
            arrayMap(
                n -> arrayFirst(one -> one.1 = n + 1, takings).2, range({steps})
            ) AS reached,
            arrayMap(n -> arrayExists(one -> one.1 = n + 1, takings), range({steps})) AS has,
            arrayMap(
                (at, there) -> if(there, (at, -begin), (toInt64({_NEVER}), toInt64(0))),
                reached, has
            ) AS firsts,
            NOT ended AND begin + {bind(plan.window_ms, "Int64")} >= {bind(plan.until, "Int64")}
                AS may
        FROM ({entered_sql(source, plan, token, bind)})
    )
    GROUP BY person_id, key
)
"""  # noqa: S608 (of placeholders)


def entered_sql(source: EventSource, plan: FunnelPlan, token: TokenSql, bind: Binder) -> str:
    """Return the table of `chains_sql` for the chains that begin in the range."""
    own = token(bind) if plan.label is not None else None
    return f"""
SELECT * FROM ({chains_sql(source, plan.definition, bind, own)})
WHERE begin >= {bind(plan.begin, "Int64")} AND begin < {bind(plan.end, "Int64")}
"""  # noqa: S608 (of placeholders)
