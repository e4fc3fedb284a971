"""The endpoints of alerts."""

import datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.alerts import (
    MAX_ALERTS_PER_PROJECT,
    Alert,
    AlertCondition,
    AlertDefinition,
    AlertState,
    Comparison,
    Measure,
    NoData,
    Severity,
    decode_alert,
    encode,
)
from schemas.avro.codec import Codec
from schemas.avro.files import history, load
from schemas.definitions import counts_alike
from schemas.errors import InvalidRequest
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings
from services.commands import Commands
from services.query.alerts.view import (
    MAX_INCIDENTS,
    AlertStates,
    IncidentReader,
    IncidentResponse,
    Incidents,
    read_states,
)
from services.query.documents.resource import Documents, DocumentSpec, shown_fields
from services.query.http.params import encode_response, instant, project_of, read_number
from services.query.subscriptions.resource import Subscriptions
from services.query.views.changes import Key
from services.topic_view import TopicView


class AlertResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as it is shown; `created_at` and `updated_at` in milliseconds since 1970."""

    id: str
    revision: int
    version: int
    created_at: int
    updated_at: int
    measure: Measure
    condition: AlertCondition
    every_s: int
    compare: Comparison
    relative: bool
    pending_s: int
    keep_firing_s: int
    no_data: NoData
    min_sample: int
    wait_complete: bool
    severity: Severity
    notify: tuple[str, ...]
    active: bool
    name: str
    description: str


class AlertListResponse(msgspec.Struct, frozen=True):
    """Some of a project's alerts, by id; `next` is the next page's `after`, null at the end."""

    alerts: list[AlertResponse]
    next: str | None


class AlertStatusResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What an alert does, as of the step that began at `at`; null before its first step.

    `state` is `ok`, `pending`, `firing`, or `waiting` before the first step. `data` is `value`,
    `no_data`, or `error`, for the reason in `error`. `value` is what the condition is on, `figure`
    what was measured, and `baseline` what it is compared with.
    """

    state: str
    data: str
    at: datetime.datetime | None
    value: float | None
    figure: float | None
    baseline: float | None
    sample: float | None
    error: str
    incident: str | None


class IncidentListResponse(msgspec.Struct, frozen=True):
    """Incidents, the newest first."""

    incidents: list[IncidentResponse]


def _define(parts: dict[str, Any], alert: Alert) -> AlertDefinition:
    return AlertDefinition(**parts, alert=alert)


def _show(definition: AlertDefinition) -> AlertResponse:
    return AlertResponse(**shown_fields(definition, definition.alert))


SPEC: Final = DocumentSpec(
    kind=AlertDefinition.KIND,
    plural="alerts",
    read=decode_alert,
    define=_define,
    body=lambda definition: definition.alert,
    counts_alike=counts_alike,
    encode=encode,
    show=_show,
    page=AlertListResponse,
)


class Alerts(Documents[Alert, AlertDefinition]):
    """The endpoints under `/api/projects/{project}/alerts`, and of incidents.

    Attributes:
        views: of the states of alerts, and of incidents.
    """

    max_per_project = MAX_ALERTS_PER_PROJECT

    def __init__(
        self,
        settings: Settings,
        registry: SchemaRegistry,
        subscriptions: Subscriptions,
        view: TopicView[Any],
        commands: Commands,
    ) -> None:
        super().__init__(SPEC, view, commands)
        self._subscriptions = subscriptions
        self._states, self._incidents = AlertStates(), Incidents()
        topics = settings.topics
        codec = Codec(load("incident"), registry.find, shipped=history("incident"))
        self._states_view = TopicView(
            "alerts",
            settings.cluster,
            [topics.alert_state.name],
            read_states,
            self._states.apply,
        )
        self._incidents_view = TopicView(
            "incidents",
            settings.cluster,
            [topics.incidents.name],
            IncidentReader(codec),
            self._incidents.apply,
        )
        self.views: tuple[TopicView[Any], ...] = (self._states_view, self._incidents_view)

    async def status(self, request: Request) -> Response:
        """Show what an alert does."""
        definition = self.find(request)
        self._states_view.require()
        state = self._states.found.get(Key(definition.project_id, definition.id))
        if state is not None and (state.created_at, state.version) != (
            definition.created_at,
            definition.version,
        ):
            state = None
        return encode_response(_status(definition, state))

    async def incidents(self, request: Request) -> Response:
        """Show the incidents of an alert."""
        definition = self.find(request)
        limit = read_number(request, "limit", 1, MAX_INCIDENTS, MAX_INCIDENTS)
        self._incidents_view.require()
        found = self._incidents.of(Key(definition.project_id, definition.id))
        return encode_response(IncidentListResponse(found[:limit]))

    async def all_incidents(self, request: Request) -> Response:
        """Show the incidents of a project."""
        project = project_of(request)
        limit = read_number(request, "limit", 1, MAX_INCIDENTS, MAX_INCIDENTS)
        self._incidents_view.require()
        return encode_response(IncidentListResponse(self._incidents.of_project(project)[:limit]))

    def _check(self, project: str, body: Alert) -> None:
        """Refuse an alert that tells a subscription which does not exist."""
        for place, name in enumerate(body.notify):
            if self._subscriptions.definitions.find(Key(project, name)) is None:
                raise InvalidRequest(f"there is no subscription {name}", f"notify[{place}]")


def _status(definition: AlertDefinition, state: AlertState | None) -> AlertStatusResponse:
    if state is None:
        return AlertStatusResponse(
            state="waiting" if definition.alert.active else "inactive",
            data="no_data",
            at=None,
            value=None,
            figure=None,
            baseline=None,
            sample=None,
            error="",
            incident=None,
        )
    return AlertStatusResponse(
        state=state.phase if definition.alert.active else "inactive",
        data=state.data,
        at=instant(1_000 * state.step * state.every_s),
        value=state.value,
        figure=state.figure,
        baseline=state.baseline,
        sample=state.sample,
        error=state.error,
        incident=None if state.opened is None else f"{definition.id}/{state.opened}",
    )
