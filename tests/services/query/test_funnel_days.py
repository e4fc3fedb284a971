"""A funnel's days are those of its time zone, on the stream and in ClickHouse alike."""

import datetime
import uuid
from typing import Any, NamedTuple

import pytest

from schemas.operators.funnel import FunnelDefinition
from services.query.clickhouse.queries import QueryResult
from services.query.operators.funnel.persons import (
    PersonsQuery,
    persons_statement,
    read_persons,
)
from tests.laws.driver import Life, definition_of
from tests.laws.entry import entry_of
from tests.oracles.events import Event
from tests.services.query.test_funnel_sql import ask
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

HOUR_MS = 3_600_000
EPOCH = datetime.date(1970, 1, 1)
STEPS = [{"event": "a"}, {"event": "b"}]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with options": {"once": True, "entries": True},
    "any": {"order": "any", "breakdown": {"property": "plan"}},
}


class Case(NamedTuple):
    """Moments of a zone, and the days of that zone that they lie on."""

    zone: str
    days: dict[str, str]


CASES = {
    "a day of 23 hours": Case(
        "Europe/Lisbon",
        {
            "2026-03-28T23:59:59.999Z": "2026-03-28",
            "2026-03-29T00:00:00.000Z": "2026-03-29",
            "2026-03-29T22:59:59.999Z": "2026-03-29",
            "2026-03-29T23:00:00.000Z": "2026-03-30",
        },
    ),
    "a day of 25 hours": Case(
        "Europe/Lisbon",
        {
            "2026-10-24T22:59:59.999Z": "2026-10-24",
            "2026-10-24T23:00:00.000Z": "2026-10-25",
            "2026-10-25T23:59:59.999Z": "2026-10-25",
            "2026-10-26T00:00:00.000Z": "2026-10-26",
        },
    ),
    "a day of 23 and a half hours": Case(
        "Australia/Lord_Howe",
        {
            "2026-10-03T13:29:59.999Z": "2026-10-03",
            "2026-10-03T13:30:00.000Z": "2026-10-04",
            "2026-10-04T12:59:59.999Z": "2026-10-04",
            "2026-10-04T13:00:00.000Z": "2026-10-05",
        },
    ),
    "half an hour off": Case(
        "Asia/Kolkata",
        {"2026-05-03T18:29:59.999Z": "2026-05-03", "2026-05-03T18:30:00.000Z": "2026-05-04"},
    ),
    "three quarters of an hour off": Case(
        "Asia/Kathmandu",
        {"2026-05-03T18:14:59.999Z": "2026-05-03", "2026-05-03T18:15:00.000Z": "2026-05-04"},
    ),
    "half an hour off to the west": Case(
        "America/St_Johns",
        {"2026-11-30T03:29:59.999Z": "2026-11-29", "2026-11-30T03:30:00.000Z": "2026-11-30"},
    ),
    "a day without midnight": Case(
        "Africa/Cairo",
        {
            "2026-04-23T21:59:59.999Z": "2026-04-23",
            "2026-04-23T22:00:00.000Z": "2026-04-24",
            "2026-04-24T20:59:59.999Z": "2026-04-24",
            "2026-04-24T21:00:00.000Z": "2026-04-25",
        },
    ),
    "a day that was left out": Case(
        "Pacific/Apia",
        {"2011-12-30T09:59:59.999Z": "2011-12-29", "2011-12-30T10:00:00.000Z": "2011-12-31"},
    ),
    "a year that has begun elsewhere": Case(
        "Pacific/Kiritimati",
        {"2026-12-31T09:59:59.999Z": "2026-12-31", "2026-12-31T10:00:00.000Z": "2027-01-01"},
    ),
}


def ms_of(moment: str) -> int:
    at = datetime.datetime.fromisoformat(moment)
    return round(at.timestamp() * 1_000)


def events_of(case: Case) -> list[Event]:
    """Two persons enter at each moment, and one of them goes on when the day is over."""
    return [
        event
        for number, moment in enumerate(case.days)
        for event in (
            Event(f"goes {number}", "a", ms_of(moment)),
            Event(f"stays {number}", "a", ms_of(moment)),
            Event(f"goes {number}", "b", ms_of(moment) + 26 * HOUR_MS),
        )
    ]


def body_of(case: Case, kind: str) -> dict[str, Any]:
    return {"steps": STEPS, "window_s": 2 * 86_400, "timezone": case.zone, **KINDS[kind]}


def stored(warehouse: Warehouse, body: dict[str, Any], events: list[Event]) -> FunnelDefinition:
    definition = definition_of("funnel", {"funnel": body}, uuid.uuid4().hex)
    assert isinstance(definition, FunnelDefinition)
    warehouse.write(
        Row(definition.project_id, event.person, event.event, event.at, event.text)
        for event in events
    )
    return definition


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_a_person_enters_on_the_day_that_the_zone_has(
    warehouse: Warehouse, name: str, kind: str
) -> None:
    case, entry = CASES[name], entry_of("funnel")
    body, events = body_of(case, kind), events_of(case)
    life = Life(definition_of("funnel", {"funnel": body}), 40 * 24 * HOUR_MS)
    life.take(events)
    definition = stored(warehouse, body, events)
    counted = [
        entry.read(body, life.published(), 0),
        entry.in_store(warehouse, definition, 0),
    ]
    entered = list(case.days.values())
    for shown in counted:
        reached = {str(EPOCH + datetime.timedelta(day)): of[0] for day, of in shown.days.items()}
        if kind != "any":  # where what comes a day later begins a chain of its own
            assert reached == {day: [2 * entered.count(day), entered.count(day)] for day in entered}
    assert counted[0] == counted[1] == entry.oracle(body, events, 0)
    announced = entry.changes(life.published()) if entry.changes else {}
    expected = entry.oracle_of_changes(body, events, 0) if entry.oracle_of_changes else {}
    assert announced == expected


@pytest.mark.parametrize("kind", ["plain", "with options"])
@pytest.mark.parametrize("name", CASES)
def test_persons_are_asked_for_by_the_days_of_the_zone(
    warehouse: Warehouse, name: str, kind: str
) -> None:
    case = CASES[name]
    definition = stored(warehouse, body_of(case, kind), events_of(case))
    for day in set(case.days.values()):
        date = datetime.date.fromisoformat(day)
        for query, who in (
            (PersonsQuery(2, "reached", "", 99, date, date), "goes"),
            (PersonsQuery(2, "dropped", "", 99, date, date), "stays"),
        ):
            statement = persons_statement(warehouse.settings.clickhouse_database, definition, query)
            found = read_persons(query, QueryResult(ask(warehouse, statement), {}))
            expected = [f"{who} {n}" for n, of in enumerate(case.days.values()) if of == day]
            assert found.persons == expected


def test_a_chain_may_pass_a_midnight_and_counts_on_the_day_of_its_entry(
    warehouse: Warehouse,
) -> None:
    entry = entry_of("funnel")
    body = {"steps": STEPS, "window_s": 60, "timezone": "Asia/Kolkata"}
    midnight = ms_of("2026-05-03T18:30:00.000Z")
    events = [
        Event("ann", "a", midnight - 60_000),
        Event("ann", "b", midnight),
        Event("ben", "a", midnight),
        Event("ben", "b", midnight),
        Event("cem", "a", midnight - 60_001),
        Event("cem", "b", midnight),
    ]
    life = Life(definition_of("funnel", {"funnel": body}), 0)
    life.take(events)
    found = [
        entry.read(body, life.published(), 0),
        entry.in_store(warehouse, stored(warehouse, body, events), 0),
    ]
    day = (datetime.date(2026, 5, 3) - EPOCH).days
    for shown in found:
        assert {number: of[0] for number, of in shown.days.items()} == {
            day: [2, 1],
            day + 1: [1, 1],
        }
