"""ClickHouse's figures, the oracle's, and those of ClickHouse's own `windowFunnel`."""

import datetime
import uuid
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.matching.conditions import compile_conditions, parse_properties
from schemas.conditions import Condition
from schemas.operators.funnel import Funnel, FunnelDefinition, Step
from schemas.settings import Settings
from schemas.sketches.durations import sketch_of
from services.query.clickhouse.client import NOT_COMPILED, Store
from services.query.clickhouse.events import Statement
from services.query.clickhouse.queries import QueryResult
from services.query.operators.funnel.aggregates import FunnelAggregates
from services.query.operators.funnel.sql import funnel_statement, read_counts
from tests.oracles.funnel import Happening, fold
from tests.oracles.funnel_options import DAY_MS
from tests.services.query.conftest import Worker, ready, serve
from tests.services.query.test_funnels import FUNNELS
from tests.warehouse import Event, Warehouse

HOUR_MS = 3_600_000
EPOCH = datetime.date(1970, 1, 1)
NAMES = ["a", "b", "c"]


class Case(NamedTuple):
    """A funnel and the events to count it over; times are in hours around a midnight."""

    steps: list[Step]
    window_s: int
    events: list[tuple[str, str, int, str]]


steps = st.builds(
    Step,
    event=st.sampled_from(NAMES),
    where=st.sampled_from(
        [(), (), (Condition("n", "gte", 2),), (Condition("n", "not_equals", 1),)]
    ),
)
times = st.one_of(
    st.integers(-3, 3).map(lambda hours: hours * HOUR_MS),
    st.integers(0, 5),
    st.integers(-DAY_MS, 2 * DAY_MS),
    st.sampled_from([-1, DAY_MS - 1, DAY_MS, DAY_MS + 1]),
)
events = st.tuples(
    st.sampled_from(["ada", "bob", "cy"]),
    st.sampled_from([*NAMES, "other"]),
    times,
    st.sampled_from(["{}", '{"n": 1}', '{"n": 2}', '{"n": 3.5}']),
)
cases = st.builds(
    Case,
    steps=st.lists(steps, min_size=2, max_size=5),
    window_s=st.sampled_from([1, 3_600, 7_200, 86_400, 366 * 86_400]),
    events=st.lists(events, max_size=24),
)


def define(project: str, case: Case) -> FunnelDefinition:
    return FunnelDefinition(
        project_id=project,
        id="f",
        version=1,
        created_at=0,
        updated_at=0,
        funnel=Funnel(steps=tuple(case.steps), window_s=case.window_s),
    )


def write(warehouse: Warehouse, case: Case, start_ms: int = 20_000 * DAY_MS) -> FunnelDefinition:
    project = uuid.uuid4().hex
    warehouse.write(
        Event(project, person, name, start_ms + at, properties)
        for person, name, at, properties in case.events
    )
    return define(project, case)


def ask(warehouse: Warehouse, statement: Statement) -> list[Any]:
    answer = warehouse.client.query(
        statement.text, parameters=statement.parameters, settings={"readonly": 1, **NOT_COMPILED}
    )
    return list(answer.result_columns) or [[] for _ in answer.column_names]


def count(warehouse: Warehouse, definition: FunnelDefinition) -> FunnelAggregates:
    statement = funnel_statement(warehouse.settings.clickhouse_database, definition)
    return read_counts(definition, QueryResult(ask(warehouse, statement), {}), 0)


def happenings(case: Case, start_ms: int) -> list[Happening]:
    tests = [(step.event, compile_conditions(step.where)) for step in case.steps]
    return [
        Happening(
            person,
            start_ms + at,
            [
                number
                for number, (event, test) in enumerate(tests, 1)
                if event == name and test(parse_properties(properties))
            ],
        )
        for person, name, at, properties in case.events
    ]


def plain(counted: FunnelAggregates) -> Any:
    return counted.total, {
        day: (counts.reached, [_plain(times) for times in counts.times])
        for day, counts in sorted(counted.days.items())
    }


def _plain(times: Any) -> Any:
    return times.buckets.tolist(), times.counts.tolist(), times.sum_ms


def expected(case: Case, start_ms: int) -> Any:
    folded = fold(happenings(case, start_ms), len(case.steps), case.window_s * 1_000)
    return folded.totals, {
        day: (
            counts.reached,
            [_plain(sketch_of(np.array(times, np.int64))) for times in counts.times],
        )
        for day, counts in folded.days.items()
    }


@hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases)
@example(
    Case([Step("a"), Step("a"), Step("b")], 3_600, [("ada", "a", 0, "{}"), ("ada", "b", 0, "{}")])
)
@example(
    Case(
        [Step("a"), Step("b"), Step("c")],
        3_600,
        [
            ("ada", "a", 0, "{}"),
            ("ada", "b", 1, "{}"),
            ("ada", "a", HOUR_MS, "{}"),
            ("ada", "c", HOUR_MS + 1, "{}"),
        ],
    )
)
def test_clickhouse_counts_what_the_oracle_counts(warehouse: Warehouse, case: Case) -> None:
    start_ms = 20_000 * DAY_MS
    assert plain(count(warehouse, write(warehouse, case))) == expected(case, start_ms)


def test_days_before_1970_are_days_too(warehouse: Warehouse) -> None:
    case = Case(
        [Step("a"), Step("b")],
        86_400,
        [("ada", "a", -1, "{}"), ("ada", "b", 0, "{}"), ("ada", "a", 1, "{}")],
    )
    assert plain(count(warehouse, write(warehouse, case, 0))) == expected(case, 0)


@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases)
def test_steps_reached_are_those_of_window_funnel(warehouse: Warehouse, case: Case) -> None:
    case = case._replace(steps=[Step(step.event) for step in case.steps])
    definition = write(warehouse, case)
    names = [step.event for step in case.steps]
    conditions = ", ".join(f"event = '{name}'" for name in names[1:])
    table = f"{warehouse.settings.clickhouse_database}.events"
    own = f"project_id = '{definition.project_id}'"
    days = f"SELECT groupUniqArray(toNullable(toDate(timestamp))) FROM {table} WHERE {own}"
    levels = warehouse.client.query(
        f"""
        SELECT day, level, count() FROM (
            SELECT day, person_id, windowFunnel({case.window_s * 1_000})(
                toUInt64(toUnixTimestamp64Milli(timestamp)),
                event = '{names[0]}' AND ifNull(toDate(timestamp) = day, 1),
                {conditions}
            ) AS level
            FROM {table} ARRAY JOIN arrayPushFront(({days}), NULL) AS day
            WHERE {own} GROUP BY day, person_id
        ) WHERE level > 0 GROUP BY day, level
        """
    ).result_rows
    counted = count(warehouse, definition)
    found = {None: counted.total} | {day: counts.reached for day, counts in counted.days.items()}
    reached: dict[int | None, list[int]] = {None: [0] * len(names)}
    for day, level, persons in levels:
        number = None if day is None else (day - EPOCH).days
        row = reached.setdefault(number, [0] * len(names))
        for step in range(level):
            row[step] += persons
    assert reached == found


def test_events_of_other_projects_do_not_count(warehouse: Warehouse) -> None:
    case = Case([Step("a"), Step("b")], 3_600, [("ada", "a", 0, "{}"), ("ada", "b", 1, "{}")])
    write(warehouse, case)
    definition = write(warehouse, case)
    assert count(warehouse, definition).total == [1, 1]
    assert count(warehouse, define("nobody", case)).total == [0, 0]


@pytest.mark.parametrize("once", [False, True])
def test_events_before_the_time_that_a_funnel_names_do_not_count(
    warehouse: Warehouse, once: bool
) -> None:
    events = [("ada", "a", 0, "{}"), ("ada", "b", 1, "{}"), ("bob", "a", 2, "{}")]
    case = Case([Step("a"), Step("b")], 3_600, events)
    written = write(warehouse, case, start_ms=0)
    since = "1970-01-01T00:00:00.001Z"
    definition = replace(written, funnel=replace(written.funnel, since=since, once=once))
    assert count(warehouse, definition).total == [1, 0]


def test_no_part_of_a_definition_is_text_of_the_statement() -> None:
    mark = "\\'`\"}{x:String}; DROP"
    step = Step(
        mark, where=(Condition(mark, "contains", mark), Condition(mark, "in", [mark, 77177]))
    )
    definition = define(mark, Case([step, step], 3_600, []))
    statement = funnel_statement(mark, definition)
    assert "DROP" not in statement.text
    assert "77177" not in statement.text


@pytest.fixture
def whole(settings: Settings, warehouse: Warehouse) -> Settings:
    """The test's deployment with the module's database."""
    return msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )


async def test_both_sources_answer_alike(
    whole: Settings, worker: Worker, warehouse: Warehouse
) -> None:
    case = Case(
        [Step("a"), Step("b"), Step("c")],
        86_400,
        [
            ("ada", "a", 0, "{}"),
            ("ada", "b", 1_000, "{}"),
            ("bob", "a", 5, "{}"),
            ("bob", "b", 7_000, "{}"),
            ("bob", "c", 9_000, "{}"),
            ("bob", "a", DAY_MS, "{}"),
        ],
    )
    definition = write(warehouse, case)
    counted = count(warehouse, definition)
    project = definition.project_id
    shared = {"project_id": project, "funnel_id": "f", "position": 1 << 40}
    worker.publish(
        shared | {"reached": counted.total},
        *(
            shared
            | {
                "day": day,
                "reached": counts.reached,
                "times": [times._asdict() for times in counts.times],
            }
            for day, counts in counted.days.items()
        ),
    )
    body = msgspec.json.encode(definition.funnel)
    async with serve(whole) as client:
        await ready(client)
        where = FUNNELS.replace("shop", project)
        id_added = b'{"id": "f", ' + body[1:]
        assert (await client.post(where, content=id_added)).status_code == 201
        answers = []
        for source in ("stream", "store"):
            answer = await client.get(f"{where}/f/results", params={"source": source})
            assert answer.status_code == 200, answer.text
            answers.append(answer.json())
        stream, store = answers
        same = ("funnel", "totals", "days", "late_dropped")
        assert [stream[name] for name in same] == [store[name] for name in same]
        assert [step["reached"] for step in store["totals"]["steps"]] == [2, 2, 1]
        assert store.keys() == stream.keys()
        assert (stream["source"], store["source"]) == ("stream", "store")
        (end,) = store["positions"].values()
        assert end >= len(case.events)


async def test_a_database_without_events_is_named(whole: Settings) -> None:
    store = Store(whole)
    try:
        assert await store.trouble() == ""
        with pytest.raises(Exception, match="has no events yet"):
            await store.columns("shop", "SELECT 1 FROM nowhere.events", {})
    finally:
        await store.close()


async def test_a_question_can_change_nothing(whole: Settings) -> None:
    store = Store(whole)
    try:
        with pytest.raises(Exception, match=r"(?i)readonly"):
            await store.columns("shop", "CREATE TABLE t (x Int8) ENGINE = Memory", {})
    finally:
        await store.close()


async def test_a_question_that_needs_too_much_is_refused(whole: Settings) -> None:
    store = Store(whole)
    try:
        with pytest.raises(Exception, match="ask for a shorter range"):
            await store.columns("shop", "SELECT number FROM numbers(1000001)", {})
    finally:
        await store.close()
