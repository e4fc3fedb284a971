"""The statements of a cohort query.

All are over a table of entries: the rows of the grid to which each person belongs. An entry has

- `person_id` and `began`, the number of the row's period,
- `token`, the label of the start by which the person belongs to the row,
- `back`: the columns in which the person came back.
"""

from collections.abc import Sequence
from typing import Final

from schemas.queries.adhoc import CohortCounted, CohortPersons
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import (
    EventSource,
    Statement,
    events,
    fingerprint_sql,
    holds,
    limit_sql,
    period_sql,
)
from services.query.clickhouse.printer import TokenSql
from services.query.queries.adhoc.cohort_plan import CohortPlan
from services.query.queries.adhoc.labels import EVERY, number_sql


def top_statement(source: EventSource, plan: CohortPlan, token: TokenSql, count: int) -> Statement:
    """Return the statement for the tokens of the labels with the most persons."""
    bind = Binder()
    text = f"""
SELECT token FROM ({_entries(source, plan, token, bind)}) GROUP BY token
ORDER BY uniqExact(person_id) DESC, token LIMIT {bind(count, "UInt32")}
"""  # noqa: S608 (of placeholders)
    return Statement(text, bind.parameters)


def grid_statement(
    source: EventSource, plan: CohortPlan, token: TokenSql, shown: Sequence[str]
) -> Statement:
    """Return the statement for the grid of each label, by its number.

    Its columns are the number of the row's period and of the label, how many persons belong to the
    row, and lists of how many of them came back in each column, and in that or any later one.
    """
    bind = Binder()
    columns = bind(plan.cohort.periods, "UInt16")
    text = f"""
SELECT
    began, {number_sql("token", shown, bind)} AS label, count() AS persons,
    sumForEach(arrayMap(n -> has(back, n), range({columns}))) AS returned,
    sumForEach(arrayMap(n -> last >= n, range({columns}))) AS or_later
FROM (SELECT *, {_LAST} AS last FROM ({_entries(source, plan, token, bind)}))
GROUP BY began, label
"""  # noqa: S608 (of placeholders)
    return Statement(text, bind.parameters)


def persons_statement(
    source: EventSource,
    plan: CohortPlan,
    token: TokenSql,
    shown: Sequence[str],
    label: int,
    asked: CohortPersons,
    limit: int | None,
) -> Statement:
    """Return the statement for the first persons of a cell, or for all without a `limit`."""
    bind = Binder()
    column = bind(asked.column, "Int64")
    holding: dict[CohortCounted, str] = {
        "persons": "1",
        "returned": f"has(back, {column})",
        "returned_or_later": f"{_LAST} >= {column}",
    }
    number = number_sql("token", shown, bind)
    of_label = "1" if label == EVERY else f"{number} = {bind(label, 'Int64')}"
    text = f"""
SELECT person_id FROM ({_entries(source, plan, token, bind)})
WHERE began = {bind(plan.number(asked.begin), "Int32")} AND {holding[asked.counted]} AND {of_label}
    AND person_id > {bind(asked.after, "String")}
ORDER BY person_id{limit_sql(limit, bind)}
"""  # noqa: S608 (of placeholders)
    return Statement(text, bind.parameters)


_LAST: Final = "if(empty(back), -1, arrayMax(back))"


def _entries(source: EventSource, plan: CohortPlan, token: TokenSql, bind: Binder) -> str:
    """Return the table of entries."""
    first, last = bind(plan.first, "Int32"), bind(plan.last, "Int32")
    found = "[arrayMin(starts)]" if plan.entry == "first" else "starts"
    back = "arrayMap(one -> toInt64(one) - entry.1, arrayFilter(one -> one >= entry.1, returns))"
    if plan.rolling_ms is not None:
        length = bind(plan.rolling_ms, "Int64")
        back = (
            f"arrayDistinct(arrayMap(one -> intDiv(one - entry.2, {length}),"
            " arrayFilter(one -> one >= entry.2, returns)))"
        )
    return f"""
SELECT person_id, entry.1 AS began, entry.3 AS token, {back} AS back
FROM ({_persons(source, plan, token, bind)})
ARRAY JOIN arrayFilter(one -> one.1 BETWEEN {first} AND {last}, {found}) AS entry
"""  # noqa: S608 (of placeholders)


def _persons(source: EventSource, plan: CohortPlan, token: TokenSql, bind: Binder) -> str:
    """Return each person's `starts`, the first of each period, and `returns`.

    A start has the number of its period, its time (ms) and its token. Returns are the numbers of
    periods, or times (ms) if columns are rolling. Where neither times nor tokens are asked for,
    starts have none, since to find the first start of each period takes longer than all the rest.
    """
    cohort = plan.cohort
    period = period_sql(cohort.period, cohort.timezone, cohort.week_start, bind)
    is_start, is_return = holds(cohort.start, bind), holds(cohort.returning, bind)
    if plan.label is None and plan.rolling_ms is None:
        found = "groupUniqArrayIf(period, is_start)"
        if plan.entry == "first":
            found = "if(countIf(is_start) = 0, [], [minIf(period, is_start)])"
        return f"""
SELECT
    person_id, groupUniqArrayIf(period, is_return) AS returns,
    arrayMap(one -> (one, toInt64(0), ''), {found}) AS starts
FROM (
    SELECT person_id, {period} AS period, {is_start} AS is_start, {is_return} AS is_return
    FROM {events(source, plan.project_id, bind)} AND (is_start OR is_return)
)
GROUP BY person_id
HAVING notEmpty(starts)
"""  # noqa: S608 (of placeholders)
    label, order = "''", "at"
    if plan.label is not None:
        label, order = token(bind), f"(at, {fingerprint_sql('[token]')})"
    returned = "period" if plan.rolling_ms is None else "at"
    return f"""
SELECT person_id, groupArrayIf(first, started) AS starts, groupArrayArray(came) AS returns
FROM (
    SELECT
        person_id, period, max(is_start) AS started,
        groupUniqArrayIf({returned}, is_return) AS came,
        (period, minIf(at, is_start), argMinIf(token, {order}, is_start)) AS first
    FROM (
        SELECT
            person_id, toUnixTimestamp64Milli(timestamp) AS at,
            {period} AS period, {is_start} AS is_start, {is_return} AS is_return,
            {label} AS token
        FROM {events(source, plan.project_id, bind)} AND (is_start OR is_return)
    )
    GROUP BY person_id, period
)
GROUP BY person_id
HAVING notEmpty(starts)
"""  # noqa: S608 (of placeholders)
