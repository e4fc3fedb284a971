"""Filters select the same events in the queries of every kind."""

from typing import Any, Final

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.oracles.events import Event
from tests.oracles.filters import had_at, passing
from tests.oracles.values import name_of
from tests.services.query.queries.asking import Asker, ms

BEGIN = ms("2026-11-02T00:00:00+00:00")
NOW = ms("2026-12-31T00:00:00+00:00")
patient = hypothesis_settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SPAN: Final = {"from": "2026-11-02", "to": "2026-11-04"}
# One of each kind that counts events, without figures of what persons are now.
BODIES: Final[dict[str, dict[str, Any]]] = {
    "trends": {"series": [{}, {"measure": "persons"}], "breakdown": [{"property": "n"}], **SPAN},
    "events": {"limit": 100},
    "persons": {},
    "properties": {},
    "values": {"property": "n"},
    "lifecycle": SPAN,
    "stickiness": SPAN,
    "sessions": SPAN,
    "paths": {"steps": 3, "gap_s": 86_400, **SPAN},
    "funnel": {"funnel": {"steps": [{"event": "view"}, {"event": "buy"}]}, **SPAN},
    "cohort": {"cohort": {"start": {"event": "view"}, "periods": 3}, **SPAN},
    "segment": {"rule": {"performed": {"event": "view"}}},
}
SEGMENTS: Final = {"buyers": {"performed": {"event": "buy"}}}

values = st.sampled_from(["pro", "free", 1, None, True, [1], {"a": 1}])
said: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"$set": st.fixed_dictionaries({"plan": values})}),
    st.fixed_dictionaries({"$set_once": st.fixed_dictionaries({"plan": values})}),
    st.just({"$set": {"plan": "pro", "seats": 3}, "$set_once": {"plan": "free", "seats": 9}}),
)
acts_of = st.lists(
    st.builds(
        lambda person, event, hour, set_, number: Event(
            person, event, BEGIN + hour * 3_600_000, {**set_, "n": number}
        ),
        st.sampled_from("abc"),
        st.sampled_from(["view", "buy"]),
        st.integers(0, 30),  # so that many are at equal times
        said,
        st.integers(0, 2),
    ),
    max_size=16,
)
conditions = st.sampled_from(
    [
        {"property": "plan", "value": "pro"},
        {"property": "plan", "op": "not_equals", "value": "pro"},
        {"property": "plan", "op": "is_set"},
        {"property": "plan", "op": "in", "value": ["free", 1]},
        {"property": "seats", "op": "gte", "value": 3},
        {"not": {"property": "plan", "op": "is_not_set"}},
        {
            "and": [
                {"property": "plan", "value": "pro"},
                {
                    "or": [
                        {"property": "seats", "op": "is_not_set"},
                        {"property": "seats"} | {"value": 3},
                    ]
                },
            ]
        },
    ]
)
leaves = st.one_of(
    st.builds(lambda one: {"person": one, "at": "event"}, conditions),
    st.builds(lambda one: {"person": one}, conditions),
    st.just({"segment": "buyers"}),
    st.just({"property": "n", "op": "lt", "value": 2}),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda one: {"not": one}, inner),
        st.builds(lambda one, other: {"and": [one, other]}, inner, inner),
        st.builds(lambda one, other: {"or": [one, other]}, inner, inner),
    ),
    max_leaves=3,
)


def figures(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what says which events it is of."""
    left_out = {"positions", "as_of", "complete_until", "next"}
    found = {name: value for name, value in answer.items() if name not in left_out}
    if "events" in found and found["events"] and "event_id" in found["events"][0]:
        found["events"] = [
            {key: one[key] for key in ("person", "event", "timestamp", "properties")}
            for one in found["events"]
        ]
    return found


@given(acts=acts_of, where=st.lists(filters, min_size=1, max_size=2))
@patient
def test_a_filtered_query_of_any_kind_is_one_of_the_events_that_pass(
    asker: Asker, acts: list[Event], where: list[dict[str, Any]]
) -> None:
    whole = asker.write(acts)
    passed = asker.write(passing(where, acts, NOW, SEGMENTS))
    for kind, body in BODIES.items():
        answer = asker.ask(kind, whole, body | {"where": where}, NOW, SEGMENTS)
        wanted = asker.ask(kind, passed, body, NOW)
        assert figures(answer) == figures(wanted), kind


@given(acts=acts_of)
@patient
def test_events_are_broken_down_by_what_their_persons_were_then(
    asker: Asker, acts: list[Event]
) -> None:
    by = [{"person": "plan", "at": "event"}, {"person": "seats", "at": "event"}]
    body = {"series": [{}], "breakdown": by, "top": 100, **SPAN}
    answer = asker.ask("trends", asker.write(acts), body, NOW)
    wanted: dict[tuple[str, ...], int] = {}
    for place in range(len(acts)):
        had = had_at(place, acts)
        label = tuple(name_of(had.get(name)) for name in ("plan", "seats"))
        wanted[label] = wanted.get(label, 0) + 1
    assert {
        tuple("" if value is None else name_of(value) for value in one["breakdown"]): one["total"]
        for one in answer["trends"]
    } == wanted
