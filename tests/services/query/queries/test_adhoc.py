"""Funnels, cohorts and segments of a range are those of the oracles, and right at their edges."""

import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from tests.oracles import cohort as cohorts
from tests.oracles import funnel as funnels
from tests.oracles import segment as segments
from tests.oracles.events import Event
from tests.services.query.queries.asking import Asker, ms

DAY_MS = 86_400_000
BEGIN = ms("2026-11-02T00:00:00+00:00")
NOW = ms("2026-12-31T00:00:00+00:00")
patient = hypothesis_settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
events = st.builds(
    Event,
    st.sampled_from("abcd"),
    st.sampled_from(["view", "buy", "open"]),
    st.integers(0, 6 * 24).map(lambda hour: BEGIN + hour * 3_600_000),
    st.sampled_from([{}, {"plan": "pro"}, {"plan": "free"}]),
)
WHERE = [{"property": "plan", "op": "not_equals", "value": "free"}]
options: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"order": "any"},
        {"order": "strict"},
        {"once": True, "entries": True},
        {"hold_constant": ["plan"]},
        {"breakdown": {"property": "plan"}},
    ]
)


@given(
    acts=st.lists(events, max_size=24),
    option=options,
    window_s=st.sampled_from([3_600, 86_400]),
    where=st.sampled_from([[], WHERE]),
)
@patient
def test_a_funnel_counts_each_person_who_enters_in_the_range_once(
    asker: Asker, acts: list[Event], option: dict[str, Any], window_s: int, where: list[Any]
) -> None:
    steps = [{"event": "view"}, {"event": "buy"}, {"event": "open"}]
    funnel = {"steps": steps, "window_s": window_s, **option}
    body = {"funnel": funnel, "where": where, "from": "2026-11-03", "to": "2026-11-04"}
    answer = asker.ask("funnel", asker.write(acts), body, NOW)
    passing = [one for one in acts if not where or one.properties.get("plan") != "free"]
    first = BEGIN // DAY_MS + 1
    wanted = [0, 0, 0]
    for person in {one.person for one in passing}:
        own = funnels.figures(funnel, [one for one in passing if one.person == person])
        days = [own.days[day].reached for day in (first, first + 1) if day in own.days]
        for step in range(3):
            wanted[step] += any(reached[step] for reached in days)
    assert answer["reached"] == wanted
    whole = funnels.figures(funnel, passing)
    shown = {one["day"]: one["reached"] for one in answer["days"]}
    assert shown == {
        (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat(): [
            *whole.days[day].reached
        ]
        for day in (first, first + 1)
        if day in whole.days
    }


def test_conversions_behind_the_range_count_and_open_windows_are_marked(asker: Asker) -> None:
    acts = [
        Event("ann", "view", BEGIN + DAY_MS - 1),
        Event("ann", "buy", BEGIN + DAY_MS + 10),
        Event("bob", "view", BEGIN + DAY_MS),
    ]
    funnel = {"steps": [{"event": "view"}, {"event": "buy"}], "window_s": 3_600}
    body = {"funnel": funnel, "from": "2026-11-02", "to": "2026-11-02"}
    project = asker.write(acts)
    open_ = asker.ask("funnel", project, body, BEGIN + DAY_MS + 1_000)
    assert (open_["reached"], open_["incomplete"]) == ([1, 1], True)
    closed = asker.ask("funnel", project, body, BEGIN + DAY_MS + 3_600_000)
    assert (closed["conversion"], closed["incomplete"]) == ([1, 1], False)
    nobody = asker.ask("funnel", project, body | {"from": "2026-11-01", "to": "2026-11-01"}, NOW)
    assert (nobody["reached"], nobody["conversion"]) == ([0, 0], [None, None])


@given(
    acts=st.lists(events, max_size=24),
    period=st.sampled_from(["day", "week"]),
    where=st.sampled_from([[], WHERE]),
)
@patient
def test_a_grid_has_the_persons_who_begin_in_the_range(
    asker: Asker, acts: list[Event], period: Any, where: list[Any]
) -> None:
    cohort = {"start": {"event": "view"}, "return": {"event": "buy"}, "period": period}
    body = {
        "cohort": cohort | {"periods": 4},
        "where": where,
        "from": "2026-11-02",
        "to": "2026-11-04",
    }
    answer = asker.ask("cohort", asker.write(acts), body, NOW)
    wanted = cohorts.grid(
        [
            cohorts.Act(one.person, one.at, one.event == "view", one.event == "buy")
            for one in acts
            if not where or one.properties.get("plan") != "free"
        ],
        period,
        4,
        "UTC",
    )
    kept = [day for day in sorted(wanted.persons) if day <= datetime.date(2026, 11, 4)]
    assert [(one["begin"], one["persons"]) for one in answer["rows"]] == [
        (day.isoformat(), wanted.persons[day]) for day in kept
    ]
    for row, day in zip(answer["rows"], kept, strict=True):
        assert [cell["returned"] for cell in row["cells"]] == wanted.returned[day]
        assert [cell["returned_or_later"] for cell in row["cells"]] == wanted.or_later[day]


def test_a_mean_is_of_persons_and_periods_to_come_are_unknown(asker: Asker) -> None:
    acts = [
        *(Event(person, "view", BEGIN) for person in "abc"),
        *(Event(person, "buy", BEGIN + DAY_MS) for person in "ab"),
        Event("d", "view", BEGIN + DAY_MS),
        Event("d", "buy", BEGIN + 2 * DAY_MS),
    ]
    cohort = {"start": {"event": "view"}, "return": {"event": "buy"}, "periods": 3}
    body = {"cohort": cohort, "from": "2026-11-02", "to": "2026-11-05"}
    project = asker.write(acts)
    answer = asker.ask("cohort", project, body, BEGIN + 2 * DAY_MS + 1)
    cells = [[cell["returned"] for cell in row["cells"]] for row in answer["rows"]]
    assert cells == [[0, 2, 0], [0, 1, None]]
    marks = [[cell["incomplete"] for cell in row["cells"]] for row in answer["rows"]]
    assert marks == [[False, False, True], [False, True, True]]
    assert answer["mean"] == [0, 2 / 3, None]
    later = asker.ask("cohort", project, body, NOW)
    assert later["mean"] == [0, 3 / 4, 0]


@given(acts=st.lists(events, max_size=24), where=st.sampled_from([[], WHERE]))
@patient
def test_a_segment_has_those_for_whom_the_rule_holds(
    asker: Asker, acts: list[Event], where: list[Any]
) -> None:
    rule = {
        "and": [
            {"performed": {"event": "view"}},
            {"not": {"performed": {"event": "buy", "at_least": 2}}},
        ]
    }
    project = asker.write(acts)
    passing = [one for one in acts if not where or one.properties.get("plan") != "free"]
    wanted = sorted(segments.members(rule, passing, NOW))
    body = {"rule": rule, "where": where, "limit": 2}
    answer = asker.ask("segment", project, body, NOW)
    assert (answer["size"], answer["persons"]) == (len(wanted), wanted[:2])
    if answer["next"]:
        page = asker.ask("segment", project, body | {"after": answer["next"]}, NOW)
        assert page["persons"] == wanted[2:4]
    known = {"viewers": {"performed": {"event": "view"}}}
    by_name = asker.ask("segment", project, {"rule": {"segment": "viewers"}}, NOW, known)
    assert by_name["size"] == len({one.person for one in acts if one.event == "view"})


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("funnel", {"funnel": {"steps": [{"event": "a"}]}}, "funnel.steps"),
        (
            "funnel",
            {"funnel": {"steps": [{"event": "a"}, {"event": "b"}], "timezone": "Europe/Lisbon"}},
            "funnel.timezone",
        ),
        (
            "funnel",
            {"funnel": {"steps": [{"event": "a", "optional": True}, {"event": "b"}]}},
            "funnel.steps[0].optional",
        ),
        ("cohort", {"cohort": {"start": {}, "breakdown": {"property": "p"}}}, "cohort.breakdown"),
        ("cohort", {"cohort": {"start": {}, "since": "2026-01-01"}}, "cohort.since"),
        ("segment", {"rule": {}}, "rule"),
        ("segment", {"rule": {"performed": {"event": "a"}}, "from": "2026-01-01"}, "from"),
        ("paths", {}, "from"),
        ("values", {"property": "a", "person": "b"}, "person"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_field(
    asker: Asker, kind: str, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asker.ask(kind, "none", body, NOW)
    assert refused.value.field == field
