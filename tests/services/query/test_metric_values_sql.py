"""ClickHouse and the stream show the same figures by value, in windows and with many values."""

import datetime
import json
import random
import uuid
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.operators.metric import ByProperty, Measure, MetricDefinition
from services.query.clickhouse.queries import QueryResult
from services.query.operators.metric.aggregates import MetricAggregates, MetricQuery
from services.query.operators.metric.response import MetricResultsResponse, assemble
from services.query.operators.metric.sql import metric_statement, read_windows
from services.query.operators.metric.sql_by_value import read_values, values_statement
from tests.oracles.metric import Act
from tests.pipelines.test_metric_fold import EVER, NOON, Case, define
from tests.services.query.test_funnel_sql import ask
from tests.services.query.test_metric_figures import answer, split
from tests.warehouse import Event, Warehouse

DAY_MS = 86_400_000
BY = {"breakdown": ByProperty("q")}
VALUES = [None, True, 1, 1.5, "1", "naïve", "x" * 300, *range(2, 40), [1], 2**60 + 1]


def acts_of(seed: int) -> list[Act]:
    """Events of many values, most of which are rare, over some days around a change of clocks."""
    drawn = random.Random(seed)
    return [
        Act(
            drawn.randrange(6),
            NOON - drawn.randrange(20 * DAY_MS),
            "a",
            drawn.choice([None, 1, 2.5, -3]),
            VALUES[min(int(drawn.expovariate(0.1)), len(VALUES) - 1)],
        )
        for _ in range(300)
    ]


def in_store(
    warehouse: Warehouse, definition: MetricDefinition, acts: list[Act], query: MetricQuery
) -> MetricResultsResponse:
    own = replace(definition, project_id=uuid.uuid4().hex)
    warehouse.write(
        Event(own.project_id, str(act.person), act.event, act.at, json.dumps(properties(act)))
        for act in acts
    )
    database = warehouse.settings.clickhouse_database
    windows = read_windows(
        own, QueryResult(ask(warehouse, metric_statement(database, own, query)), {})
    )
    values = QueryResult(ask(warehouse, values_statement(database, own, query, windows)), {})
    aggregates = MetricAggregates(windows, {}, 0, None, None, {}, values=read_values(own, values))
    return assemble(definition, "store", aggregates, query)


def properties(act: Act) -> dict[str, Any]:
    return {name: of for name, of in (("p", act.value), ("q", act.by)) if of is not None}


@pytest.mark.parametrize("length", [3_600, 86_400, "week"])
@pytest.mark.parametrize(
    ("measure", "window", "limit"),
    [("events", 1, 100), ("sum", 1, 5), ("average", 7, 9), ("maximum", 3, 100), ("persons", 1, 7)],
)
def test_the_values_of_every_window_are_those_of_the_stream(
    warehouse: Warehouse, length: Any, measure: Measure, window: int, limit: int
) -> None:
    case = Case(length, "Europe/Lisbon", EVER if measure != "persons" else 20 * DAY_MS, [])
    acts = acts_of(length if isinstance(length, int) else 7)
    if length == "week":
        window = 1
    query = MetricQuery(NOON - 3 * DAY_MS, window, limit=limit)
    streamed = answer(query, *split(case._replace(acts=acts), measure, **BY))
    stored = in_store(warehouse, define(case, measure, **BY), acts, query)
    assert streamed.error == stored.error
    assert [one.breakdown for one in streamed.buckets] == [one.breakdown for one in stored.buckets]
    assert streamed.now.breakdown == stored.now.breakdown
    for bucket in streamed.buckets:
        assert bucket.breakdown is not None
        if measure == "persons":
            assert bucket.persons is not None
            of_values = [[of.persons for of in one.persons or ()] for one in bucket.breakdown]
            in_all = [sum(column) for column in zip(*of_values, strict=True)]
            assert in_all == [one.persons for one in bucket.persons]
        else:
            assert bucket.events == sum(one.events or 0 for one in bucket.breakdown)


def test_a_week_in_which_clocks_change_has_all_its_hours(warehouse: Warehouse) -> None:
    # Clocks went back in Lisbon on Sunday, 27 October 2024: that week has 169 hours.
    begin, end = (
        int(datetime.datetime(2024, 10, day, hour, tzinfo=datetime.UTC).timestamp() * 1_000)
        for day, hour in ((20, 23), (28, 0))
    )
    acts = [
        Act(0, at, "a", 1, "in" if begin <= at < end else "out")
        for at in (begin - 1, begin, end - 1, end)
    ]
    case = Case("week", "Europe/Lisbon", EVER, acts)
    query = MetricQuery(end + DAY_MS)
    for shown in (
        answer(query, *split(case, "sum", **BY)),
        in_store(warehouse, define(case, "sum", **BY), acts, query),
    ):
        (_, week, _) = shown.buckets
        assert (week.begin.timestamp() * 1_000, week.end.timestamp() * 1_000) == (begin, end)
        assert [(one.value, one.events) for one in week.breakdown or ()] == [("in", 2)]
