"""A cohort asked of ClickHouse has the figures of its definition."""

import datetime
import json
import uuid
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace
from starlette.requests import Request

from schemas.conditions import Condition
from schemas.errors import InvalidRequest
from schemas.event_filter import EventFilter
from schemas.operators.cohort import ByValue, Cohort, CohortDefinition
from schemas.time.calendar import number_of
from services.query.clickhouse.queries import QueryResult
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.cohort.aggregates import CohortAggregates, Grid, Row
from services.query.operators.cohort.persons import (
    Cell,
    CellField,
    CohortPersonsResponse,
    cell_statement,
    read_cell,
    read_persons,
)
from services.query.operators.cohort.response import assemble
from services.query.operators.cohort.sql import cohort_statement, read_counts
from tests.oracles import cohort as oracle
from tests.oracles.cohort import Act, grid, grids, persons
from tests.oracles.values import name_of_shown
from tests.pipelines.test_cohort_fold import Case, cases
from tests.services.query.test_funnel_sql import ask
from tests.warehouse import Event, Warehouse

NAMES = {(True, False): "start", (False, True): "back", (True, True): "both"}
START = EventFilter(where=(Condition("starts", value=True),))
RETURN = EventFilter(where=(Condition("returns", value=True),))


def define(
    case: Case,
    start: EventFilter = START,
    returning: EventFilter = RETURN,
    breakdown: ByValue | None = None,
) -> CohortDefinition:
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
            breakdown=breakdown,
        ),
    )


def count(warehouse: Warehouse, definition: CohortDefinition, acts: list[Act]) -> Grid:
    return count_all(warehouse, definition, acts).rows


def count_all(
    warehouse: Warehouse, definition: CohortDefinition, acts: list[Act]
) -> CohortAggregates:
    write(warehouse, definition, acts)
    statement = cohort_statement(warehouse.settings.clickhouse_database, definition)
    return read_counts(definition, QueryResult(ask(warehouse, statement), {}), 0)


def rows_of(wanted: oracle.Grid) -> Grid:
    return {
        day: Row(persons, wanted.returned[day], wanted.or_later[day])
        for day, persons in wanted.persons.items()
    }


def find(warehouse: Warehouse, definition: CohortDefinition, cell: Cell) -> CohortPersonsResponse:
    statement = cell_statement(warehouse.settings.clickhouse_database, definition, cell)
    return read_persons(cell, QueryResult(ask(warehouse, statement), {}))


def write(warehouse: Warehouse, definition: CohortDefinition, acts: list[Act]) -> None:
    warehouse.write(
        Event(
            definition.project_id,
            str(act.person),
            NAMES[act.starts, act.returns],
            act.at,
            json.dumps({"starts": act.starts, "returns": act.returns, "plan": act.value}),
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
    assert count(warehouse, define(case), case.acts) == rows_of(wanted)


def test_clickhouse_counts_no_event_before_the_time_that_a_cohort_names(
    warehouse: Warehouse,
) -> None:
    day = 86_400_000
    acts = [Act(person, at * day, True, False) for person, at in [(1, 0), (1, 5), (2, 3), (2, 4)]]
    case = Case("day", 3, "UTC", acts)
    definition = define(case)
    later = replace(definition, cohort=replace(definition.cohort, since="1970-01-05"))
    assert count(warehouse, later, acts) == rows_of(grid(acts[1:2] + acts[3:], "day", 3, "UTC"))


@given(case=cases())
@hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_clickhouse_counts_each_value_as_the_definition_says(
    warehouse: Warehouse, case: Case
) -> None:
    of = case.period, case.periods, case.timezone
    counted = count_all(warehouse, define(case, breakdown=ByValue("plan")), case.acts)
    assert counted.rows == rows_of(grid(case.acts, *of))
    found = {name_of_shown(value or ""): rows for value, rows in counted.values.items()}
    assert found == {value: rows_of(wanted) for value, wanted in grids(case.acts, *of).items()}


def test_the_values_of_most_persons_are_shown_and_the_rest_as_one(warehouse: Warehouse) -> None:
    definition = define(Case("day", 2, "UTC", []), breakdown=ByValue("plan"))
    acts = [Act(person, 0, True, False, person % (MAX_SHOWN + 5)) for person in range(40)]
    (row,) = assemble(definition, "store", count_all(warehouse, definition, acts)).rows
    twice = 40 - MAX_SHOWN - 5  # so many values have two persons
    found = [(one.value, one.other, one.persons) for one in row.breakdown]
    assert {value for value, _, persons in found if persons == 2} == set(range(twice))
    assert found[-1] == (None, True, 5)
    assert sum(persons for _, _, persons in found) == row.persons == 40


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
        cells: dict[CellField, set[int]] = {
            "persons": row.persons,
            "returned": row.returned[column],
            "returned_or_later": row.or_later[column],
        }
        for counted, wanted in cells.items():
            found = find(warehouse, definition, cell._replace(counted=counted))
            assert found == CohortPersonsResponse(sorted(map(str, wanted)), None, {})


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


def request(**parameters: str) -> Request:
    query = urlencode(parameters).encode()
    return Request({"type": "http", "query_string": query, "headers": []})


def test_the_persons_of_a_week_that_begins_on_sunday_are_found(warehouse: Warehouse) -> None:
    made = define(Case("week", 2, "Asia/Kolkata", []))
    definition = replace(made, cohort=replace(made.cohort, week_start="sunday"))
    sunday = 1_795_890_600_000  # 2026-11-29 begins in Kolkata
    acts = [
        Act(0, sunday - 1, True, False),
        Act(1, sunday, True, False),
        Act(0, sunday, False, True),
    ]
    counted = count(warehouse, definition, acts)
    before, begin = datetime.date(2026, 11, 22), datetime.date(2026, 11, 29)
    assert counted == {before: Row(1, [0, 1], [1, 1]), begin: Row(1, [0, 0], [0, 0])}
    cell = read_cell(request(begin="2026-11-29"), definition)
    assert find(warehouse, definition, cell).persons == ["1"]
    with pytest.raises(InvalidRequest, match="no week begins on that day"):
        read_cell(request(begin="2026-11-30"), definition)
    assert read_cell(request(begin="2026-11-30"), made).period == cell.period


@pytest.mark.parametrize("returning", [EventFilter("back"), EventFilter()])
def test_a_return_may_be_of_one_name_or_of_any(
    warehouse: Warehouse, returning: EventFilter
) -> None:
    acts = [Act(0, 86_400_000, True, False), Act(0, 2 * 86_400_000, False, True)]
    definition = define(Case("day", 3, "UTC", []), EventFilter("start"), returning)
    (row,) = count(warehouse, definition, acts).values()
    first = int(returning.event is None)  # the start itself is an event too
    assert row == Row(1, [first, 1, 0], [1, 1, 0])


def test_nobody_who_began_is_no_row(warehouse: Warehouse) -> None:
    case = Case("week", 2, "UTC", [])
    assert count(warehouse, define(case), [Act(0, 0, False, True)]) == {}
    assert count(warehouse, define(case), []) == {}
