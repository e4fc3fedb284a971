"""A funnel query has the figures of the oracle: breakdowns, times, and who may still go on."""

from statistics import mean
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from tests.oracles import adhoc_funnel as oracle
from tests.oracles.events import Event
from tests.oracles.values import name_of
from tests.services.query.queries.asking import Asker, ms

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
BEGIN: Final = ms("2026-11-02T00:00:00+00:00")
SPAN: Final = {"from": "2026-11-03", "to": "2026-11-04"}
NOW: Final = ms("2026-12-31T00:00:00+00:00")
patient = hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
plans = st.sampled_from(["pro", "free", 1, None])
properties = st.one_of(
    st.builds(lambda plan: {"plan": plan}, plans),
    st.builds(lambda plan, then: {"plan": plan, "$set": {"plan": then}}, plans, plans),
)
acts_of = st.lists(
    st.builds(
        lambda person, event, hour, has: Event(person, event, BEGIN + hour * HOUR_MS, has),
        st.sampled_from("abc"),
        st.sampled_from(["view", "buy", "open", "refund"]),
        st.integers(0, 4 * 24),
        properties,
    ),
    max_size=16,
)
STEPS: Final = [{"event": "view"}, {"event": "buy"}, {"event": "open"}]
ALIKE: Final = [{"event": "view"}, {"event": "view"}, {"event": "buy"}]
OPTIONAL: Final = [STEPS[0], STEPS[1] | {"optional": True}, STEPS[2]]
funnels: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda funnel, window: {"steps": STEPS, "window_s": window, **funnel},
    st.sampled_from(
        [
            {},
            {},
            {"steps": ALIKE},
            {"steps": OPTIONAL},
            {"order": "any"},
            {"order": "strict"},
            {"once": True, "entries": True, "steps": ALIKE},
            {"hold_constant": ["plan"]},
            {"exclusions": [{"event": "refund", "after": 1, "before": 3}]},
        ]
    ),
    st.sampled_from([3_600, 86_400, 3 * 86_400]),
)
breakdowns: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {"property": "plan"},
        {"property": "plan", "attribution": "last"},
        {"property": "plan", "attribution": 2},
        {"property": "plan", "attribution": "first_touch"},
        {"person": "plan"},
        {"person": "plan", "at": "event"},
    ]
)


def assert_figures(found: dict[str, Any], wanted: oracle.Figures, funnel: dict[str, Any]) -> None:
    reached = [len(persons) for persons in wanted.reached]
    assert found["reached"] == reached
    assert found["open"] == [len(persons) for persons in wanted.open]
    assert found["dropped"] == [len(persons) for persons in wanted.dropped]
    assert found["conversion"] == [one / reached[0] if reached[0] else None for one in reached]
    for step, times in enumerate(wanted.times):
        count = len(times)
        assert found["median_ms"][step] == (times[-(-count // 2) - 1] if times else None)
        assert found["p90_ms"][step] == (times[-(-9 * count // 10) - 1] if times else None)
        assert found["mean_ms"][step] == (round(mean(times)) if times else None)
    assert found["entries"] == (wanted.entries if funnel.get("entries") else [])


@given(
    acts=acts_of,
    funnel=funnels,
    by=breakdowns,
    top=st.integers(1, 3),
    hours=st.sampled_from([60, 80, 5_000]),
    outcome=st.sampled_from(["reached", "open", "dropped"]),
)
@patient
def test_a_funnel_by_any_breakdown_has_who_reached_dropped_and_may_still_go_on(
    asker: Asker,
    acts: list[Event],
    funnel: dict[str, Any],
    by: dict[str, Any],
    top: int,
    hours: int,
    outcome: str,
) -> None:
    now = BEGIN + hours * HOUR_MS
    acts = [one for one in acts if one.at < now]
    body = {"funnel": funnel, "top": top, **({"breakdown": by} if by else {}), **SPAN}
    project = asker.write(acts)
    asked = {"step": 2, "outcome": outcome, "limit": 1}
    answer = asker.ask("funnel", project, body | {"persons": asked}, now)
    chains = oracle.chains_of(funnel, by, acts, BEGIN + DAY_MS, BEGIN + 3 * DAY_MS, now)
    whole = oracle.figures(funnel, chains)
    assert_figures(answer, whole, funnel)
    persons = sorted(getattr(whole, outcome)[1])
    assert answer["persons"]["persons"] == persons[:1]
    assert answer["persons"]["next"] == (persons[0] if len(persons) > 1 else None)
    for day in answer["days"]:
        begin = ms(f"{day['day']}T00:00:00+00:00")
        its = [one for one in chains if begin <= one.chain.begin < begin + DAY_MS]
        assert day["reached"] == [len(of) for of in oracle.figures(funnel, its).reached]
    assert len(answer["days"]) == len({one.chain.begin // DAY_MS for one in chains})
    wanted = oracle.by_label(chains, top) if by else {}
    names = [oracle.OTHER if one["other"] else name_of(one["value"]) for one in answer["breakdown"]]
    assert names == list(wanted)
    for found, (name, its) in zip(answer["breakdown"], wanted.items(), strict=True):
        assert_figures(found, oracle.figures(funnel, its), funnel)
        mine = {"other": True} if name == oracle.OTHER else {"value": found["value"]}
        listed = asker.ask("funnel", project, body | {"persons": {"step": 1, **mine}}, now)
        assert listed["persons"]["persons"] == sorted(oracle.figures(funnel, its).reached[0])


def test_a_funnel_is_broken_down_by_membership_of_a_segment(asker: Asker) -> None:
    at = BEGIN + DAY_MS
    acts = [
        Event("ann", "view", at),
        Event("ann", "buy", at + 1),
        Event("bob", "view", at),
        Event("bob", "vip", at - 5 * DAY_MS),
    ]
    body = {"funnel": {"steps": STEPS[:2]}, "breakdown": {"segment": "vips"}, **SPAN}
    rules = {"vips": {"performed": {"event": "vip"}}}
    answer = asker.ask("funnel", asker.write(acts), body, NOW, rules)
    assert {one["value"]: one["reached"] for one in answer["breakdown"]} == {
        False: [1, 1],
        True: [1, 0],
    }


def test_who_is_inside_the_window_has_not_dropped(asker: Asker) -> None:
    at = BEGIN + DAY_MS
    acts = [Event("ann", "view", at), Event("bob", "view", at + 30 * 60_000)]
    funnel = {"steps": STEPS[:2], "window_s": 3_600}
    body = {"funnel": funnel, **SPAN}
    project = asker.write(acts)
    for passed_ms, still, dropped in ((3_600_000, 2, 0), (3_600_001, 1, 1), (DAY_MS, 0, 2)):
        answer = asker.ask("funnel", project, body, at + passed_ms)
        assert (answer["open"], answer["dropped"]) == ([0, still], [0, dropped])
    late = asker.ask("funnel", project, body, at + DAY_MS, lateness_ms=DAY_MS)
    assert late["open"] == [0, 2]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"breakdown": {}}, "breakdown"),
        ({"breakdown": {"property": "p", "segment": "s"}}, "breakdown"),
        ({"breakdown": {"property": "p", "at": "event"}}, "breakdown.at"),
        ({"breakdown": {"person": "p", "attribution": "last"}}, "breakdown.attribution"),
        ({"breakdown": {"property": "p", "attribution": 3}}, "breakdown.attribution"),
        (
            {"breakdown": {"person": "p", "at": "event", "attribution": "first_touch"}},
            "breakdown.attribution",
        ),
        ({"top": 0}, "top"),
        ({"persons": {"step": 1, "outcome": "open"}}, "persons.step"),
        ({"persons": {"step": 3}}, "persons.step"),
        ({"persons": {"step": 2, "value": "a"}}, "persons.value"),
        (
            {"persons": {"step": 2, "value": None, "other": True}, "breakdown": {"property": "p"}},
            "persons.other",
        ),
    ],
)
def test_a_breakdown_that_means_nothing_is_refused_with_its_field(
    asker: Asker, more: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asker.ask("funnel", "none", {"funnel": {"steps": STEPS[:2]}, **SPAN, **more}, NOW)
    assert refused.value.field == field
