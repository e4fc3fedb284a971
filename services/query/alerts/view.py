"""What the query service knows of alerts: their states, and the newest incidents of each."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from schemas.alerts import AlertState, decode_state
from schemas.avro.codec import Codec
from services.query.http.params import instant
from services.query.views.changes import Key

log = structlog.get_logger(__name__)

MAX_INCIDENTS: Final = 100


class IncidentResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An incident of an alert; `id` is the alert's and the step at which it opened.

    `state` is `open`, `closed`, or `retracted`, if late events have shown that it should not have
    opened. `value`, `figure` and `baseline` are those of its last change.
    """

    id: str
    alert: str
    state: str
    cause: str
    severity: str
    opened_at: datetime.datetime
    ended_at: datetime.datetime | None
    value: float | None
    figure: float | None
    baseline: float | None
    threshold: float | None
    text: str


class StateChange(NamedTuple):
    """The new state of an alert; None if it was deleted."""

    key: Key
    state: AlertState | None


def read_states(messages: list[Message]) -> list[StateChange]:
    """Decode records of `avila.state.alerts`; those that cannot be read are logged."""
    found = []
    for message in messages:
        value = message.value()
        try:
            project, name = (message.key() or b"").decode().split("/")
            state = None if value is None else decode_state(value)
            found.append(StateChange(Key(project, name), state))
        except (ValueError, msgspec.DecodeError) as error:
            log.error("alert_state_unreadable", key=message.key(), reason=str(error))
    return found


class AlertStates:
    """The states of alerts; for one thread."""

    def __init__(self) -> None:
        self.found: dict[Key, AlertState] = {}

    def apply(self, changes: Sequence[StateChange]) -> None:
        """Take in changes in the topic's order."""
        for key, state in changes:
            if state is None:
                self.found.pop(key, None)
            else:
                self.found[key] = state


class IncidentReader:
    """Decodes records of `avila.incidents`; for one thread."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def __call__(self, messages: list[Message]) -> Sequence[Mapping[str, Any]]:
        """Return the records; those that cannot be read are logged."""
        decoded = self._codec.decode([message.value() for message in messages])
        for failure in decoded.failures:
            log.error("incident_unreadable", reason=failure.detail)
        rows: Sequence[Mapping[str, Any]] = decoded.batch.to_pylist()
        return rows


class Incidents:
    """The newest incidents of each alert; for one thread."""

    def __init__(self) -> None:
        self._found: dict[Key, dict[str, IncidentResponse]] = {}

    def apply(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in changes in the topic's order; repeating them changes nothing."""
        for row in rows:
            key = Key(row["project_id"], row["alert_id"])
            of_alert = self._found.setdefault(key, {})
            of_alert[row["incident_id"]] = _incident(row)
            if len(of_alert) > MAX_INCIDENTS:
                del of_alert[next(iter(of_alert))]

    def of(self, key: Key) -> list[IncidentResponse]:
        """Return the incidents of an alert, the newest first."""
        return list(self._found.get(key, {}).values())[::-1]

    def of_project(self, project_id: str) -> list[IncidentResponse]:
        """Return the incidents of all alerts of a project, the newest first."""
        found = [
            one
            for key, of_alert in self._found.items()
            if key.project_id == project_id
            for one in of_alert.values()
        ]
        return sorted(found, key=lambda one: (one.opened_at, one.id), reverse=True)


def _incident(row: Mapping[str, Any]) -> IncidentResponse:
    is_open = row["change"] == "opened"
    return IncidentResponse(
        id=row["incident_id"],
        alert=row["alert_id"],
        state="open" if is_open else row["change"],
        cause=row["cause"],
        severity=row["severity"],
        opened_at=instant(int(row["opened_at"])),
        ended_at=None if is_open else instant(int(row["at"])),
        value=row["value"],
        figure=row["figure"],
        baseline=row["baseline"],
        threshold=row["threshold"],
        text=row["text"],
    )
