"""The chains of a funnel query as rows, which its figures and its persons are read from.

`rows_sql` returns a table with a row for a person and a `key`: what the person is counted for, as a
day since 1970 (`TOTAL`: the whole range) and a label (as in `labels`). Its other columns are

- `time_1`, `time_2`, …: how long (ms) the first chain to reach each step took to it; -1 if none
  did,
- `chains_1`, …: how many chains reached each step,
- `still`: whether the window of any of the chains is open, so that it may go on.
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
_NEVER: Final = 2**62
_UNSET: Final = -(2**63)
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
    chains = _plain_chains if plan.is_plain else _chains
    steps = range(1, len(plan.definition.funnel.steps) + 1)
    day = f"toInt32({Days(plan.definition.funnel.timezone, bind).number('begin')})"
    total, every = f"toInt32({TOTAL})", f"toInt64({EVERY})"
    keys = [f"({total}, {every})", f"({day}, {every})"]
    if plan.label is not None:
        keys.append(f"({total}, label)")
    best = ", ".join(f"min((at_{step}, -begin)) AS best_{step}" for step in steps)
    times = ", ".join(
        f"if(best_{step}.1 = {_NEVER}, -1, best_{step}.1 + best_{step}.2) AS time_{step}"
        for step in steps
    )
    counts = ", ".join(f"countIf(at_{step} != {_NEVER}) AS chains_{step}" for step in steps)
    window, until = bind(plan.window_ms, "Int64"), bind(plan.until, "Int64")
    return f"""
SELECT
    person_id, key, {best}, {times}, {counts},
    max(NOT ended AND begin + {window} >= {until}) AS still
FROM (
    SELECT *, arrayJoin([{", ".join(keys)}]) AS key
    FROM ({chains(source, plan, token, shown, bind)})
)
GROUP BY person_id, key
"""  # noqa: S608 (of placeholders)


def entered_sql(source: EventSource, plan: FunnelPlan, token: TokenSql, bind: Binder) -> str:
    """Return the table of `chains_sql` for the chains that begin in the range."""
    own = token(bind) if plan.label is not None else None
    return f"""
SELECT * FROM ({chains_sql(source, plan.definition, bind, own)})
WHERE begin >= {bind(plan.begin, "Int64")} AND begin < {bind(plan.end, "Int64")}
"""  # noqa: S608 (of placeholders)


def _chains(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return a row for each chain: `person_id`, `begin`, `label`, `ended` and its steps' times.

    `at_1` is the time of the first step, and so on; `_NEVER` for steps that it has not reached.
    """
    ats = ", ".join(
        f"if(arrayExists(one -> one.1 = {step}, takings),"
        f" arrayFirst(one -> one.1 = {step}, takings).2, {_NEVER}) AS at_{step}"
        for step in range(1, len(plan.definition.funnel.steps) + 1)
    )
    return f"""
SELECT person_id, begin, ended, {number_sql("value", shown, bind)} AS label, {ats}
FROM ({entered_sql(source, plan, token, bind)})
"""  # noqa: S608 (of placeholders)


def _plain_chains(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return the same of a plain funnel, whose chains go on however many events lie between.

    A person's moments are one array, in the order of the steps at equal times. `after_j_k` has for
    each of them the time at which step k is reached after step j and those between, by events from
    that moment on: that of the next moment of step j. So all chains of a person are found in a time
    that grows with the number of the person's events, not with its square.
    """
    steps = len(plan.definition.funnel.steps)
    after = []
    for last in range(1, steps):
        for step in range(last, 0, -1):
            reached = "at" if step == last else f"after_{step + 1}_{last}"
            array = "ats" if step == last else reached
            after.append(
                f"arrayReverseFill(one -> one != {_UNSET}, arrayMap("
                f"(step, {reached}) -> if(step = {step}, {reached}, {_UNSET}), steps, {array}"
                f")) AS after_{step}_{last}"
            )
    joined = ", ".join(
        ["ats AS begin", "steps AS step", "labels AS label"]
        + [f"after_1_{last} AS next_{last}" for last in range(1, steps)]
    )
    window = bind(plan.window_ms, "Int64")
    reached_at = "".join(
        f", if(next_{last} != {_UNSET} AND next_{last} - {window} <= begin, next_{last}, {_NEVER})"
        f" AS at_{last + 1}"
        for last in range(1, steps)
    )
    begin, end = bind(plan.begin, "Int64"), bind(plan.end, "Int64")
    return f"""
SELECT person_id, begin, label, 0 AS ended, begin AS at_1{reached_at}
FROM (
    SELECT person_id, ats, steps, labels, {", ".join(after)}
    FROM ({_moments(source, plan, token, shown, bind)})
)
ARRAY JOIN {joined}
WHERE step = 0 AND begin >= {begin} AND begin < {end}
"""  # noqa: S608 (of placeholders)


def _moments(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return a table of each person's moments, in order: `ats`, `steps` and `labels`."""
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
    return f"""
SELECT
    person_id, arraySort({found}) AS moments, arrayMap(moment -> {_AT}, moments) AS ats,
    arrayMap(moment -> {_STEP}, moments) AS steps,
    arrayMap(moment -> toInt64({_LABEL}), moments) AS labels
FROM (
    SELECT person_id, toUnixTimestamp64Milli(timestamp) AS at, {of_event} AS moment
    FROM {events(source, plan.definition.project_id, bind)}
        AND event IN {bind(names, "Array(String)")}
)
GROUP BY person_id
"""  # noqa: S608 (of placeholders)
