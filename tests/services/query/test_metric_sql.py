"""A metric asked of ClickHouse has the figures of its definition."""

import json
import math
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.conditions import Condition
from schemas.event_filter import EventFilter
from schemas.operators.metric import ACTIVE_S, KEPT, WINDOWS, Measure, MetricDefinition
from services.query.clickhouse.queries import QueryResult
from services.query.operators.metric.aggregates import MetricQuery, WindowValues, active_in
from services.query.operators.metric.sql import (
    metric_statement,
    newest_statement,
    read_kept_since,
    read_seen,
    read_windows,
    seen_statement,
)
from tests.oracles.metric import Act, Measured, active, bucket_of, measure, percentile, persons
from tests.pipelines import test_actives_fold, test_metric_fold
from tests.pipelines.test_metric_fold import (
    CASE,
    FIRST,
    NOON,
    Case,
    _typed,
    define,
    feed,
    minutes,
    start,
)
from tests.services.query.test_funnel_sql import ask
from tests.services.query.test_metric_figures import answer as shown_by_the_stream
from tests.warehouse import Event, Warehouse

patient = hypothesis_settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MONTHS_MS = 100 * 86_400_000  # an insert makes a part a month
MEASURES: list[Measure] = ["events", "sum", "percentiles", "top"]
SOON = MetricQuery(as_of=NOON + 40 * 86_400_000, limit=10_000)


def write(warehouse: Warehouse, definition: MetricDefinition, acts: list[Act]) -> MetricDefinition:
    """Store the events in a project of its own."""
    own = replace(definition, project_id=uuid.uuid4().hex)
    warehouse.write(
        Event(
            own.project_id,
            str(act.person),
            act.event,
            act.at,
            "{}" if act.value is None else json.dumps({"p": act.value}),
        )
        for act in acts
    )
    return own


def count(
    warehouse: Warehouse, definition: MetricDefinition, acts: list[Act], asked: MetricQuery = SOON
) -> dict[int, WindowValues]:
    own = write(warehouse, definition, acts)
    statement = metric_statement(warehouse.settings.clickhouse_database, own, asked)
    return read_windows(own, QueryResult(ask(warehouse, statement), {}))


def assert_figure(measure: Measure, figure: WindowValues, wanted: Measured) -> None:
    numbers = wanted.numbers
    assert figure.events == wanted.events
    match measure:
        case "events":
            assert dict(figure.top or []) == wanted.names
        case "top":
            assert dict(_typed(figure.top or [])) == wanted.values
            assert (figure.unmeasured, figure.other) == (wanted.events - wanted.values.total(), 0)
        case _:
            assert figure.unmeasured == wanted.events - len(numbers)
            off = len(numbers) * 2**-53 * math.fsum(map(abs, numbers))
            assert figure.sum == pytest.approx(math.fsum(numbers), abs=off, rel=0)
            assert (figure.minimum, figure.maximum) == (
                min(numbers, default=None),
                max(numbers, default=None),
            )
    if measure == "percentiles":
        assert figure.percentiles == [
            percentile(numbers, permille) for permille in (500, 900, 950, 990) if numbers
        ]


@pytest.mark.parametrize("measured", MEASURES)
@given(case=test_metric_fold.cases(), window=st.sampled_from([1, 2, 7]))
@patient
def test_clickhouse_measures_what_the_definition_says(
    warehouse: Warehouse, measured: Measure, case: Case, window: int
) -> None:
    near = [act._replace(at=NOON - (NOON - act.at) % MONTHS_MS) for act in case.acts]
    case = case._replace(acts=near)
    more: dict[str, Any] = {"limit": 100} if measured == "top" else {}
    more |= {"by_event": True} if measured == "events" else {}
    figures = count(
        warehouse, define(case, measured, **more), case.acts, SOON._replace(window=window)
    )
    measured_in = measure(case.acts, case.bucket_s, case.timezone, window)
    newest = max(bucket_of(act.at, case.bucket_s, case.timezone) for act in case.acts)
    wanted = {
        number: values
        for number, values in measured_in.items()
        if number - window + 1 > newest - KEPT
    }
    assert figures.keys() == wanted.keys()
    for number, figure in figures.items():
        assert_figure(measured, figure, wanted[number])


def test_clickhouse_measures_no_event_before_the_time_that_a_metric_names(
    warehouse: Warehouse,
) -> None:
    acts = minutes((0, 1), (1, 2), (2, 3))
    since = datetime.fromtimestamp(acts[1].at / 1_000, UTC).isoformat(timespec="milliseconds")
    measures: list[Measure] = ["sum", "persons"]
    for measured in measures:
        later = count(warehouse, define(CASE, measured, since=since), acts)
        assert later == count(warehouse, define(CASE, measured), acts[1:])


@given(case=test_actives_fold.cases())
@patient
def test_clickhouse_counts_the_persons_that_the_definition_says(
    warehouse: Warehouse, case: Case
) -> None:
    own = write(warehouse, define(case, "persons"), case.acts)
    database = warehouse.settings.clickhouse_database
    answer = QueryResult(ask(warehouse, metric_statement(database, own, SOON)), {})
    figures = {number: figure.persons for number, figure in read_windows(own, answer).items()}
    assert figures == persons(case.acts, case.bucket_s, case.timezone, WINDOWS[case.bucket_s])
    as_of = max(act.at for act in case.acts) + 100_000
    seen = read_seen(QueryResult(ask(warehouse, seen_statement(database, own, as_of)), {}))
    found = active_in(seen, as_of)
    assert [one.persons for one in found] == [
        active(case.acts, as_of, seconds) for seconds in ACTIVE_S
    ]


@pytest.mark.parametrize("window", [1, 10])
def test_stream_and_store_show_the_same_buckets_however_far_back(
    warehouse: Warehouse, window: int
) -> None:
    acts = minutes(*((minute, None) for minute in (0, 5, KEPT - 1, KEPT + 3, KEPT + 7)))
    definition = define(CASE, "events")
    own = write(warehouse, definition, acts)
    asked = MetricQuery(NOON + 90 * 86_400_000, window=window, limit=KEPT)
    database = warehouse.settings.clickhouse_database
    answer = QueryResult(ask(warehouse, metric_statement(database, own, asked)), {})
    partition = start(CASE, "events")
    feed(partition, acts)
    streamed = shown_by_the_stream(asked, partition)
    assert [round(one.end.timestamp() / 60) - 1 for one in streamed.buckets] == sorted(
        read_windows(own, answer)
    )
    assert streamed.kept_since is not None
    kept_since = NOON + 8 * 60_000
    assert streamed.kept_since.timestamp() * 1_000 == kept_since
    assert read_kept_since(own, answer) == kept_since
    newest = QueryResult(ask(warehouse, newest_statement(database, own)), {})
    assert read_kept_since(own, newest) == kept_since


def test_before_the_first_event_nothing_is_kept(warehouse: Warehouse) -> None:
    own = write(warehouse, define(CASE, "events"), [])
    database = warehouse.settings.clickhouse_database
    newest = QueryResult(ask(warehouse, newest_statement(database, own)), {})
    assert read_kept_since(own, newest) is None


def test_only_the_buckets_that_are_asked_for_are_measured_and_that_of_now(
    warehouse: Warehouse,
) -> None:
    acts = minutes(*((minute, None) for minute in range(10)))
    asked = MetricQuery(NOON + 9 * 60_000, 2, NOON + 60_000, NOON + 4 * 60_000)
    figures = count(warehouse, define(CASE, "events"), acts, asked)
    assert figures == dict.fromkeys([FIRST + n for n in (1, 2, 3, 4, 9)], WindowValues(2))


def test_no_more_buckets_come_than_are_asked_for_and_that_of_now(warehouse: Warehouse) -> None:
    acts = minutes(*((minute, None) for minute in range(10)))
    figures = count(
        warehouse, define(CASE, "events"), acts, MetricQuery(NOON + 9 * 60_000, limit=2)
    )
    assert sorted(figures) == [FIRST + 7, FIRST + 8, FIRST + 9]


def test_only_the_events_that_are_looked_for_count(warehouse: Warehouse) -> None:
    acts = [Act(0, NOON, "a", 1), Act(0, NOON, "a", 5), Act(0, NOON, "b", 7)]
    buys = EventFilter("a", (Condition("p", "gt", 2),))
    figures = count(warehouse, define(CASE, "sum", filter=buys), acts)
    assert figures == {FIRST: WindowValues(1, 0, 5.0, 5.0, 5.0, [])}


def test_nothing_is_no_bucket(warehouse: Warehouse) -> None:
    assert count(warehouse, define(CASE, "percentiles"), []) == {}
