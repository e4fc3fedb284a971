"""The records of incidents, with a sentence that says what happened. Pure."""

from typing import Any, Final

from schemas.alerts import (
    AlertDefinition,
    AlertState,
    FunnelMeasure,
    MetricMeasure,
    PredictionMeasure,
    SegmentMeasure,
)
from services.alerts.decide import IncidentChange

_OPS: Final = {"gt": "above", "gte": "at or above", "lt": "below", "lte": "at or below"}
_AGAINST: Final = {"none": "", "previous": " against the time before", "week": " against last week"}


def incident_record(
    key: tuple[str, str],
    definition: AlertDefinition | None,
    change: IncidentChange,
    state: AlertState,
) -> dict[str, Any]:
    """Return the record of a change; without a definition, of an alert that was deleted."""
    project, name = key
    alert = None if definition is None else definition.alert
    every_ms = 1_000 * state.every_s
    return {
        "project_id": project,
        "alert_id": name,
        "version": state.version,
        "incident_id": f"{name}/{change.opened}",
        "step": change.step,
        "change": change.change,
        "cause": change.cause,
        "at": change.step * every_ms,
        "opened_at": change.opened * every_ms,
        "value": change.value,
        "figure": change.figure,
        "baseline": change.baseline,
        "threshold": None if alert is None else alert.condition.value,
        "severity": "warning" if alert is None else alert.severity,
        "name": "" if alert is None else alert.name,
        "text": _text(name, definition, change, state),
        "notify": [] if alert is None else list(alert.notify),
    }


def _text(
    name: str, definition: AlertDefinition | None, change: IncidentChange, state: AlertState
) -> str:
    if definition is None:
        return f"{name}: closed, as the alert was deleted"
    alert = definition.alert
    title = alert.name or name
    if not alert.active:
        return f"{title}: closed, as the alert was paused"
    if state.version != definition.version or state.created_at != definition.created_at:
        return f"{title}: closed, as the alert was changed"
    if change.step < change.opened:
        return f"{title}: closed, as the clock was set back"
    about = f"{_about(definition)}{_AGAINST[alert.compare]}"
    match change.change:
        case "opened":
            if change.cause == "no_data":
                return f"{title}: {about} has no data"
            op, threshold = _OPS[alert.condition.op], _number(alert.condition.value)
            return f"{title}: {about} is {_number(change.value)}, {op} {threshold}"
        case "closed":
            return f"{title}: in order again, {about} is {_number(change.value)}"
        case "retracted":
            return (
                f"{title}: retracted, as with late events {about} was {_number(change.value)} "
                "when it opened"
            )


def _about(definition: AlertDefinition) -> str:
    match definition.alert.measure:
        case MetricMeasure(metric=name):
            return f"the metric {name}"
        case FunnelMeasure(funnel=name):
            return f"the conversion of {name}"
        case SegmentMeasure(segment=name, figure="entered"):
            return f"the number of persons who entered {name}"
        case SegmentMeasure(segment=name):
            return f"the size of {name}"
        case PredictionMeasure(prediction=name):
            return f"the number of drifts of {name}"
    return "the query"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
