"""The routes of alerts and incidents, and their descriptions."""

from typing import Final

from schemas.alerts import Alert
from services.query.alerts.resource import (
    SPEC,
    AlertListResponse,
    AlertResponse,
    Alerts,
    AlertStatusResponse,
    IncidentListResponse,
)
from services.query.alerts.view import MAX_INCIDENTS, IncidentResponse
from services.query.documents.routes import DocumentTypes, document_routes
from services.query.http.describe import json_response, number, operation
from services.query.http.routes import ApiRoute, RouteGroup

_ONE: Final = f"/{SPEC.plural}/{{id}}"
_LIMIT: Final = number(
    "limit", "The most to return.", 1, maximum=MAX_INCIDENTS, default=MAX_INCIDENTS
)

ALERT_ROUTES: Final = RouteGroup(
    (
        *document_routes(
            DocumentTypes(SPEC.kind, SPEC.plural, Alert, AlertResponse, AlertListResponse),
            summary="Be told when a condition holds of a live result or of a query",
        ),
        ApiRoute(
            "GET",
            f"{_ONE}/status",
            Alerts.status,
            operation(
                "readAlertStatus",
                "What an alert does, and what it has measured last",
                {"200": json_response(AlertStatusResponse)},
                404,
            ),
            "GetStatus",
            SPEC.kind,
        ),
        ApiRoute(
            "GET",
            f"{_ONE}/incidents",
            Alerts.incidents,
            operation(
                "listAlertIncidents",
                "The incidents of an alert, the newest first",
                {"200": json_response(IncidentListResponse)},
                404,
                parameters=(_LIMIT,),
            ),
            "ListAlertIncidents",
        ),
        ApiRoute(
            "GET",
            "/incidents",
            Alerts.all_incidents,
            operation(
                "listIncidents",
                "The incidents of a project, the newest first",
                {"200": json_response(IncidentListResponse)},
                parameters=(_LIMIT,),
            ),
            "ListIncidents",
        ),
    ),
    (
        Alert,
        AlertResponse,
        AlertListResponse,
        AlertStatusResponse,
        IncidentListResponse,
        IncidentResponse,
    ),
)
