"""The chains of a funnel query as rows, which its figures and its persons are read from.

`rows_sql` returns a table with a row for a person and a `label` (as in `labels`), `EVERY` for all
of the person's chains. Its other columns are

- `time_1`, `time_2`, …: how long (ms) the first chain to reach each step took to it; -1 if none
  did,
- `chains_1`, …: how many chains reached each step,
- `still`: whether the window of any of the chains is open, so that it may go on,
- `day_keys`: a number (as in `day_key`) for each day and step of that day's chains; none for a
  label other than `EVERY`.

A person's chains are arrays, in the order of their beginnings, since to group their rows by the
person again takes longer than all the rest.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import Days, EventSource, events, holds
from services.query.clickhouse.printer import TokenSql
from services.query.operators.funnel.chain_sql import chains_sql
from services.query.queries.adhoc.funnel_plan import FunnelPlan
from services.query.queries.adhoc.labels import EVERY, number_sql

_NEVER: Final = 2**62
# A moment is the time, the step (5 bits), and the label of a first step (7 bits).
_LABEL_BITS: Final = 7
_STEP_BITS: Final = 5
_AT: Final = f"bitShiftRight(moment, {_STEP_BITS + _LABEL_BITS})"
_STEP: Final = f"toUInt8(bitAnd(bitShiftRight(moment, {_LABEL_BITS}), {2**_STEP_BITS - 1}))"
_LABEL: Final = f"bitAnd(moment, {2**_LABEL_BITS - 1})"
_UNSET: Final = -(2**63)
# The last moment of a person is one at which all steps happen, in a time that no event has.
_LAST_STEP: Final = 2**_STEP_BITS - 1
_LAST_MOMENT: Final = (2**49 << (_STEP_BITS + _LABEL_BITS)) + (_LAST_STEP << _LABEL_BITS)
# Above all labels, and for any day that an event can have.
_DAY_0: Final = 2**24
FIRST_DAY_KEY: Final = 2**20
_MAX_STEPS: Final = 32


class DayAndStep(NamedTuple):
    """A day, in days since 1970, and a step from 1."""

    day: int
    step: int


def read_day_key(key: int) -> DayAndStep:
    """Return what a number of `day_keys` stands for."""
    day, step = divmod(key, _MAX_STEPS)
    return DayAndStep(day - _DAY_0, step + 1)


def rows_sql(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return the table of a plan's rows; `shown` are the tokens of the labels that are shown."""
    chains = _plain_chains if plan.is_plain else _chains
    steps = range(1, len(plan.definition.funnel.steps) + 1)
    every = f"toInt64({EVERY})"
    window, until = bind(plan.window_ms, "Int64"), bind(plan.until, "Int64")
    pack = _Packed.of(plan, bind)
    best = ", ".join(f"{pack.best(f'ats_{step}')} AS best_{step}" for step in steps)
    found = f"SELECT *, {best} FROM ({chains(source, plan, token, shown, bind)})"  # noqa: S608 (of placeholders)
    label, own = every, "1"
    if plan.label is not None:
        label, own = "number", f"(number = {every} OR one_label = number)"
        found = f"""
SELECT * REPLACE ({
            ", ".join(
                f"arrayMap((one, one_label) -> if({own}, one, {pack.never}), best_{step}, labels)"
                f" AS best_{step}"
                for step in steps
            )
        })
FROM (
    SELECT *, arrayJoin(arrayPushFront(arrayDistinct(labels), {every})) AS number FROM ({found})
)
"""  # noqa: S608 (of placeholders)
    days = Days(plan.definition.funnel.timezone, bind).number("begin")
    keys = ", ".join(
        f"arrayCompact(arrayFilter((key, one) -> one < {pack.never}, "
        f"arrayMap(one -> one + {step - 1}, days), best_{step}))"
        for step in steps
    )
    columns = [
        *(f"{pack.time(f'arrayMin(best_{step})')} AS time_{step}" for step in steps),
        *(f"arrayCount(one -> one < {pack.never}, best_{step}) AS chains_{step}" for step in steps),
    ]
    return f"""
SELECT
    person_id, {label} AS label, {", ".join(columns)},
    arrayExists((one, one_label) -> one + {window} >= {until} AND {own}, lives, labels) AS still,
    arrayMap(begin -> (toInt64({days}) + {_DAY_0}) * {_MAX_STEPS}, begins) AS days,
    if(label = {every}, arrayConcat({keys}), []) AS day_keys
FROM ({found})
"""  # noqa: S608 (of placeholders)


class _Packed(NamedTuple):
    """Numbers that are in the order of a chain's time of a step, then of how long it took to it."""

    begin: str
    window: str
    length: str
    kind: str
    never: str

    @classmethod
    def of(cls, plan: FunnelPlan, bind: Binder) -> "_Packed":
        """Return those of a plan; 64 bits are enough for most."""
        length = plan.window_ms + 1
        wide = (plan.span[1] - plan.begin) * length >= _NEVER
        kind = "Int128" if wide else "Int64"
        return cls(
            bind(plan.begin, "Int64"),
            bind(plan.window_ms, "Int64"),
            bind(length, "Int64"),
            kind,
            f"to{kind}('{2**126 if wide else _NEVER}')",
        )

    def best(self, ats: str) -> str:
        """Return the numbers of the chains, whose times of a step are the array `ats`."""
        packed = f"(to{self.kind}(at) - {self.begin}) * {self.length} + at - begin"
        reached = f"at - {self.window} <= begin"
        return f"arrayMap((at, begin) -> if({reached}, {packed}, {self.never}), {ats}, begins)"

    def time(self, best: str) -> str:
        """Return how long the chain with the least number took; -1 if no chain has the step."""
        return f"if({best} = {self.never}, -1, toInt64({best} % {self.length}))"


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
    """Return a row for each person, with arrays of the person's chains in the range.

    They are `begins`, `labels`, `lives` (the beginning of each chain that has not ended, or else a
    time before all others), and the times of the steps: `ats_1`, and so on. That of a step that the
    chain has not reached within the window is later than the window's end.
    """
    steps = range(1, len(plan.definition.funnel.steps) + 1)
    ats = "".join(
        f", if(arrayExists(one -> one.1 = {step}, takings),"
        f" arrayFirst(one -> one.1 = {step}, takings).2, {_NEVER})"
        for step in steps
    )
    columns = ", ".join(f"chains.{3 + step} AS ats_{step}" for step in steps)
    return f"""
SELECT person_id, chains.1 AS begins, chains.2 AS labels, chains.3 AS lives, {columns}
FROM (
    SELECT person_id, arraySort(groupArray((
        begin, {number_sql("value", shown, bind)}, if(ended, {_UNSET}, begin){ats}
    ))) AS chains
    FROM ({entered_sql(source, plan, token, bind)})
    GROUP BY person_id
)
"""  # noqa: S608 (of placeholders)


def _plain_chains(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return the same of a plain funnel, whose chains go on however many events lie between.

    A person's moments are one array, in the order of the steps at equal times. `next_k` has for
    each of them the next moment of the step k, together with the element of `next_k+1` there: the
    times of that step and all later ones. So all chains of a person are found in a time that grows
    with the number of the person's events, not with its square.
    """
    steps = len(plan.definition.funnel.steps)
    nexts, array = [], "ats"
    for number in range(steps - 1, 0, -1):
        is_next = f"(one, step) -> step = {number} OR step = {_LAST_STEP}"
        nexts.append(f"arrayReverseFill({is_next}, {array}, steps) AS next_{number}")
        array = f"arrayZip(ats, next_{number})"
    columns, rest = [], "chains.3"
    for step in range(2, steps + 1):
        columns.append(f"{rest if step == steps else f'{rest}.1'} AS ats_{step}")
        rest = f"{rest}.2"
    begin, end = bind(plan.begin, "Int64"), bind(plan.end, "Int64")
    entries = f"(one, step, at) -> step = 0 AND at >= {begin} AND at < {end}"
    zipped = f"arrayZip(ats, labels, {'next_1' if steps > 1 else 'ats'})"
    return f"""
SELECT {", ".join(["person_id", "chains.1 AS begins", "chains.2 AS labels", "begins AS lives"])},
    {", ".join(["begins AS ats_1", *columns])}
FROM (
    SELECT {", ".join(["person_id", *nexts])},
        arrayFilter({entries}, {zipped}, steps, ats) AS chains
    FROM ({_moments(source, plan, token, shown, bind)})
)
WHERE notEmpty(chains)
"""  # noqa: S608 (of placeholders)


def _moments(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str], bind: Binder
) -> str:
    """Return a table of each person's moments, in order: `ats`, `steps` and `labels`.

    A last one is that of `_LAST_MOMENT`.
    """
    steps = plan.definition.funnel.steps
    names = sorted({step.event for step in steps})
    label = token.number(shown, bind) if plan.label is not None else "0"

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
    person_id, arrayPushBack(arraySort({found}), {_LAST_MOMENT}) AS moments,
    arrayMap(moment -> {_AT}, moments) AS ats,
    arrayMap(moment -> {_STEP}, moments) AS steps,
    arrayMap(moment -> toInt64({_LABEL}), moments) AS labels
FROM (
    SELECT person_id, toUnixTimestamp64Milli(timestamp) AS at, {of_event} AS moment
    FROM {events(source, plan.definition.project_id, bind)}
        AND event IN {bind(names, "Array(String)")}
)
GROUP BY person_id
"""  # noqa: S608 (of placeholders)
