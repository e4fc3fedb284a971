"""The statements of a funnel query, over the rows of its chains."""

from collections.abc import Sequence

from schemas.queries.adhoc import FunnelPersons
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import EventSource, Statement, events, holds, limit_sql
from services.query.clickhouse.printer import TokenSql
from services.query.queries.adhoc.funnel_plan import FunnelPlan
from services.query.queries.adhoc.funnel_rows import FIRST_DAY_KEY, entered_sql, rows_sql


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

    The first two columns are a key, which is a label or one of the `day_keys` of `funnel_rows`, and
    how many persons it has. The others are those of labels, by step: how many persons reached it,
    are still open and dropped before it, the sum of the times to it, their median and 90th
    percentile, and how many chains reached it.
    """
    bind = Binder()
    steps = range(1, len(plan.definition.funnel.steps) + 1)
    missed = [_missed(plan, step) for step in steps]
    # The values of rank ceil(q * n): see the percentile of trends.
    levels = ", ".join(bind(level - 1e-13, "Float64") for level in (0.5, 0.9))
    quantiles = [
        f"quantilesExactIf({levels})(time_{step}, time_{step} >= 0 AND key < {FIRST_DAY_KEY})"
        for step in steps
    ]
    columns = {
        "reached": [f"countIf(time_{step} >= 0)" for step in steps],
        "open": [f"countIf({one} AND still)" for one in missed],
        "dropped": [f"countIf({one} AND NOT still)" for one in missed],
        "sum_ms": [f"sumIf(time_{step}, time_{step} >= 0)" for step in steps],
        "median_ms": [f"{one}[1]" for one in quantiles],
        "p90_ms": [f"{one}[2]" for one in quantiles],
        "entries": [f"sum(chains_{step})" for step in steps],
    }
    # Each step has aggregates of its own: `-ForEach` took longer than all the rest.
    lists = ", ".join(f"[{', '.join(of)}] AS {name}" for name, of in columns.items())
    text = f"""
SELECT key, count() AS persons, {lists}
FROM (
    SELECT * EXCEPT (day_keys, days), arrayJoin(arrayPushFront(day_keys, label)) AS key
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
    limit: int | None,
) -> Statement:
    """Return the statement for the first persons of a label, or for all without a `limit`."""
    bind = Binder()
    missed = _missed(plan, asked.step)
    holding = {
        "reached": f"time_{asked.step} >= 0",
        "open": f"{missed} AND still",
        "dropped": f"{missed} AND NOT still",
    }[asked.outcome]
    text = f"""
SELECT person_id FROM ({rows_sql(source, plan, token, shown, bind)})
WHERE label = {bind(label, "Int64")} AND {holding}
    AND person_id > {bind(asked.after, "String")}
ORDER BY person_id{limit_sql(limit, bind)}
"""  # noqa: S608 (of placeholders)
    return Statement(text, bind.parameters)


def _missed(plan: FunnelPlan, step: int) -> str:
    """Return whether a row's person reached the step before a step, but not the step itself."""
    before = plan.before[step - 1]
    return f"(time_{before} >= 0 AND time_{step} < 0)" if before else "0"
