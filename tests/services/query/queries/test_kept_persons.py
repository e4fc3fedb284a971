"""What the store keeps of persons answers as all events do, below any positions of the log."""

from typing import Any

from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import Prefix, Statement
from services.query.clickhouse.persons import persons_sql
from tests.oracles.events import Event
from tests.services.query.queries.asking import Asker, ms
from tests.warehouse import Warehouse

NOW = ms("2026-11-30T12:00:00+00:00")
NOON = ms("2026-11-05T12:00:00+00:00")
VALUES = st.sampled_from(["pro", "{x", "", 1, 1.5, True, None, [1, {"a.b": 2}], {"a": 1}, 2**63])
SETS = st.dictionaries(st.sampled_from(["plan", "a.b", "s", "o"]), VALUES, max_size=2)
EVENTS = st.lists(
    st.builds(
        Event,
        person=st.sampled_from(["ann", "bob", "c/d"]),
        event=st.sampled_from(["view", "buy"]),
        at=st.integers(NOON, NOON + 3),
        properties=st.fixed_dictionaries(
            {}, optional={"$set": SETS, "$set_once": SETS, "n": VALUES}
        ),
    ),
    min_size=1,
    max_size=8,
)
# Asks of all events, although the persons are kept.
ALL_EVENTS = {"from": "1970-01-01"}


def test_persons_of_all_events_are_those_below_the_newest_position(
    asker: Asker, warehouse: Warehouse
) -> None:
    plans = ["free", "pro", "pro"]
    project = asker.write(
        [
            Event(person, "view", NOON + at, {"$set": {"plan": plan}})
            for at, (person, plan) in enumerate(zip(("ann", "bob", "ann"), plans, strict=True))
        ]
    )
    newest = asker.sql(
        "SELECT max(_offset) FROM {db}.events WHERE project_id = {of:String}", of=project
    )[0][0]
    database = warehouse.settings.clickhouse_database

    def persons(positions: dict[int, int] | None) -> list[tuple[Any, ...]]:
        bind = Binder()
        columns = "person_id, first_seen, last_seen, events, set_last, set_first"
        text = persons_sql(Prefix(database, positions), project, bind)
        ordered = f"SELECT {columns} FROM ({text}) ORDER BY person_id"
        return list(zip(*warehouse.ask(Statement(ordered, bind.parameters)), strict=True))

    assert persons(None) == persons({0: int(newest) + 1})
    assert [(row[0], row[3]) for row in persons(None)] == [("ann", 2), ("bob", 1)]


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in names}


@hypothesis_settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(first=EVENTS, later=EVENTS, data=st.data())
def test_persons_as_they_are_kept_are_those_of_the_events_below_the_positions(
    asker: Asker, first: list[Event], later: list[Event], data: st.DataObject
) -> None:
    project = asker.write(first)
    asker.write_more(project, later)
    offsets = [
        int(offset)
        for (offset,) in asker.sql(
            "SELECT _offset FROM {db}.events WHERE project_id = {of:String}", of=project
        )
    ]
    end = data.draw(st.sampled_from([*sorted(offsets), max(offsets) + 1]), "end")
    below = {0: end}
    kept = asker.ask("persons", project, {}, NOW, positions=below)
    computed = asker.ask("persons", project, ALL_EVENTS, NOW, positions=below)
    assert kept == computed
    for one in kept["persons"]:
        body = {"person": one["person"]}
        shown = asker.ask("person", project, body, NOW, positions=below)
        with asker.without_persons():
            assert shown == asker.ask("person", project, body, NOW, positions=below)


def test_a_store_that_does_not_keep_persons_yet_is_asked_of_its_events(asker: Asker) -> None:
    project = asker.write([Event("ann", "buy", NOON, {"$set": {"plan": "pro"}})])
    with asker.without_persons():
        (one,) = asker.ask("persons", project, {}, NOW)["persons"]
    assert one["events"] == 1


def test_persons_of_other_projects_are_never_listed(asker: Asker) -> None:
    asker.write([Event("eve", "buy", NOON, {"$set": {"plan": "pro"}})])
    project = asker.write([Event("ann", "buy", NOON, {})])
    shown = asker.ask("persons", project, {}, NOW)["persons"]
    assert [one["person"] for one in shown] == ["ann"]
