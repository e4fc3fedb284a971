"""A cohort asked of ClickHouse has the figures of its definition."""

import datetime
import uuid

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.calendar import number_of
from schemas.cohorts import Cohort, CohortDefinition, Occasion
from schemas.conditions import Condition
from services.query.cohort_figures import Grid, Row
from services.query.cohort_persons import (
    Cell,
    CohortPersons,
    Counted,
    cell_statement,
    read_persons,
)
from services.query.cohort_sql import cohort_statement, read_counts
from services.query.event_store import Answer
from tests.cohort_oracle import Act, grid, persons
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
    write(warehouse, definition, acts)
    statement = cohort_statement(warehouse.settings.clickhouse_database, definition)
    return read_counts(definition, Answer(ask(warehouse, statement), {}), 0).rows


def find(warehouse: Warehouse, definition: CohortDefinition, cell: Cell) -> CohortPersons:
    statement = cell_statement(warehouse.settings.clickhouse_database, definition, cell)
    return read_persons(cell, Answer(ask(warehouse, statement), {}))


def write(warehouse: Warehouse, definition: CohortDefinition, acts: list[Act]) -> None:
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


@given(case=cases(), column=st.integers(0, 3))
@hypothesis_settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_the_persons_of_a_cell_are_those_it_counts(
    warehouse: Warehouse, case: Case, column: int
) -> None:
    definition = define(case)
    write(warehouse, definition, case.acts)
    column %= case.periods
    for begin, row in persons(case.acts, case.period, case.periods, case.timezone).items():
        cell = Cell(number_of(case.period, begin), "persons", column, "", 200)
        cells: dict[Counted, set[int]] = {
            "persons": row.persons,
            "returned": row.returned[column],
            "returned_or_later": row.or_later[column],
        }
        for counted, wanted in cells.items():
            found = find(warehouse, definition, cell._replace(counted=counted))
            assert found == CohortPersons(sorted(map(str, wanted)), None)


def test_the_persons_of_a_cell_come_page_by_page(warehouse: Warehouse) -> None:
    definition = define(Case("week", 2, "UTC", []))
    write(warehouse, definition, [Act(person, 0, True, False) for person in range(5)])
    cell = Cell(number_of("week", datetime.date(1969, 12, 29)), "persons", 0, "", 2)
    pages = []
    while True:
        page = find(warehouse, definition, cell)
        pages.append(page.persons)
        if page.next is None:
            break
        cell = cell._replace(after=page.next)
    assert pages == [["0", "1"], ["2", "3"], ["4"]]


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
