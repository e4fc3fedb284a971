"""What an alert does at a step: a pure function of its state, what was observed, and the step."""

from typing import Final, Literal, NamedTuple

from msgspec.structs import replace

from schemas.alerts import Alert, AlertDefinition, AlertState

Change = Literal["opened", "closed", "retracted"]


class Observation(NamedTuple):
    """What was measured for a step.

    `figure` is None if there is nothing to measure, and `baseline` what it is compared with.
    `total` is the running count of a figure that counts since the last step. `error` says why it
    could not be measured. `rechecked` has the figures of the step that opened the incident, once
    all events of that step are there.
    """

    figure: float | None = None
    baseline: float | None = None
    sample: float | None = None
    total: float | None = None
    error: str = ""
    rechecked: "Observation | None" = None


class IncidentChange(NamedTuple):
    """A change of an incident, which opened at the step `opened`."""

    change: Change
    opened: int
    step: int
    cause: str
    value: float | None
    figure: float | None
    baseline: float | None


class Decision(NamedTuple):
    """The state after a step, and what changed of incidents, in order."""

    state: AlertState
    changes: tuple[IncidentChange, ...] = ()


# Clocks of several notifiers may differ.
_MAX_AHEAD_S: Final = 300
_NOTHING: Final[tuple[IncidentChange, ...]] = ()


def begin(definition: AlertDefinition) -> AlertState:
    """Return the state of an alert before its first step."""
    return AlertState(
        created_at=definition.created_at,
        version=definition.version,
        every_s=definition.alert.every_s,
        step=-1,
    )


def is_of(state: AlertState, definition: AlertDefinition) -> bool:
    """Whether a state is of this version of an alert."""
    return (state.created_at, state.version) == (definition.created_at, definition.version)


def is_ahead(state: AlertState, now_s: int) -> bool:
    """Whether a state is of a step that is yet to come: the clock has been set back since."""
    return state.step * state.every_s > now_s + _MAX_AHEAD_S


def end(state: AlertState, step: int) -> tuple[IncidentChange, ...]:
    """Return what closes the incident of an alert that was deleted or changed.

    A `step` before the one at which it opened says that the clock was set back.
    """
    if state.opened is None:
        return _NOTHING
    return (IncidentChange("closed", state.opened, step, state.cause, None, None, None),)


def value_of(alert: Alert, seen: Observation) -> float | None:
    """Return what the condition is on; None if there is no data."""
    if seen.figure is None or (alert.min_sample and (seen.sample or 0) < alert.min_sample):
        return None
    if alert.compare == "none":
        return seen.figure
    if seen.baseline is None or (alert.relative and seen.baseline == 0):
        return None
    difference = seen.figure - seen.baseline
    return difference / abs(seen.baseline) if alert.relative else difference


def decide(alert: Alert, before: AlertState, seen: Observation, step: int) -> Decision:
    """Return the state after a step, and the changes of incidents.

    A step that is not after the state's changes nothing, so that none is decided twice. What could
    not be measured changes no phase.
    """
    if step <= before.step:
        return Decision(before)
    if seen.error:
        return Decision(replace(before, step=step, data="error", error=seen.error))
    before, retracted = _recheck(alert, before, seen, step)
    value = value_of(alert, seen)
    now = replace(
        before,
        step=step,
        data="value" if value is not None else "no_data",
        value=value,
        figure=seen.figure,
        baseline=seen.baseline,
        sample=seen.sample,
        total=seen.total,
        error="",
    )
    if value is None and alert.no_data == "keep":
        return Decision(now, retracted)
    holds = alert.no_data == "alert" if value is None else alert.condition.holds(value)
    cause: Literal["condition", "no_data"] = "no_data" if value is None else "condition"
    after = _hold(alert, now, cause, step) if holds else _rest(alert, now, step)
    return Decision(after.state, (*retracted, *after.changes))


def _hold(
    alert: Alert, state: AlertState, cause: Literal["condition", "no_data"], step: int
) -> Decision:
    state = replace(state, held_at=step)
    if state.phase == "firing":
        return Decision(state)
    since = step if state.phase == "ok" or state.pending_since is None else state.pending_since
    if (step - since) * alert.every_s < alert.pending_s:
        return Decision(replace(state, phase="pending", pending_since=since))
    opened = replace(
        state, phase="firing", pending_since=since, opened=step, cause=cause, checked=False
    )
    return Decision(opened, (_change("opened", opened, step),))


def _rest(alert: Alert, state: AlertState, step: int) -> Decision:
    if state.phase != "firing":
        return Decision(_cleared(state))
    held = step if state.held_at is None else state.held_at
    if (step - held) * alert.every_s < alert.keep_firing_s:
        return Decision(state)
    return Decision(_cleared(state), (_change("closed", state, step),))


def _recheck(
    alert: Alert, state: AlertState, seen: Observation, step: int
) -> tuple[AlertState, tuple[IncidentChange, ...]]:
    """Retract the open incident if its step, with all events, gives no reason for it."""
    again = seen.rechecked
    if again is None or state.opened is None or state.checked:
        return state, _NOTHING
    value = value_of(alert, again)
    cause_holds = (
        alert.no_data == "alert" and state.cause == "no_data"
        if value is None
        else state.cause == "condition" and alert.condition.holds(value)
    )
    if cause_holds:
        return replace(state, checked=True), _NOTHING
    final = replace(state, value=value, figure=again.figure, baseline=again.baseline)
    return _cleared(state), (_change("retracted", final, step),)


def _cleared(state: AlertState) -> AlertState:
    return replace(state, phase="ok", pending_since=None, held_at=None, opened=None, checked=False)


def _change(change: Change, state: AlertState, step: int) -> IncidentChange:
    assert state.opened is not None
    return IncidentChange(
        change, state.opened, step, state.cause, state.value, state.figure, state.baseline
    )
