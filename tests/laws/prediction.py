"""Predictions: what is asked, of whom nothing is known that comes later."""

import datetime
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tests.laws.driver import Published
from tests.laws.entry import DAY_MS, NOON, PERSONS, Case, Entry
from tests.oracles import prediction as oracle
from tests.oracles.events import Event, Json, selected

_EPOCH = datetime.date(1970, 1, 1)
_NAMES = ["home", "cart", "buy"]


def _asked(body: Json, events: Sequence[Event], _: int) -> Any:
    asked = oracle.asked(body, events)
    triggers = sum(selected(body.get("at", {}), event) for event in events)
    days = Counter(question.at // DAY_MS for question in asked)
    return dict(days), len(asked), triggers - len(asked)


def _read(_: Json, published: Published, __: int) -> Any:
    days = {
        (of["day"] - _EPOCH).days: of["asked"]
        for of in published.aggregates
        if of["day"] is not None
    }
    whole = [of for of in published.aggregates if of["day"] is None]
    asked = sum(of["asked"] for of in whole)
    return (
        {day: count for day, count in days.items() if count},
        asked,
        sum(of["late_triggers"] for of in whole),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A prediction, and what persons did within some minutes or weeks."""
    span = draw(st.sampled_from([60_000, 3 * DAY_MS, 40 * DAY_MS]))
    event = st.builds(
        Event,
        st.sampled_from(PERSONS),
        st.sampled_from(_NAMES),
        st.integers(NOON - span, NOON),
        st.fixed_dictionaries({}, optional={"price": st.integers(0, 9), "plan": st.just("pro")}),
    )
    body = draw(
        st.fixed_dictionaries(
            {"goal": st.just({"event": "buy"}), "within_s": st.sampled_from([1, 600, 86_400])},
            optional={
                "at": st.just({"event": "cart"}),
                "lateness_s": st.sampled_from([0, 60]),
                "events": st.just([{"event": "home"}]),
                "steps": st.just([{"event": "home"}, {"event": "cart"}]),
                "conditions": st.just([{"filter": {"event": "cart"}, "within_s": 60}]),
                "amount": st.just("price"),
                "category": st.just("plan"),
            },
        )
    )
    return Case(body, draw(st.lists(event, min_size=1, max_size=12)))


def _nobody(*_: Any) -> dict[str, Any]:
    """There is no model in the laws, so nobody has a score."""
    return {}


def _not_in_store(*_: Any) -> Any:
    raise AssertionError("predictions are of the stream alone")


ENTRY = Entry(
    {"goal": {"event": "cart"}, "within_s": 3_600},
    {"goal": {"event": "home"}, "within_s": 3_600},
    {"any": cases()},
    _asked,
    _read,
    _not_in_store,
    stream_only=True,
    silent=("predictions",),  # without a model
    changes=lambda published: {of["person_id"]: of for of in published.changes},
    oracle_of_changes=_nobody,
)
