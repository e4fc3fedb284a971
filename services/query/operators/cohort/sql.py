"""A cohort as one ClickHouse query, built from its definition; equal to what the stream counts.

The query finds each person's period of the first start and the periods of all returns, then counts
the grid's columns. Periods are numbered as in `schemas.time.calendar`; the values with the most
persons are counted by themselves.
"""

from collections import defaultdict
from typing import Final

from schemas.operators.cohort import CohortDefinition
from schemas.time.calendar import begin_of
from schemas.value_tokens import to_json
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import (
    EventSource,
    Statement,
    events,
    fingerprint_sql,
    holds,
    period_sql,
    token_sql,
)
from services.query.clickhouse.queries import QueryResult
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.cohort.aggregates import CohortAggregates, Grid, Grids, Row, add_up

_OTHER: Final = "other"
_VALUE: Final = "value "


def cohort_statement(source: EventSource, definition: CohortDefinition) -> Statement:
    """Return the statement whose result `read_counts` understands."""
    bind = Binder()
    columns = bind(definition.cohort.periods, "UInt16")
    persons = persons_sql(source, definition, bind)
    label = f"'{_OTHER}'"
    if definition.cohort.breakdown is not None:
        top = f"SELECT value FROM ({persons}) GROUP BY value ORDER BY count() DESC, value"  # noqa: S608 (of placeholders)
        label = f"if(value IN ({top} LIMIT {MAX_SHOWN}), concat('{_VALUE}', value), '{_OTHER}')"
    text = f"""
SELECT began, label, count() AS persons, sumForEach(returned), sumForEach(returned_or_later)
FROM (
    SELECT
        began,
        {label} AS label,
        arrayMap(column -> has(back, began + column), range({columns})) AS returned,
        arrayMap(column -> last >= began + column, range({columns})) AS returned_or_later
    FROM ({persons})
)
GROUP BY began, label
"""  # noqa: S608
    return Statement(text, bind.parameters)


def persons_sql(source: EventSource, definition: CohortDefinition, bind: Binder) -> str:
    """Return a table of the persons who began.

    It has the period in which they `began`, those in which they came `back`, and the `last` of
    them; `value` is the token of the value that they began with, if the cohort has a breakdown.
    """
    cohort = definition.cohort
    period = period_sql(cohort.period, cohort.timezone, cohort.week_start, bind)
    of_event = value = "''"
    if cohort.breakdown is not None:
        of_event = token_sql(cohort.breakdown.property, bind)
        value = f"argMinIf(token, (timestamp, {fingerprint_sql('[token]')}), starts)"
    return f"""
SELECT
    person_id,
    minIf(period, starts) AS began,
    groupUniqArrayIf(period, returns) AS back,
    if(empty(back), -2147483648, arrayMax(back)) AS last,
    {value} AS value
FROM (
    SELECT
        person_id,
        timestamp,
        {period} AS period,
        {holds(cohort.start, bind)} AS starts,
        {holds(cohort.returning, bind)} AS returns,
        {of_event} AS token
    FROM {events(source, definition.project_id, bind, definition.since_ms)}
)
GROUP BY person_id
HAVING countIf(starts) > 0
"""  # noqa: S608


def read_counts(definition: CohortDefinition, result: QueryResult, now_ms: int) -> CohortAggregates:
    """Read the result of a `cohort_statement`."""
    cohort = definition.cohort
    grids: defaultdict[str, Grid] = defaultdict(dict)
    for began, label, persons, returned, or_later in zip(*result.columns, strict=True):
        row = Row(int(persons), _whole(returned), _whole(or_later))
        grids[label][begin_of(cohort.period, int(began), cohort.week_start)] = row
    rows = {
        begin: all_
        for begin in {begin for grid in grids.values() for begin in grid}
        if (all_ := add_up([grid[begin] for grid in grids.values() if begin in grid]))
    }
    values: Grids = {}
    if definition.cohort.breakdown is not None:
        values = {_value_of(label): grid for label, grid in grids.items()}
    return CohortAggregates(
        rows, late_dropped=0, updated_at=now_ms, positions=result.positions, values=values
    )


def _value_of(label: str) -> str | None:
    return None if label == _OTHER else to_json(label.removeprefix(_VALUE))


def _whole(counts: list[int]) -> list[int]:
    return [int(count) for count in counts]
