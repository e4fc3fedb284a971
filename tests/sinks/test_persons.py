"""The table of persons equals a fold of the events, whatever order and accident they come by."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.settings import Settings
from sinks.clickhouse import ClickHouseSink
from tests.sinks.events import NOV_2025_MS, batch, event
from tests.sinks.tables import query

Person = tuple[str, str]


@pytest.fixture
def sink(database: Settings) -> Iterator[ClickHouseSink]:
    sink = ClickHouseSink(database)
    sink.setup()
    yield sink
    sink.close()


def seen(number: int, person: str, at: int = 0, **properties: Any) -> dict[str, Any]:
    """Return an event of a person that sets properties."""
    return event(
        number,
        project_id="shop",
        person_id=person,
        timestamp=NOV_2025_MS + at,
        properties=json.dumps({"price": number, **properties}),
    )


def persons(settings: Settings) -> dict[Person, tuple[int, int, int, dict[str, Any]]]:
    """Return what the view has of each person: first and last time, count and properties."""
    rows = query(
        settings,
        "SELECT project_id, person_id, toUnixTimestamp64Milli(first_seen), "
        "toUnixTimestamp64Milli(last_seen), events, toJSONString(properties) "
        f"FROM {settings.clickhouse_database}.persons",
    )
    found = {
        (str(project), str(person)): (int(first), int(last), int(count), sent(json.loads(values)))
        for project, person, first, last, count, values in rows
    }
    assert len(found) == len(rows)
    return found


def sent(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return properties by the names that were sent."""
    return {name.replace("%2E", "."): value for name, value in values.items()}


def fold(events: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[Person, Any]:
    """Return the same of events with their offsets, in the plainest way."""
    by_person: dict[Person, list[tuple[int, int, dict[str, Any]]]] = {}
    for offset, one in events:
        own = by_person.setdefault((one["project_id"], one["person_id"]), [])
        own.append((one["timestamp"], offset, json.loads(one["properties"])))
    found = {}
    for person, own in by_person.items():
        own.sort(key=lambda one: one[:2])
        values: dict[str, Any] = {}
        for _, _, sets in own:
            for name, value in sets.get("$set_once", {}).items():
                values.setdefault(name, value)
        for _, _, sets in own:
            values |= sets.get("$set", {})
        found[person] = (own[0][0], own[-1][0], len(own), values)
    return found


NAMES = st.sampled_from(["plan", "a.b", "it's", "ключ", "{", "s", ""])
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text("ab'\\\"{}", max_size=4),
    st.just([1, 2]),
    st.just({"z": 1}),
)
GIVEN = st.dictionaries(NAMES.filter(bool), VALUES, max_size=2)
EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 5), GIVEN, GIVEN), min_size=1, max_size=12
)


@hypothesis_settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(EVENTS, st.data())
def test_persons_equal_a_fold_of_the_events_however_they_are_written(
    database: Settings, sink: ClickHouseSink, made: Any, data: st.DataObject
) -> None:
    name = database.clickhouse_database
    for table in ("events", "person_states"):
        query(database, f"TRUNCATE TABLE {name}.{table}")
    events = []
    for number, (person, at, last, once) in enumerate(made):
        sets = {key: value for key, value in (("$set", last), ("$set_once", once)) if value}
        events.append(seen(number, person, at * 40_000_000_000, **sets))
    token = data.draw(st.integers(0, 2**31))
    first = 0
    while first < len(events):
        size = data.draw(st.integers(1, len(events) - first))
        chunk = batch(events[first : first + size], first, checksum=token)
        sink.write(chunk)
        accident = data.draw(st.sampled_from(["none", "retried", "lost", "merged"]))
        if accident == "lost":
            query(
                database,
                f"ALTER TABLE {name}.person_states DELETE WHERE last_offset >= {first} "
                "SETTINGS mutations_sync = 2",
            )
            sink.derive(0, 0, first)  # what was folded in the same rows before
        if accident in {"retried", "lost"}:
            sink.write(chunk._replace(again=True))
        if accident == "merged":
            query(database, f"OPTIMIZE TABLE {name}.person_states FINAL")
        first += size
    assert persons(database) == fold(list(enumerate(events)))


def test_an_insert_that_is_sent_again_counts_no_event_twice(
    database: Settings, sink: ClickHouseSink
) -> None:
    events = [seen(number, "ann", number) for number in range(5)]
    for _ in range(2):
        sink.write(batch(events))
    # Its token is known no more, and the part is found by its last row.
    sink.write(batch(events, checksum=8, again=True))
    assert persons(database) == fold(list(enumerate(events)))


def test_events_whose_aggregates_a_killed_store_lacks_are_folded_when_they_are_written_again(
    database: Settings, sink: ClickHouseSink
) -> None:
    events = [seen(number, "ann", number, **{"$set": {"n": number}}) for number in range(5)]
    sink.write(batch(events))
    query(database, f"TRUNCATE TABLE {database.clickhouse_database}.person_states")
    assert persons(database) == {}
    sink.write(batch(events, again=True))
    assert persons(database) == fold(list(enumerate(events)))


def test_a_person_in_two_partitions_is_one_row(database: Settings, sink: ClickHouseSink) -> None:
    sink.write(batch([seen(0, "ann", 5, **{"$set": {"n": 1}})], partition=0))
    sink.write(batch([seen(1, "ann", 9, **{"$set": {"n": 2}})], partition=1))
    at = NOV_2025_MS
    assert persons(database) == {("shop", "ann"): (at + 5, at + 9, 2, {"n": 2})}


def test_the_projects_of_equal_persons_are_kept_apart(
    database: Settings, sink: ClickHouseSink
) -> None:
    sink.write(batch([{**seen(n, "ann"), "project_id": f"p{n % 2}"} for n in range(3)]))
    assert {key: kept[2] for key, kept in persons(database).items()} == {
        ("p0", "ann"): 2,
        ("p1", "ann"): 1,
    }
