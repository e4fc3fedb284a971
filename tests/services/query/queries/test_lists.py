"""Events, persons, properties and values are listed as they are, page by page."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.errors import InvalidRequest, NotFound
from tests.oracles.conditions import holds
from tests.oracles.events import Event
from tests.oracles.values import name_of, name_of_shown
from tests.services.query.queries.asking import Asker, ms

NOW = ms("2026-11-30T12:00:00+00:00")
NOON = ms("2026-11-05T12:00:00+00:00")
patient = hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
values = st.sampled_from(["pro", "Pro 'x'", "", 1, 1.5, True, None, [1], {"a": 1}, 2**63])
events = st.builds(
    Event,
    person=st.sampled_from(["ann", "Ann", "bob", "c/d", "é"]),
    event=st.sampled_from(["view", "buy"]),
    at=st.integers(NOON, NOON + 3).map(lambda at: at),
    properties=st.dictionaries(st.sampled_from(["plan", "a.b", "Plan", "n"]), values),
)
acts_of = st.lists(events, max_size=20)


def pages(asker: Asker, kind: str, project: str, body: dict[str, Any], of: str) -> list[Any]:
    """All items of a list, from its pages of two."""
    found: list[Any] = []
    after = ""
    while True:
        answer = asker.ask(kind, project, body | {"limit": 2, "after": after}, NOW)
        assert len(answer[of]) == 2 or answer["next"] is None
        found += answer[of]
        if answer["next"] is None:
            return found
        after = answer["next"]


@given(acts=acts_of, named=st.sampled_from([None, "buy"]), person=st.sampled_from([None, "ann"]))
@patient
def test_events_come_the_newest_first_page_by_page(
    asker: Asker, acts: list[Event], named: str | None, person: str | None
) -> None:
    project = asker.write(acts)
    where = [{"property": "plan", "op": "is_set"}]
    body = {"event": named, "person": person, "where": where}
    shown = pages(asker, "events", project, body, "events")
    wanted = [
        one
        for one in sorted(enumerate(acts), key=lambda of: (of[1].at, of[0]), reverse=True)
        if named in {None, one[1].event}
        and person in {None, one[1].person}
        and holds(where, one[1].properties)
    ]
    assert [(one["person"], one["event"], ms(one["timestamp"])) for one in shown] == [
        (one.person, one.event, one.at) for _, one in wanted
    ]
    for found, (_, one) in zip(shown, wanted, strict=True):
        sent = {name: value for name, value in one.properties.items() if value is not None}
        assert found["properties"] == sent


@given(acts=st.lists(events, min_size=1, max_size=10), share=st.floats(0, 1))
@patient
def test_every_kind_has_exactly_the_events_below_its_positions(
    asker: Asker, acts: list[Event], share: float
) -> None:
    project = asker.write(acts)
    whole = asker.ask("events", project, {"limit": 1_000}, NOW)["events"]
    offsets = sorted(one["offset"] for one in whole)
    count = int(share * len(acts))
    below = {0: offsets[count]} if count < len(acts) else {0: offsets[-1] + 1}
    for kind, body, number in (
        ("events", {"limit": 1_000}, lambda answer: len(answer["events"])),
        ("values", {"limit": 1_000}, lambda answer: sum(v["events"] for v in answer["values"])),
        ("properties", {}, lambda answer: answer["looked_at"]),
        ("persons", {}, lambda answer: sum(one["events"] for one in answer["persons"])),
        (
            "trends",
            {"series": [{}], "from": "2026-11-05"},
            lambda answer: answer["trends"][0]["total"],
        ),
    ):
        answer = asker.ask(kind, project, body, NOW, positions=below)
        assert number(answer) == count, kind
        assert answer["positions"] == {"0": below[0]}


def test_properties_are_shown_as_they_were_sent(asker: Asker) -> None:
    sent = {
        "a.b": {"c.d": [1, {"e.f": None}], "g": 2},
        "wide": 2**64 - 1,
        "precise": 0.1,
        "text": "é\"'\\\n",
        "yes": True,
        "mixed": [1, "a", [True]],
    }
    project = asker.write([Event("ann", "buy", NOON, sent)])
    (one,) = asker.ask("events", project, {}, NOW)["events"]
    assert one["properties"] == sent | {"a.b": {"c.d": [1, {}], "g": 2}}
    assert (one["partition"], one["distinct_id"]) == (0, "ann")


@pytest.mark.parametrize(
    "after", ["x", "1", "1.2", "1.2.3.4", "-1.0.0", "1.2." + "9" * 30, "²." * 3]
)
def test_what_is_no_cursor_is_refused(asker: Asker, after: str) -> None:
    with pytest.raises(InvalidRequest, match="after"):
        asker.ask("events", "none", {"after": after}, NOW)


@given(acts=acts_of, search=st.sampled_from(["", "AN", "/", "É", "zz", "%", "_"]))
@patient
def test_persons_come_by_id_page_by_page(asker: Asker, acts: list[Event], search: str) -> None:
    shown = pages(asker, "persons", asker.write(acts), {"search": search}, "persons")
    wanted = []
    for person in sorted({one.person for one in acts}, key=str.encode):
        its = [one.at for one in acts if one.person == person]
        if search.lower() in person.lower():
            wanted.append((person, min(its), max(its), len(its)))
    assert [
        (one["person"], ms(one["first_seen"]), ms(one["last_seen"]), one["events"]) for one in shown
    ] == wanted


def test_a_person_has_what_was_set_last_or_else_first_and_the_segments_of_now(
    asker: Asker,
) -> None:
    project = asker.write(
        [
            Event("ann", "view", NOON + 2, {"$set": {"plan": "pro", "a.b": [1]}}),
            Event("ann", "view", NOON + 1, {"$set": {"plan": "free", "old": 1}}),
            Event("ann", "view", NOON + 3, {"$set_once": {"plan": "x", "first": 2}}),
            Event("ann", "view", NOON, {"$set_once": {"first": {"an": "object"}}}),
            Event("ann", "view", NOON + 1, {"$set_once": {"first": 1}, "$set": {"old": None}}),
            Event("bob", "buy", NOON + 9, {"$set": {"plan": "team"}}),
        ]
    )
    answer = asker.ask("person", project, {"person": "ann", "limit": 2}, NOW)
    assert answer["properties"] == {"plan": "pro", "a.b": [1], "old": 1, "first": 1}
    assert (ms(answer["first_seen"]), ms(answer["last_seen"])) == (NOON, NOON + 3)
    assert answer["total_events"] == 5
    assert [ms(one["timestamp"]) for one in answer["events"]] == [NOON + 3, NOON + 2]
    later = {"person": "ann", "limit": 10, "after": answer["next"]}
    assert len(asker.ask("person", project, later, NOW)["events"]) == 3
    with pytest.raises(NotFound):
        asker.ask("person", project, {"person": "cy"}, NOW)


def test_the_segments_of_a_person_are_those_that_hold_now(asker: Asker) -> None:
    project = asker.write([Event("ann", "view", NOON), Event("bob", "buy", NOON)])
    rules: dict[str, dict[str, Any]] = {
        "viewers": {"performed": {"event": "view"}},
        "buyers": {"performed": {"event": "buy"}},
        "others": {"not": {"performed": {"event": "buy"}}},
    }
    answer = asker.ask("person", project, {"person": "ann"}, NOW, rules)
    assert answer["segments"] == ["others", "viewers"]


@given(acts=acts_of, search=st.sampled_from(["", "PL", ".", "zz"]))
@patient
def test_properties_are_counted_with_their_types(
    asker: Asker, acts: list[Event], search: str
) -> None:
    answer = asker.ask("properties", asker.write(acts), {"event": "buy", "search": search}, NOW)
    bought = [one for one in acts if one.event == "buy"]
    assert answer["looked_at"] == len(bought)
    counts = Counter(
        name
        for one in bought
        for name, value in one.properties.items()
        if value is not None and not isinstance(value, dict) and search.lower() in name.lower()
    )
    assert [(one["name"], one["events"]) for one in answer["properties"]] == sorted(
        counts.items(), key=lambda of: (-of[1], of[0].replace(".", "%2E"))
    )
    for one in answer["properties"]:
        assert set(one["types"]) <= {"text", "number", "boolean", "list"}


def test_properties_of_persons_are_those_that_events_set(asker: Asker) -> None:
    project = asker.write(
        [
            Event("ann", "view", NOON, {"plan": 1, "$set": {"plan": "pro", "deep": {"a": 1}}}),
            Event("bob", "view", NOON, {"$set_once": {"plan": 2, "from": "ad"}}),
        ]
    )
    answer = asker.ask("properties", project, {"of": "person"}, NOW)
    shown = [(one["name"], one["events"], one["types"]) for one in answer["properties"]]
    assert shown == [("plan", 2, ["number", "text"]), ("from", 1, ["text"])]
    one = asker.ask("properties", project, {"of": "person", "limit": 1}, NOW)
    assert (len(one["properties"]), one["more"]) == (1, True)


@given(acts=acts_of, search=st.sampled_from(["", "PRO", "'"]))
@patient
def test_values_are_counted_by_what_they_are(asker: Asker, acts: list[Event], search: str) -> None:
    body = {"property": "plan", "search": search}
    answer = asker.ask("values", asker.write(acts), body, NOW)
    counts = Counter(
        name
        for one in acts
        if (name := name_of(one.properties.get("plan")))
        and (not search or (name[0] == "s" and search.lower() in name.lower()[1:]))
    )
    shown = [(name_of_shown(json.dumps(one["value"])), one["events"]) for one in answer["values"]]
    assert shown == sorted(counts.items(), key=lambda of: (-of[1], of[0]))


def test_values_are_of_persons_and_of_names_of_events_too(asker: Asker) -> None:
    project = asker.write(
        [
            Event("ann", "view", NOON, {"$set": {"plan": "pro"}}),
            Event("ann", "buy", NOON),
            Event("bob", "view", NOON),
        ]
    )
    of_persons = asker.ask("values", project, {"person": "plan"}, NOW)
    assert of_persons["values"] == [{"value": "pro", "events": 2}]
    names = asker.ask("values", project, {"limit": 1}, NOW)
    assert (names["values"], names["more"]) == ([{"value": "view", "events": 2}], True)
