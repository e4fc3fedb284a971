"""ClickHouse's figures of funnels with options, the oracle's, and those of `windowFunnel`."""

import datetime
import json
import uuid
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.matching.conditions import compile_read, parse_properties
from pipelines.matching.value_hash import fingerprint
from schemas.operators.funnel import Breakdown, Exclusion, Funnel, FunnelDefinition, Step
from schemas.sketches.durations import sketch_of
from schemas.value_tokens import whole_token
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import fingerprint_sql, token_sql, whole_token_sql
from services.query.clickhouse.queries import QueryResult
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.funnel.aggregates import FunnelAggregates, ValueCounts, Values
from services.query.operators.funnel.chain_sql import chain_statement, read_chain_counts
from services.query.operators.funnel.persons import (
    FunnelPersonsResponse,
    Outcome,
    PersonsQuery,
    persons_statement,
    read_persons,
)
from tests.oracles.events import Event as OracleEvent
from tests.oracles.funnel_options import DAY_MS, OfValue, figures
from tests.oracles.values import name_of_shown
from tests.pipelines.test_funnel_options import HOUR_MS, body_of, funnels
from tests.services.query.test_funnel_sql import ask
from tests.warehouse import Event, Warehouse

MIDNIGHT = 20_000 * DAY_MS


class Case(NamedTuple):
    """A funnel and events: person, name, time since a midnight, properties."""

    funnel: Funnel
    events: list[tuple[str, str, int, str]]


times = st.one_of(
    st.integers(-3, 3).map(lambda hours: hours * HOUR_MS),
    st.integers(0, 5),
    st.sampled_from([-1, DAY_MS - 1, DAY_MS, DAY_MS + 1]),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """The looks of a funnel are named 0, 1 and so on, but some look for the same event."""
    drawn = draw(funnels(draw(st.integers(2, 4)), [1, 3_600, 86_400]))
    looks = [*drawn.steps, *drawn.exclusions]
    same = draw(st.sampled_from([len(looks), len(looks), 2]))

    def named(look: Any) -> Any:
        return type(look)(**{**_fields(look), "event": str(int(look.event) % same)})

    funnel = Funnel(
        **{
            **_fields(drawn),
            "steps": tuple(map(named, drawn.steps)),
            "exclusions": tuple(map(named, drawn.exclusions)),
        }
    )
    events = st.tuples(
        st.sampled_from(["ada", "bob"]),
        st.sampled_from([*(str(number) for number in range(len(looks))), "other"]),
        times,
        st.sampled_from(["{}", '{"plan": 1}', '{"plan": 1.0}', '{"plan": "a"}']),
    )
    return Case(funnel, draw(st.lists(events, max_size=20)))


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def define(funnel: Funnel) -> FunnelDefinition:
    return FunnelDefinition(
        project_id=uuid.uuid4().hex, id="f", version=1, created_at=0, updated_at=0, funnel=funnel
    )


def write(warehouse: Warehouse, case: Case) -> FunnelDefinition:
    definition = define(case.funnel)
    warehouse.write(
        Event(definition.project_id, person, name, MIDNIGHT + at, properties)
        for person, name, at, properties in case.events
    )
    return definition


def count(warehouse: Warehouse, definition: FunnelDefinition) -> FunnelAggregates:
    statement = chain_statement(warehouse.settings.clickhouse_database, definition)
    return read_chain_counts(definition, QueryResult(ask(warehouse, statement), {}), 0)


def oracle_events(case: Case) -> list[OracleEvent]:
    return [
        OracleEvent(person, name, MIDNIGHT + at, json.loads(properties))
        for person, name, at, properties in case.events
    ]


def plain(counted: FunnelAggregates) -> Any:
    return (
        counted.total,
        list(counted.entries),
        {
            day: (
                counts.reached,
                counts.entries,
                [_plain(times) for times in counts.times],
                _by_name(counts.values),
            )
            for day, counts in sorted(counted.days.items())
        },
        _by_name(counted.values),
    )


def _by_name(values: Values) -> dict[str, tuple[list[int], list[int]]]:
    return {name_of_shown(value or ""): (of.reached, of.entries) for value, of in values.items()}


def _plain(times: Any) -> Any:
    return times.buckets.tolist(), times.counts.tolist(), times.sum_ms


def expected(case: Case) -> Any:
    found = figures(body_of(case.funnel), oracle_events(case))
    return (
        found.reached,
        found.entries,
        {
            day: (
                of_day.reached,
                of_day.entries,
                [_plain(sketch_of(np.array(times, np.int64))) for times in of_day.times],
                _of_values(
                    {key[1]: of for key, of in found.values_by_day.items() if key[0] == day}
                ),
            )
            for day, of_day in sorted(found.days.items())
        },
        _of_values(found.values),
    )


def _of_values(values: dict[str, OfValue]) -> dict[str, tuple[list[int], list[int]]]:
    return {value: (of.reached, of.entries) for value, of in values.items()}


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_clickhouse_counts_what_the_oracle_counts(warehouse: Warehouse, case: Case) -> None:
    assert plain(count(warehouse, write(warehouse, case))) == expected(case)


def levels(
    warehouse: Warehouse, definition: FunnelDefinition, mode: str, per: str = "person_id"
) -> list[int]:
    """How many persons reached each step, as ClickHouse's own function has it."""
    steps = definition.funnel.steps
    tests = ", ".join(f"event = '{step.event}'" for step in steps)
    rows = warehouse.client.query(
        f"""
        SELECT person_id, max(level) FROM (
            SELECT person_id,
                windowFunnel({definition.funnel.window_s * 1_000}, {mode})(at, {tests}) AS level
            FROM (
                SELECT *, toUInt64(toUnixTimestamp64Milli(timestamp)) AS at,
                    countIf(event = '{steps[0].event}') OVER (
                        PARTITION BY person_id ORDER BY timestamp
                    ) AS attempt
                FROM {warehouse.settings.clickhouse_database}.events
                WHERE project_id = '{definition.project_id}'
            )
            GROUP BY {per}
        ) GROUP BY person_id
        """
    ).result_rows
    return [sum(level > step for _, level in rows) for step in range(len(steps))]


@st.composite
def walks(draw: st.DrawFn, *, once: bool) -> Case:
    """Events each at its own time; in a strict funnel each satisfies one step at most."""
    names = draw(st.lists(st.sampled_from("abcx"), max_size=12))
    steps = draw(st.lists(st.sampled_from("abc"), min_size=3, max_size=3, unique=not once))
    funnel = Funnel(
        tuple(map(Step, steps)),
        window_s=draw(st.sampled_from([3, 100])),
        once=once,
        order="ordered" if once else "strict",
    )
    return Case(funnel, [("ada", name, 1_000 * at, "{}") for at, name in enumerate(names)])


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(walks(once=False))
def test_each_entry_of_a_strict_funnel_goes_as_far_as_window_funnel_in_strict_order(
    warehouse: Warehouse, case: Case
) -> None:
    """There, a person's whole search ends with the first chain; here the next has its chance."""
    definition = write(warehouse, case)
    own = levels(
        warehouse, definition, "'strict_order', 'strict_deduplication'", "person_id, attempt"
    )
    assert count(warehouse, definition).total == own


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(walks(once=True))
def test_once_is_what_window_funnel_calls_strict_once(warehouse: Warehouse, case: Case) -> None:
    definition = write(warehouse, case)
    assert count(warehouse, definition).total == levels(warehouse, definition, "'strict_once'")


def test_values_are_told_apart_as_on_the_stream(warehouse: Warehouse) -> None:
    values = [
        *("{}", '{"a": null}', '{"a": {}}', '{"a": [1]}', '{"a": ""}', '{"a": 0}', '{"a": -0.0}'),
        *('{"a": true}', '{"a": "true"}', '{"a": 1}', '{"a": 1.0}', '{"a": "1"}', '{"a": 1e300}'),
        *('{"a": 18446744073709551615}', '{"a": 123456789012345678901}', '{"a": -7}'),
        *('{"a": "é' + "x" * 300 + '"}', '{"a": "é' + "x" * 301 + '"}', '{"a": 0.1}', '{"b": 1}'),
        *('{"a": 1234567890123456789}', '{"a": 1234567890123456790}', '{"a": 1e17}'),
        *('{"a": 9007199254740993}', '{"a": 9007199254740992.0}', '{"a": -9223372036854775808}'),
        *(f'{{"a": "{"😀" * count}"}}' for count in (199, 200, 201)),
        *(f'{{"a": "{"x" * 200}{end}"}}' for end in ("", "y", "z")),
    ]
    project = uuid.uuid4().hex
    warehouse.write(Event(project, "ada", "a", at, value) for at, value in enumerate(values))
    bind = Binder()
    tokens = f"[{token_sql('a', bind)}, {token_sql('b', bind)}]"
    found = warehouse.client.query(
        f"SELECT {fingerprint_sql(tokens)} "
        f"FROM {warehouse.settings.clickhouse_database}.events "
        f"WHERE project_id = {bind(project, 'String')} ORDER BY timestamp",
        parameters=bind.parameters,
    ).result_columns[0]
    reads = [compile_read(name) for name in "ab"]
    wanted = [fingerprint([read(parse_properties(value)) for read in reads]) for value in values]
    assert list(found) == wanted
    assert len(set(wanted)) == len(values) - 5  # not set four times, 0 and 1 twice each


def test_values_that_are_held_constant_are_compared_as_on_the_stream(warehouse: Warehouse) -> None:
    texts = [
        *(
            "null",
            "{}",
            '{"a": 1}',
            '""',
            "0",
            "-0.0",
            "false",
            "true",
            '"true"',
            "1",
            "1.0",
            '"1"',
        ),
        *("1234567890123456789", "1234567890123456790", "18446744073709551615", "-7", "1e300"),
        *("9007199254740992", "9007199254740993", "9007199254740992.0", "100000000000000000"),
        *("1e17", '"' + "x" * 300 + '"', '"' + "x" * 299 + 'y"', "0.1", "1" * 30, "1e30"),
        *("[]", "[1]", "[1.0]", "[2]", '["1"]', "[true]", "[null]", "[[1], [2]]", "[[1, 2]]"),
        *('[{"a": 1, "b": 2}]', '[{"b": 2, "a": 1}]', '[{"a": null}]', "[{}]", '["2020-01-01"]'),
        *('[1, "a"]', '["a", 1]', "[1, 2.5]", "[1.0, 2.5]", "[1234567890123456789]"),
        "[1234567890123456790]",
    ]
    project = uuid.uuid4().hex
    events = [f'{{"a": {text}}}' for text in texts]
    warehouse.write(Event(project, "ada", "a", at, event) for at, event in enumerate(events))
    bind = Binder()
    found = warehouse.client.query(
        f"SELECT {whole_token_sql('a', bind)} "
        f"FROM {warehouse.settings.clickhouse_database}.events "
        f"WHERE project_id = {bind(project, 'String')} ORDER BY timestamp",
        parameters=bind.parameters,
    ).result_columns[0]
    read = compile_read("a")
    wanted = [whole_token(read(parse_properties(event))) for event in events]
    assert [found.index(one) for one in found] == [wanted.index(one) for one in wanted]
    scalars = [place for place, one in enumerate(wanted) if not one.startswith("a")]
    assert [found[place] for place in scalars] == [wanted[place] for place in scalars]


def test_no_part_of_a_definition_is_text_of_the_statement() -> None:
    mark = "\\'`\"}{x:String}; DROP"
    definition = define(
        Funnel(
            (Step(mark), Step(mark, optional=True)),
            exclusions=(Exclusion(mark),),
            hold_constant=(mark,),
        )
    )
    statement = chain_statement(mark, definition)
    assert "DROP" not in statement.text


def persons(
    warehouse: Warehouse, definition: FunnelDefinition, step: int, outcome: Outcome
) -> list[str]:
    """All pages of persons, one person each."""
    asked = PersonsQuery(step, outcome, "", 1, datetime.date.min, datetime.date.max)
    found = []
    while True:
        statement = persons_statement(warehouse.settings.clickhouse_database, definition, asked)
        page = read_persons(asked, QueryResult(ask(warehouse, statement), {}))
        found += page.persons
        if page.next is None:
            return found
        asked = asked._replace(after=page.next)


def test_persons_of_a_step_are_paged_and_those_who_dropped_out_before_it(
    warehouse: Warehouse,
) -> None:
    events = [
        *(("ada", name, at, "{}") for at, name in enumerate("abc")),
        *(("bob", name, at, "{}") for at, name in enumerate("ac")),
        ("cy", "a", 0, "{}"),
        ("dan", "b", 0, "{}"),
    ]
    steps = Step("a"), Step("b"), Step("c")
    skipping = Step("a"), Step("b", optional=True), Step("c")
    for funnel, wanted in (
        (Funnel(steps), [["ada"], ["ada", "bob", "cy"], ["bob", "cy"], []]),
        (Funnel(steps, once=True), [["ada"], ["ada", "bob", "cy"], ["bob", "cy"], []]),
        (Funnel(skipping), [["ada", "bob"], ["ada", "bob", "cy"], ["bob", "cy"], ["cy"]]),
    ):
        definition = write(warehouse, Case(funnel, events))
        assert [
            persons(warehouse, definition, 3, "reached"),
            persons(warehouse, definition, 1, "reached"),
            persons(warehouse, definition, 2, "dropped"),
            persons(warehouse, definition, 3, "dropped"),
        ] == wanted


def test_persons_are_those_who_entered_on_the_days_asked_for(warehouse: Warehouse) -> None:
    day = datetime.date(1970, 1, 1) + datetime.timedelta(days=20_000)
    for once in (False, True):
        funnel = Funnel((Step("a"), Step("b")), once=once)
        events = [("ada", "a", 0, "{}"), ("ada", "b", DAY_MS, "{}"), ("bob", "a", DAY_MS, "{}")]
        definition = write(warehouse, Case(funnel, events))
        asked = PersonsQuery(1, "reached", "", 9, day, day)
        statement = persons_statement(warehouse.settings.clickhouse_database, definition, asked)
        found = read_persons(asked, QueryResult(ask(warehouse, statement), {}))
        assert found == FunnelPersonsResponse(["ada"], None, {})


MANY = tuple(Step(str(number)) for number in range(32))


@pytest.mark.parametrize(
    "funnel",
    [
        Funnel(MANY),
        Funnel(MANY, once=True),
        Funnel(MANY, order="any"),
        Funnel(MANY[:31], order="strict"),
        Funnel((MANY[0], *(Step(step.event, optional=True) for step in MANY[1:]))),
        Funnel(MANY[:24], exclusions=tuple(Exclusion(f"x{n}", before=n + 2) for n in range(8))),
        Funnel(MANY, hold_constant=("plan", "cart", "shop", "page"), entries=True),
        Funnel(MANY, breakdown=Breakdown("plan", 32)),
    ],
    ids=lambda funnel: f"{len(funnel.steps)} steps, {funnel.order}",
)
def test_as_many_steps_as_a_funnel_may_have_are_counted_and_their_persons_found(
    warehouse: Warehouse, funnel: Funnel
) -> None:
    steps = len(funnel.steps)
    events = [
        (person, str(number), number, '{"plan": "pro"}')
        for person, reached in (("ada", steps), ("bob", steps - 1))
        for number in range(reached)
    ]
    definition = write(warehouse, Case(funnel, events))
    if not funnel.plain:
        assert count(warehouse, definition).total == [2] * (steps - 1) + [1]
    assert persons(warehouse, definition, steps, "reached") == ["ada"]
    if not funnel.steps[-1].optional:
        assert persons(warehouse, definition, steps, "dropped") == ["bob"]


def test_the_rest_of_the_values_is_other(warehouse: Warehouse) -> None:
    funnel = Funnel((Step("a"), Step("b")), breakdown=Breakdown("plan"))
    events = [
        (f"{value}-{number}", "a", 0, f'{{"plan": {value}}}')
        for value in range(MAX_SHOWN + 3)
        for number in range(3 if value > 2 else 1)
    ]
    definition = write(warehouse, Case(funnel, [*events, ("0-0", "b", 1, "{}")]))
    values = count(warehouse, definition).values
    assert values[None] == ValueCounts([3, 1], [])
    assert len(values) == MAX_SHOWN + 1
