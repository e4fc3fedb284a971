"""Cohorts for the laws: grids of all persons, and by the value of a property."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from schemas.definitions import Definition
from schemas.operators.cohort import CohortDefinition
from services.query.clickhouse.queries import QueryResult
from services.query.operators.cohort.sql import cohort_statement, read_counts
from tests.laws.driver import Published
from tests.laws.entry import DAY_MS, NOON, PERSONS, VALUES, WEEK_STARTS, ZONES, Case, Entry
from tests.oracles import cohort as oracle
from tests.oracles.events import Event, Json
from tests.oracles.values import name_of_shown
from tests.warehouse import Warehouse


class Row(NamedTuple):
    """Persons who began in a period, and how many of them came back when."""

    persons: int
    returned: list[int]
    or_later: list[int]


Rows = dict[datetime.date, Row]


class Shown(NamedTuple):
    """The grid of all persons, and that of each value by its name, without empty rows."""

    rows: Rows
    values: dict[str, Rows]


def _counted(body: Json, events: Sequence[Event], _: int) -> Shown:
    found = oracle.figures(body, events)
    return Shown(
        _rows_of(found.rows), {value: _rows_of(grid) for value, grid in found.values.items()}
    )


def _rows_of(grid: oracle.Grid) -> Rows:
    return {
        day: Row(persons, grid.returned[day], grid.or_later[day])
        for day, persons in grid.persons.items()
    }


def _read(_: Json, published: Published, __: int) -> Shown:
    shown = Shown({}, {})
    for record in published.aggregates:
        if (day := record["period"]) is not None and record["persons"]:
            shown.rows[day] = _row(record)
            for one in record["breakdown"]:
                if one["persons"]:
                    name = name_of_shown(one["value"])
                    shown.values.setdefault(name, {})[day] = _row(one)
    return shown


def _row(record: Mapping[str, Any]) -> Row:
    return Row(record["persons"], record["returned"], record["returned_or_later"])


def _in_store(warehouse: Warehouse, definition: Definition, _: int) -> Shown:
    assert isinstance(definition, CohortDefinition)
    statement = cohort_statement(warehouse.settings.clickhouse_database, definition)
    counted = read_counts(definition, QueryResult(warehouse.ask(statement), {}), 0)
    return Shown(
        {day: Row(*row) for day, row in counted.rows.items()},
        {
            name_of_shown(value or ""): {day: Row(*row) for day, row in rows.items()}
            for value, rows in counted.values.items()
        },
    )


@st.composite
def cases(draw: st.DrawFn, breakdown: Json) -> Case:
    """A cohort and what persons do, over some hours to some years."""
    span = draw(st.sampled_from([DAY_MS // 4, 5 * DAY_MS, 100 * DAY_MS, 900 * DAY_MS]))
    body = {
        "start": {"where": [{"property": "starts", "op": "equals", "value": True}]},
        "return": {"where": [{"property": "returns", "op": "equals", "value": True}]},
        "period": draw(st.sampled_from(["day", "week", "month"])),
        "periods": draw(st.integers(1, 60)),
        "timezone": draw(st.sampled_from(ZONES)),
        "week_start": draw(st.sampled_from(WEEK_STARTS)),
        **breakdown,
    }
    event = st.builds(
        lambda person, at, starts, returns, plan: Event(
            person, "e", at, {"starts": starts, "returns": returns, "plan": plan}
        ),
        st.sampled_from(PERSONS),
        st.integers(NOON - span, NOON),
        st.booleans(),
        st.booleans(),
        st.sampled_from(VALUES),
    )
    return Case(body, draw(st.lists(event, min_size=1, max_size=30)))


ENTRY = Entry(
    {"start": {"event": "home"}, "periods": 2, "breakdown": {"property": "plan"}},
    {"start": {"event": "cart"}, "periods": 2},
    {"of all": cases({}), "by value": cases({"breakdown": {"property": "plan"}})},
    _counted,
    _read,
    _in_store,
)
