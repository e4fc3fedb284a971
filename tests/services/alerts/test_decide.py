"""What an alert does at each step: laws over any observations, and the cases that have names."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import Alert, AlertDefinition, AlertState, decode_alert, decode_state
from schemas.alerts import encode_state as encoded
from services.alerts.decide import (
    IncidentChange,
    Observation,
    begin,
    decide,
    end,
    is_ahead,
    value_of,
)

ABOVE_TEN: dict[str, Any] = {
    "measure": {"type": "metric", "metric": "orders"},
    "condition": {"op": "gt", "value": 10},
    "every_s": 60,
}
HIGH, LOW, NONE = Observation(20), Observation(1), Observation(None)


def alert(**changed: Any) -> Alert:
    return decode_alert(msgspec.json.encode(ABOVE_TEN | changed))


def define(rule: Alert) -> AlertDefinition:
    return AlertDefinition(
        project_id="shop", id="a", version=1, created_at=1, updated_at=1, alert=rule
    )


def run(rule: Alert, *seen: Observation) -> list[tuple[str, int, int]]:
    """The changes of incidents: what, of which incident, and at which step."""
    state = begin(define(rule))
    found: list[tuple[str, int, int]] = []
    for step, one in enumerate(seen):
        state, changes = decide(rule, state, one, step)
        found += [(change.change, change.opened, change.step) for change in changes]
    return found


def test_it_opens_and_closes_with_the_condition() -> None:
    assert run(alert(), LOW, HIGH, HIGH, LOW, HIGH) == [
        ("opened", 1, 1),
        ("closed", 1, 3),
        ("opened", 4, 4),
    ]


def test_it_opens_once_the_condition_has_held_for_the_pending_period() -> None:
    rule = alert(pending_s=120)
    assert run(rule, HIGH, HIGH, LOW, HIGH, HIGH, HIGH) == [("opened", 5, 5)]


def test_it_keeps_firing_for_as_long_as_it_says() -> None:
    rule = alert(keep_firing_s=120)
    assert run(rule, HIGH, LOW, HIGH, LOW, LOW) == [("opened", 0, 0), ("closed", 0, 4)]


@pytest.mark.parametrize(
    ("no_data", "changes"),
    [
        ("keep", [("opened", 0, 0), ("closed", 0, 2)]),
        ("ok", [("opened", 0, 0), ("closed", 0, 1)]),
        ("alert", [("opened", 0, 0), ("closed", 0, 2)]),
    ],
)
def test_without_data_it_does_what_it_says(
    no_data: str, changes: list[tuple[str, int, int]]
) -> None:
    assert run(alert(no_data=no_data), HIGH, NONE, LOW) == changes


def test_no_data_can_be_the_incident() -> None:
    assert run(alert(no_data="alert"), LOW, NONE, LOW) == [("opened", 1, 1), ("closed", 1, 2)]


def test_an_error_changes_nothing() -> None:
    failed = Observation(error="the query service does not answer")
    assert run(alert(no_data="alert"), HIGH, failed, failed, LOW) == [
        ("opened", 0, 0),
        ("closed", 0, 3),
    ]


def test_a_sample_that_is_too_small_is_no_data() -> None:
    rule = alert(min_sample=100)
    assert value_of(rule, Observation(20, sample=99)) is None
    assert value_of(rule, Observation(20, sample=100)) == 20


def test_a_change_is_compared_with_the_time_before() -> None:
    drop = alert(compare="week", relative=True, condition={"op": "lte", "value": -0.2})
    assert value_of(drop, Observation(80, 100)) == pytest.approx(-0.2)
    assert value_of(drop, Observation(80, 0)) is None
    assert value_of(drop, Observation(80, None)) is None
    assert value_of(alert(compare="previous"), Observation(80, 100)) == -20


def test_an_incident_that_late_events_give_no_reason_for_is_retracted_once() -> None:
    rechecked = Observation(1, rechecked=Observation(5))
    assert run(alert(), HIGH, rechecked, LOW) == [("opened", 0, 0), ("retracted", 0, 1)]


def test_one_that_late_events_confirm_goes_on_and_is_not_asked_about_again() -> None:
    rule = alert()
    state = begin(define(rule))
    state, _ = decide(rule, state, HIGH, 0)
    state, changes = decide(rule, state, HIGH._replace(rechecked=HIGH), 1)
    assert (state.checked, state.opened, changes) == (True, 0, ())


def test_what_is_deleted_or_changed_closes_its_incident() -> None:
    rule = alert()
    state, _ = decide(rule, begin(define(rule)), HIGH, 0)
    (closing,) = end(state, 1)
    assert (closing.change, closing.opened) == ("closed", 0)
    assert end(begin(define(rule)), 1) == ()


def test_a_state_of_a_step_that_is_yet_to_come_was_written_by_a_clock_that_was_ahead() -> None:
    state = msgspec.structs.replace(begin(define(alert())), step=1_000)
    assert not is_ahead(state, 60 * 1_000 - 240)  # clocks may differ a little
    assert is_ahead(state, 60 * 1_000 - 360)
    assert not is_ahead(begin(define(alert())), 0)


# Figures come from JSON, so all are finite.
FINITE = st.none() | st.sampled_from([0.0, 1.0, 10.0, 20.0])
OBSERVED = st.builds(
    Observation,
    figure=st.none() | st.sampled_from([1.0, 10.0, 11.0, 20.0]),
    baseline=FINITE,
    sample=FINITE,
    total=FINITE,
    error=st.sampled_from(["", "", "", "away"]),
    rechecked=st.none() | st.builds(Observation, figure=st.none() | st.sampled_from([1.0, 20.0])),
)
RULES = st.builds(
    lambda pending, keep, no_data: alert(
        pending_s=60 * pending, keep_firing_s=60 * keep, no_data=no_data
    ),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["keep", "ok", "alert"]),
)
GAPS = st.lists(st.tuples(st.integers(1, 3), OBSERVED), max_size=40)


def _all(
    rule: Alert, seen: list[tuple[int, Observation]], *, crashes: bool
) -> tuple[list[IncidentChange], AlertState]:
    state, step = begin(define(rule)), 0
    found: list[IncidentChange] = []
    for gap, one in seen:
        step += gap
        if crashes:  # decided, but not committed: the state before is read again
            decide(rule, state, one, step)
            state = decode_state(encoded(state))
        state, changes = decide(rule, state, one, step)
        again, repeated = decide(rule, state, one, step)
        assert (again, repeated) == (state, ())
        found += changes
    return found, state


@given(rule=RULES, seen=GAPS)
def test_incidents_open_and_end_in_turn_and_have_steps_of_their_own(
    rule: Alert, seen: list[tuple[int, Observation]]
) -> None:
    changes, state = _all(rule, seen, crashes=False)
    assert [one.change == "opened" for one in changes] == [
        place % 2 == 0 for place in range(len(changes))
    ]
    for opened, ended in zip(changes[::2], changes[1::2], strict=False):
        assert opened.opened == opened.step == ended.opened
    opened_at = [one.opened for one in changes if one.change == "opened"]
    assert opened_at == sorted(set(opened_at))
    assert (state.opened is not None) == (len(changes) % 2 == 1)


@given(rule=RULES, seen=GAPS)
def test_a_crash_before_a_commit_changes_nothing(
    rule: Alert, seen: list[tuple[int, Observation]]
) -> None:
    assert _all(rule, seen, crashes=True) == _all(rule, seen, crashes=False)


@given(seen=GAPS, pending=st.integers(0, 3))
def test_it_never_opens_before_the_pending_period_is_over(
    seen: list[tuple[int, Observation]], pending: int
) -> None:
    rule = alert(pending_s=60 * pending, no_data="ok")
    changes, _ = _all(rule, seen, crashes=False)
    step, held_since = 0, None
    since: dict[int, int] = {}
    for gap, one in seen:
        step += gap
        if one.error:
            continue
        value = value_of(rule, one)
        if value is None or not rule.condition.holds(value):
            held_since = None
        elif held_since is None:
            held_since = step
        if held_since is not None:
            since[step] = held_since
    for change in changes:
        if change.change == "opened":
            assert change.step - since[change.step] >= pending
