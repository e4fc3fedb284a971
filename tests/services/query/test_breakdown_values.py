"""Figures by value compare values as a whole, on the stream and in ClickHouse alike."""

import uuid
from typing import Any

import pytest

from schemas.operators.cohort import CohortDefinition
from schemas.operators.funnel import FunnelDefinition
from services.query.clickhouse.queries import QueryResult
from services.query.operators.cohort.sql import cohort_statement
from services.query.operators.cohort.sql import read_counts as read_grids
from services.query.operators.funnel.chain_sql import chain_statement, read_chain_counts
from tests.laws.driver import Life, definition_of
from tests.laws.entry import NOON
from tests.oracles.events import Event
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

BY_PLAN = {"breakdown": {"property": "plan"}}
BODIES: dict[str, dict[str, Any]] = {
    "funnel": {"steps": [{"event": "a"}, {"event": "b"}], "window_s": 60, **BY_PLAN},
    "cohort": {"start": {"event": "a"}, "periods": 2, **BY_PLAN},
}


def on_the_stream(kind: str, events: list[Event]) -> dict[str | None, int]:
    """How many persons each value has, as it is published."""
    life = Life(definition_of(kind, {kind: BODIES[kind]}), 0)
    life.take(events)
    return {
        one["value"]: one["reached"][0] if kind == "funnel" else one["persons"]
        for record in life.published().aggregates
        if (record["day"] if kind == "funnel" else record["period"]) is not None
        for one in record["breakdown"]
    }


def in_store(warehouse: Warehouse, kind: str, events: list[Event]) -> dict[str | None, int]:
    """How many persons each value has, as ClickHouse counts."""
    definition = definition_of(kind, {kind: BODIES[kind]}, uuid.uuid4().hex)
    warehouse.write(
        Row(definition.project_id, event.person, event.event, event.at, event.text)
        for event in events
    )
    database = warehouse.settings.clickhouse_database
    if isinstance(definition, FunnelDefinition):
        result = QueryResult(warehouse.ask(chain_statement(database, definition)), {})
        counted = read_chain_counts(definition, result, 0)
        return {value: of.reached[0] for value, of in counted.values.items()}
    assert isinstance(definition, CohortDefinition)
    result = QueryResult(warehouse.ask(cohort_statement(database, definition)), {})
    grids = read_grids(definition, result, 0).values
    return {value: sum(row.persons for row in grid.values()) for value, grid in grids.items()}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (
            [1234567890123456789, 1234567890123456790, 1234567890123456790],
            {"1234567890123456789": 1, "1234567890123456790": 2},
        ),
        ([2**53, 2.0**53, 2**53 + 1], {"9007199254740992.0": 2, "9007199254740993": 1}),
        ([2**64 - 1, 2**64 - 2], {"18446744073709551615": 1, "18446744073709551614": 1}),
        ([-(2**63), 1 - 2**63], {"-9.223372036854776e+18": 1, "-9223372036854775807": 1}),
        ([1, 1.0, True, "1"], {"1": 2, "true": 1, '"1"': 1}),
        ([10**17, 1e17], {"1e+17": 2}),
        ([[1], [2], {"a": 1}, None], {"null": 4}),
        (
            ["x" * 200, "x" * 200 + "y", "x" * 200 + "z", "x" * 200 + "z"],
            {
                f'"{"x" * 200}"': 1,
                f'"{"x" * 200}…c2dc2dffc6140896"': 1,
                f'"{"x" * 200}…efd6bc7ecd8e166e"': 2,
            },
        ),
    ],
)
def test_values_that_differ_are_counted_by_themselves(
    warehouse: Warehouse, kind: str, values: list[Any], shown: dict[str, int]
) -> None:
    events = [
        Event(f"person {number}", "a", NOON, {"plan": value}) for number, value in enumerate(values)
    ]
    assert on_the_stream(kind, events) == shown
    assert in_store(warehouse, kind, events) == shown
