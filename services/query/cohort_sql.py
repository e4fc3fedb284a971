"""A cohort as one question to ClickHouse, built from its definition: the twin of the stream's fold.

Per person the period of the first start, and the periods of all returns; then the grid's columns
are counted off. Periods are numbered as in `schemas.calendar`.
"""

from typing import Final

from schemas.calendar import Period, begin_of
from schemas.cohorts import CohortDefinition
from services.query.cohort_figures import Counted, Row
from services.query.condition_sql import Binder
from services.query.event_store import Answer
from services.query.events_sql import Statement, events, holds

_NUMBERS: Final[dict[Period, str]] = {
    "day": "toInt32({day})",
    "week": "intDiv(toInt32({day}) + 3, 7)",
    "month": "(toYear({day}) - 1970) * 12 + toMonth({day}) - 1",
}


def cohort_statement(database: str, definition: CohortDefinition) -> Statement:
    """Return the statement whose result `read_counts` understands."""
    bind = Binder()
    columns = bind(definition.cohort.periods, "UInt16")
    text = f"""
SELECT began, count() AS persons, sumForEach(returned), sumForEach(returned_or_later)
FROM (
    SELECT
        began,
        arrayMap(column -> has(back, began + column), range({columns})) AS returned,
        arrayMap(column -> last >= began + column, range({columns})) AS returned_or_later
    FROM ({persons_sql(database, definition, bind)})
)
GROUP BY began
"""  # noqa: S608
    return Statement(text, bind.parameters)


def persons_sql(database: str, definition: CohortDefinition, bind: Binder) -> str:
    """A table of persons who began: in which period, in which they came `back`, and the `last`."""
    cohort = definition.cohort
    day = f"toDate32(toTimeZone(timestamp, {bind(cohort.timezone, 'String')}))"
    return f"""
SELECT
    person_id,
    minIf(period, starts) AS began,
    groupUniqArrayIf(period, returns) AS back,
    if(empty(back), -2147483648, arrayMax(back)) AS last
FROM (
    SELECT
        person_id,
        toInt32({_NUMBERS[cohort.period].format(day=day)}) AS period,
        {holds(cohort.start, bind)} AS starts,
        {holds(cohort.returning, bind)} AS returns
    FROM {events(database, definition.project_id, bind)}
)
GROUP BY person_id
HAVING countIf(starts) > 0
"""  # noqa: S608


def read_counts(definition: CohortDefinition, answer: Answer, now_ms: int) -> Counted:
    """Read the answer to a `cohort_statement`."""
    period = definition.cohort.period
    rows = {
        begin_of(period, int(began)): Row(int(persons), _whole(returned), _whole(or_later))
        for began, persons, returned, or_later in zip(*answer.columns, strict=True)
    }
    return Counted(rows, late_dropped=0, updated_at=now_ms, positions=answer.positions)


def _whole(counts: list[int]) -> list[int]:
    return [int(count) for count in counts]
