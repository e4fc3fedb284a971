"""Lifecycle, stickiness, sessions and paths are those of the oracle, and right at their edges."""

from statistics import mean
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.oracles import journeys as oracle
from tests.oracles.events import Event
from tests.oracles.trends import before, intervals
from tests.services.query.queries.asking import Asker, ms
from tests.services.query.queries.test_trends import interval_end

DAY_MS = 86_400_000
BEGIN = ms("2026-10-19T00:00:00+00:00")
NOW = ms("2026-11-30T12:00:00+00:00")
patient = hypothesis_settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
names = st.sampled_from(["view", "buy", "open"])
spread = st.builds(
    Event,
    st.sampled_from("abcde"),
    names,
    st.integers(BEGIN - 40 * DAY_MS, BEGIN + 40 * DAY_MS),
    st.just({}),
)
close = st.builds(
    Event,
    st.sampled_from("abc"),
    names,
    st.integers(0, 40).map(lambda at: BEGIN + at * 450_000),
    st.just({}),
)
asked_of = st.fixed_dictionaries(
    {
        "interval": st.sampled_from(["day", "week", "month"]),
        "timezone": st.sampled_from(["UTC", "Europe/Lisbon"]),
        "week_start": st.sampled_from(["monday", "sunday"]),
        "from": st.sampled_from(["2026-10-19", "2026-10-25", "2026-10-01"]),
        "to": st.sampled_from(["2026-10-25", "2026-10-26", "2026-11-03"]),
    }
)


def bounds_of(body: dict[str, Any]) -> list[int]:
    """When the intervals of a query begin, and the one behind."""
    offset = 3_600_000 if body["timezone"] == "Europe/Lisbon" else 0
    first = ms(f"{body['from']}T00:00:00+00:00") - offset
    last = ms(f"{body['to']}T23:59:59+00:00") - (offset if body["to"] < "2026-10-25" else 0)
    begins = intervals(first, last, body)
    return [*begins, interval_end(begins[-1], body)]


@given(acts=st.lists(spread, max_size=30), body=asked_of, event=st.sampled_from([None, "buy"]))
@patient
def test_persons_are_new_return_come_back_and_go_dormant(
    asker: Asker, acts: list[Event], body: dict[str, Any], event: str | None
) -> None:
    answer = asker.ask("lifecycle", asker.write(acts), body | {"event": event}, NOW)
    bounds = bounds_of(body)
    assert [ms(one["begin"]) for one in answer["intervals"]] == bounds[:-1]
    known = [one for one in acts if event in {None, one.event}]
    wanted = oracle.lifecycle(known, [*before(bounds[0], 1, body), *bounds])
    assert {name: answer[name] for name in wanted} == wanted


@given(acts=st.lists(spread, max_size=30), body=asked_of)
@patient
def test_persons_are_counted_by_how_many_intervals_they_are_active_in(
    asker: Asker, acts: list[Event], body: dict[str, Any]
) -> None:
    answer = asker.ask("stickiness", asker.write(acts), body, NOW)
    wanted = oracle.stickiness(acts, bounds_of(body))
    assert answer["exactly"] == wanted
    assert answer["at_least"] == [sum(wanted[at:]) for at in range(len(wanted))]


def test_who_is_new_is_so_by_the_first_event_and_the_running_day_is_incomplete(
    asker: Asker,
) -> None:
    day = [BEGIN + number * DAY_MS for number in range(4)]
    acts = [
        Event("ann", "view", day[0], {"$set": {"created": "2020-01-01"}}),
        Event("ann", "view", day[3]),
        Event("bob", "view", day[0] - 9 * DAY_MS),
        Event("bob", "view", day[1]),
        Event("bob", "view", day[2]),
    ]
    body = {"from": "2026-10-19", "to": "2026-10-22"}
    answer = asker.ask("lifecycle", asker.write(acts), body, day[3] + 1)
    assert answer["new"] == [1, 0, 0, 0]
    assert answer["resurrecting"] == [0, 1, 0, 1]
    assert answer["returning"] == [0, 0, 1, 0]
    assert answer["dormant"] == [0, 1, 0, 1]
    assert [one["incomplete"] for one in answer["intervals"]] == [False, False, False, True]
    sticky = asker.ask("stickiness", asker.write(acts), body, day[3] + 1)
    assert (sticky["exactly"], sticky["incomplete"]) == ([0, 2, 0, 0], True)


@given(
    acts=st.lists(st.one_of(close, spread), max_size=25),
    gap_s=st.sampled_from([1, 450, 1_800, 86_400]),
    top=st.sampled_from([1, 10]),
)
@patient
def test_sessions_are_split_by_gaps_and_belong_to_the_day_they_begin_in(
    asker: Asker, acts: list[Event], gap_s: int, top: int
) -> None:
    body = {"from": "2026-10-18", "to": "2026-10-20", "gap_s": gap_s, "top": top}
    answer = asker.ask("sessions", asker.write(acts), body, NOW)
    days = [BEGIN + number * DAY_MS for number in range(-1, 3)]
    found = oracle.sessions(acts, 1_000 * gap_s, days[0], days[-1])
    for figures, first, last in [
        *zip(answer["values"], days, days[1:], strict=False),
        (answer["total"], days[0], days[-1]),
    ]:
        its = [one for one in found if first <= one.acts[0].at < last]
        lengths = sorted((one.acts[-1].at - one.acts[0].at) / 1_000 for one in its)
        assert figures["sessions"] == len(its)
        assert figures["persons"] == len({one.person for one in its})
        assert figures["events"] == sum(len(one.acts) for one in its)
        assert figures["bounces"] == sum(len(one.acts) == 1 for one in its)
        assert figures["median_length_s"] == (lengths[(len(lengths) + 1) // 2 - 1] if its else None)
        if its:
            assert abs(figures["average_length_s"] - mean(lengths)) < 1e-6
    for side, place in (("entries", 0), ("exits", -1)):
        shown = [(one["event"], one["sessions"]) for one in answer[side]]
        assert shown == oracle.counted([one.acts[place].event for one in found], top)


def test_a_session_over_midnight_is_one_and_may_still_go_on(asker: Asker) -> None:
    midnight = BEGIN + DAY_MS
    acts = [Event("ann", "view", midnight - 60_000), Event("ann", "buy", midnight + 60_000)]
    late = [*acts, Event("ann", "open", midnight)]  # which comes last, and lies between the others
    body = {"from": "2026-10-19", "to": "2026-10-20"}
    answer = asker.ask("sessions", asker.write(late), body, midnight + 600_000)
    assert [one["sessions"] for one in answer["values"]] == [1, 0]
    assert answer["total"]["events"] == 3
    assert [one["incomplete"] for one in answer["intervals"]] == [True, True]
    second = asker.ask("sessions", asker.write(late), body | {"from": "2026-10-20"}, NOW)
    assert second["total"]["sessions"] == 0


@given(
    acts=st.lists(close, max_size=25),
    anchor=st.sampled_from(["start", "end", "through", None]),
    steps=st.integers(1, 3),
    gap_s=st.sampled_from([450, 1_800, 86_400]),
    edges=st.integers(1, 3),
    complete=st.integers(0, 40),
)
@patient
def test_paths_and_their_ends_are_those_of_the_persons(
    asker: Asker,
    acts: list[Event],
    anchor: str | None,
    steps: int,
    gap_s: int,
    edges: int,
    complete: int,
) -> None:
    body: dict[str, Any] = {
        "steps": steps,
        "gap_s": gap_s,
        "edges": edges,
        "from": "2026-10-19",
        "to": "2026-10-19",
        **({anchor: "buy"} if anchor else {}),
    }
    project = asker.write(acts)
    now = BEGIN + complete * 450_000 + 1
    answer = asker.ask("paths", project, body, now)
    wanted = oracle.paths(body, acts, BEGIN, BEGIN + DAY_MS, now)
    assert answer["paths"] == sum(one.step == 0 for one in wanted)
    for shown in answer["events"]:
        its = [one for one in wanted if (one.step, one.event) == (shown["step"], shown["event"])]
        assert shown["persons"] == len(its)
        assert shown["dropped"] == sum(one.end == "dropped" for one in its)
        assert shown["open"] == sum(one.end == "open" for one in its)
        for outcome, some in (
            ("reached", its),
            ("dropped", [one for one in its if one.end == "dropped"]),
        ):
            asked = {"step": shown["step"], "event": shown["event"], "outcome": outcome}
            listed = asker.ask("paths", project, body | {"persons": asked}, now)["persons"]
            assert listed == {"persons": sorted(one.person for one in some), "next": None}
    assert sum(one["persons"] for one in answer["events"]) == len(wanted)
    for step in {one.step for one in wanted}:
        names = [
            f"{one.event} {one.following}" for one in wanted if one.step == step and one.following
        ]
        shown_edges = [
            (None if one["other"] else f"{one['source']} {one['target']}", one["persons"])
            for one in answer["edges"]
            if one["step"] == step
        ]
        assert shown_edges == oracle.counted(names, edges)


def test_a_loop_is_a_path_and_who_may_still_go_on_has_not_dropped(asker: Asker) -> None:
    acts = [Event("ann", "view", BEGIN + at) for at in (0, 0, 1)] + [Event("bob", "view", BEGIN)]
    project = asker.write(acts)
    body = {"start": "view", "steps": 5, "from": "2026-10-19", "to": "2026-10-19"}
    answer = asker.ask("paths", project, body, BEGIN + 60_000)
    assert [(one["step"], one["persons"], one["open"]) for one in answer["events"]] == [
        (0, 2, 1),
        (1, 1, 0),
        (2, 1, 1),
    ]
    assert {(one["source"], one["target"]) for one in answer["edges"]} == {("view", "view")}
    assert answer["incomplete"] is True
    later = asker.ask("paths", project, body, NOW)
    assert [one["dropped"] for one in later["events"]] == [1, 0, 1]
