"""A segment asked of ClickHouse has the members that its rule says, whoever tells them."""

import json
import uuid
from collections.abc import Sequence

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.conditions import Condition
from schemas.operators.segment import Performed, Rule, Seen, Segment, SegmentDefinition
from services.query.operators.segment.response import sets_of
from services.query.operators.segment.sql import members_statement, sizes_statement
from tests.pipelines.test_segment_fold import (
    NOW,
    PERSONS,
    Happening,
    did,
    lives,
    members,
    rules,
)
from tests.services.query.test_funnel_sql import ask
from tests.warehouse import Event, Warehouse


def define(project: str, rule: Rule, name: str = "s") -> SegmentDefinition:
    return SegmentDefinition(
        project_id=project,
        id=name,
        version=1,
        created_at=0,
        updated_at=0,
        segment=Segment(rule=rule),
        rule=rule,
    )


def write(warehouse: Warehouse, life: Sequence[Happening]) -> str:
    """Write events in the order in which they come, into a project of their own; returns it."""
    project = uuid.uuid4().hex
    warehouse.write(
        Event(project, str(one.person), one.event, one.at, json.dumps(one.properties), one.person)
        for one in life
    )
    return project


def count(warehouse: Warehouse, definitions: Sequence[SegmentDefinition], clock: int) -> list[int]:
    statement = sizes_statement(warehouse.settings.clickhouse_database, definitions, clock)
    return [int(column[0]) for column in ask(warehouse, statement)]


def page(
    warehouse: Warehouse,
    definition: SegmentDefinition,
    clock: int,
    after: str = "",
    limit: int = 10,
) -> list[str]:
    database = warehouse.settings.clickhouse_database
    columns = ask(warehouse, members_statement(database, definition, clock, after, limit))
    return [str(name) for name in columns[0]] if columns else []


@given(
    asked=st.lists(rules, min_size=3, max_size=3),
    life=lives,
    clock=st.integers(NOW, NOW + 25_000),
)
@hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_clickhouse_finds_whom_the_rule_says(
    warehouse: Warehouse, asked: list[Rule], life: list[Happening], clock: int
) -> None:
    """Each person is on a partition of their own; the project's clock is that of all."""
    project = write(warehouse, life)
    wanted = {
        str(number): {
            str(person) for person in range(PERSONS) if person in members(rule, life, clock)
        }
        for number, rule in enumerate(asked)
    }
    definitions = [define(project, rule, str(number)) for number, rule in enumerate(asked)]
    assert count(warehouse, definitions, clock) == [
        len(set.intersection(*(wanted[name] for name in some))) for some in sets_of(list(wanted))
    ]
    assert page(warehouse, definitions[0], clock) == sorted(wanted["0"])


def test_segments_that_ask_the_same_share_what_is_counted(warehouse: Warehouse) -> None:
    project = write(warehouse, [did("a", 0)])
    twins = [define(project, Rule(performed=Performed()), name) for name in ("one", "two")]
    assert count(warehouse, twins, NOW) == [1, 1, 1]


def test_a_project_without_events_has_nobody_in_its_segments(warehouse: Warehouse) -> None:
    nobody = define("nobody", Rule(performed=Performed(exactly=0)))
    assert count(warehouse, [nobody], NOW) == [0]
    assert page(warehouse, nobody, NOW) == []


def test_the_borders_are_those_of_the_stream(warehouse: Warehouse) -> None:
    project = write(warehouse, [did("a", 0)])
    within = define(project, Rule(performed=Performed(within_s=10)), "within")
    longer = define(project, Rule(last_seen=Seen(not_within_s=10)), "longer")
    for later, counts in ((10_000, [1, 0, 0]), (10_001, [0, 1, 0])):
        assert count(warehouse, [within, longer], NOW + later) == counts
    at = "2027-01-15T08:00:00Z"
    for seen in (Seen(before=at), Seen(after=at)):
        assert count(warehouse, [define(project, Rule(first_seen=seen))], NOW) == [0]


def test_members_come_in_pages_by_id(warehouse: Warehouse) -> None:
    project = write(warehouse, [did("a", 0)._replace(person=person) for person in (11, 2, 1)])
    everybody = define(project, Rule(performed=Performed()))
    assert page(warehouse, everybody, NOW, limit=2) == ["1", "11"]
    assert page(warehouse, everybody, NOW, after="11") == ["2"]


def test_a_property_of_a_person_is_none_of_the_event(warehouse: Warehouse) -> None:
    project = write(warehouse, [did("a", 0, {"$set.plan": "pro", "plan": "pro"})])
    asked = define(project, Rule(person=(Condition("plan", value="pro"),)))
    assert count(warehouse, [asked], NOW) == [0]
