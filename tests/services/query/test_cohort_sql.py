"""A cohort asked of ClickHouse has the figures of its definition."""

import uuid

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings

from schemas.cohorts import Cohort, CohortDefinition, Occasion
from schemas.conditions import Condition
from services.query.cohort_figures import Grid, Row
from services.query.cohort_sql import cohort_statement, read_counts
from services.query.event_store import Answer
from tests.cohort_oracle import Act, grid
from tests.pipelines.test_cohort_fold import Case, cases
from tests.services.query.test_funnel_sql import ask
from tests.warehouse import Event, Warehouse

NAMES = {(True, False): "start", (False, True): "back", (True, True): "both"}
START = Occasion(where=(Condition("starts", value=True),))
RETURN = Occasion(where=(Condition("returns", value=True),))


def define(case: Case, start: Occasion = START, returning: Occasion = RETURN) -> CohortDefinition:
    return CohortDefinition(
        project_id=uuid.uuid4().hex,
        id="c",
        version=1,
        created_at=0,
        updated_at=0,
        cohort=Cohort(
            start=start,
            returning=returning,
            period=case.period,
            periods=case.periods,
            timezone=case.timezone,
        ),
    )


def count(warehouse: Warehouse, definition: CohortDefinition, acts: list[Act]) -> Grid:
    warehouse.write(
        Event(
            definition.project_id,
            str(act.person),
            NAMES[act.starts, act.returns],
            act.at,
            f'{{"starts": {str(act.starts).lower()}, "returns": {str(act.returns).lower()}}}',
        )
        for act in acts
    )
    statement = cohort_statement(warehouse.settings.clickhouse_database, definition)
    return read_counts(definition, Answer(ask(warehouse, statement), {}), 0).rows


@given(case=cases())
@hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_clickhouse_counts_what_the_definition_says(warehouse: Warehouse, case: Case) -> None:
    wanted = grid(case.acts, case.period, case.periods, case.timezone)
    assert count(warehouse, define(case), case.acts) == {
        day: Row(persons, wanted.returned[day], wanted.or_later[day])
        for day, persons in wanted.persons.items()
    }


@pytest.mark.parametrize("returning", [Occasion("back"), Occasion()])
def test_a_return_may_be_of_one_name_or_of_any(warehouse: Warehouse, returning: Occasion) -> None:
    acts = [Act(0, 86_400_000, True, False), Act(0, 2 * 86_400_000, False, True)]
    definition = define(Case("day", 3, "UTC", []), Occasion("start"), returning)
    (row,) = count(warehouse, definition, acts).values()
    first = int(returning.event is None)  # the start itself is an event too
    assert row == Row(1, [first, 1, 0], [1, 1, 0])


def test_nobody_who_began_is_no_row(warehouse: Warehouse) -> None:
    case = Case("week", 2, "UTC", [])
    assert count(warehouse, define(case), [Act(0, 0, False, True)]) == {}
    assert count(warehouse, define(case), []) == {}
