"""The statements of a funnel query, over the rows of its chains."""

from collections.abc import Sequence

from schemas.queries.adhoc import FunnelPersons
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import EventSource, Statement, events, holds
from services.query.clickhouse.printer import TokenSql
from services.query.queries.adhoc.funnel_plan import FunnelPlan
from services.query.queries.adhoc.funnel_rows import TOTAL, entered_sql, rows_sql


def top_statement(source: EventSource, plan: FunnelPlan, token: TokenSql, count: int) -> Statement:
    """Return the statement for the tokens of the labels with which the most persons entered."""
    bind = Binder()
    if plan.labelled_at_entry:
        steps = plan.definition.funnel.steps
        entries = steps if plan.definition.funnel.order == "any" else steps[:1]
        begins = " OR ".join(f"({holds(step, bind)})" for step in entries)
        entered = f"""
SELECT person_id, {token(bind)} AS value
FROM {events(source, plan.definition.project_id, bind)} AND ({begins})
"""  # noqa: S608 (of placeholders)
    else:
        entered = entered_sql(source, plan, token, bind)
    text = f"""
SELECT value FROM ({entered}) GROUP BY value
ORDER BY uniqExact(person_id) DESC, value LIMIT {bind(count, "UInt32")}
"""  # noqa: S608 (of placeholders)
    return Statement(text, bind.parameters)


def figures_statement(
    source: EventSource, plan: FunnelPlan, token: TokenSql, shown: Sequence[str]
) -> Statement:
    """Return the statement for the figures of the range, of each label and of each day.

    Its columns are the day and the label of `funnel_rows`, and by step: how many persons reached
    it, are still open and dropped before it, the sum of the times to it, their median and 90th
    percentile, and how many chains reached it. Times are of the range and of labels only.
    """
    bind = Binder()
    steps = range(1, len(plan.definition.funnel.steps) + 1)
    sorted_times = [
        f"arraySort(groupArrayIf(times[{step}], times[{step}] >= 0 AND key.1 = {TOTAL}))"
        for step in steps
    ]
    medians = ", ".join(f"{one}[intDiv(length({one}) + 1, 2)]" for one in sorted_times)
    p90s = ", ".join(f"{one}[intDiv(9 * length({one}) + 9, 10)]" for one in sorted_times)
    text = f"""
SELECT
    key.1 AS day, key.2 AS label,
    sumForEach(arrayMap(time -> time >= 0, times)) AS reached,
    sumForEach(arrayMap(one -> one AND still, missed)) AS open,
    sumForEach(arrayMap(one -> one AND NOT still, missed)) AS dropped,
    sumForEach(arrayMap(time -> greatest(time, 0), times)) AS sum_ms,
    [{medians}] AS median_ms, [{p90s}] AS p90_ms,
    sumForEach(chains) AS entries
FROM (
    SELECT arrayJoin(counted) AS key, times, still, chains, {_missed(plan, bind)} AS missed
    FROM ({rows_sql(source, plan, token, shown, bind)})
)
GROUP BY key
"""  # noqa: S608 (of placeholders)
    return Statement(text, bind.parameters)


def persons_statement(
    source: EventSource,
    plan: FunnelPlan,
    token: TokenSql,
    shown: Sequence[str],
    label: int,
    asked: FunnelPersons,
) -> Statement:
    """Return the statement for a page of the persons of a label, and one more if there are more."""
    bind = Binder()
    step = bind(asked.step, "UInt16")
    missed = f"{_missed(plan, bind)}[{step}]"
    holding = {
        "reached": f"times[{step}] >= 0",
        "open": f"{missed} AND still",
        "dropped": f"{missed} AND NOT still",
    }[asked.outcome]
    text = f"""
SELECT person_id FROM ({rows_sql(source, plan, token, shown, bind)})
WHERE has(counted, (toInt32({TOTAL}), {bind(label, "Int64")})) AND {holding}
    AND person_id > {bind(asked.after, "String")}
ORDER BY person_id LIMIT {bind(asked.limit + 1, "UInt32")}
"""  # noqa: S608 (of placeholders)
    return Statement(text, bind.parameters)


def _missed(plan: FunnelPlan, bind: Binder) -> str:
    """Return for each step whether the person reached the step before it, but not the step."""
    before = bind(plan.before, "Array(UInt16)")
    return (
        "arrayMap((time, before) -> time < 0 AND before > 0 AND times[greatest(before, 1)] >= 0,"
        f" times, {before})"
    )
