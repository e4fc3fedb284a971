"""The API described for programs: an OpenAPI 3.1 document, put together from its parts.

Operations are described where they are routed, and the schemas of responses are derived from the
types of the responses. So the document cannot differ from the service.
"""

import inspect
from functools import cache
from typing import Final

import msgspec

from schemas.dashboards import Dashboard
from schemas.keys import LINK_PREFIX, TOKEN_PREFIX
from schemas.plans import Plan
from services.errors import ErrorBody
from services.query.api import DOCUMENTS, GROUPS, ROUTES
from services.query.dashboards import routes as dashboards
from services.query.http.describe import (
    ID_PATTERN,
    Json,
    content_response,
    json_response,
    path_parameter,
    public_operation,
)
from services.query.http.forms import one_of_forms
from services.query.http.health import Alive, Readiness
from services.query.live.describe import event_stream_paths
from services.query.operators import OPERATORS
from services.query.queries import resource as queries
from services.query.sessions import cookie
from services.query.sessions import routes as sessions

VERSION: Final = "3.1.0"

# What the process says of itself, to anybody.
PUBLIC: Final[dict[str, Json]] = {
    "/": public_operation("page", "The web page", {"200": content_response("text/html", {})}),
    "/healthz": public_operation(
        "alive", "Whether the process is alive", {"200": json_response(Alive)}
    ),
    "/readyz": public_operation(
        "ready",
        "Whether the service is ready",
        {"200": json_response(Readiness), "503": json_response(Readiness)},
    ),
    "/health": public_operation(
        "health",
        "What of the system answers now: as `/readyz`, and also the workers after their start",
        {"200": json_response(Readiness)},
    ),
    "/metrics": public_operation(
        "metrics", "Metrics for Prometheus", {"200": content_response("text/plain", {})}
    ),
    "/openapi.json": public_operation(
        "describe",
        "This document",
        {"200": content_response("application/json", {"type": "object"})},
    ),
}


@cache
def document() -> Json:
    """Return the document; treat it as read-only."""
    return {
        "openapi": VERSION,
        "info": {
            "title": "Avila Analytics: queries",
            "version": "1",
            "description": _description(),
        },
        "security": [{"queryToken": []}, {"session": []}],
        "paths": _paths() | {path: {"get": described} for path, described in PUBLIC.items()},
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "queryToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": f"{TOKEN_PREFIX}…",
                    "description": "A query token, as `avila tokens create` makes them. GET and "
                    "queries need the scope `read`, everything else the scope `write`.",
                },
                "dashboardLink": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": f"{LINK_PREFIX}…",
                    "description": "The secret of a link, which follows the `#` of its address. It "
                    "shows one dashboard.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie.NAME,
                    "description": "A session of the page, as `POST /session` begins one; accepted "
                    "from the page itself only.",
                },
            },
        },
    }


def _description() -> str:
    plurals = [operator.spec.plural for operator in OPERATORS]
    live = [operator.spec.plural for operator in OPERATORS if operator.live]
    subscriptions = ", ".join(f'`{{"subscribe": "{name}"}}`' for name in (*live, "events"))
    return (
        f"Define {', '.join(plurals[:-1])} and {plurals[-1]}, and read the results that the stream "
        "keeps; ask ClickHouse any question about the past with a query; define tracking plans, "
        "which say what the properties of events must be, and feature flags of segments. The "
        "WebSocket `/api/projects/{project}/live`, which OpenAPI cannot describe, sends results "
        f'and events as they come: send {subscriptions}; web pages send `{{"token": "…"}}` first. '
        "`GET /api/projects/{project}/live/{topic}` sends one of these topics as "
        "Server-Sent Events, `…/live/{topic}/{id}` one definition."
    )


def _paths() -> dict[str, Json]:
    paths: dict[str, Json] = {}
    for route in ROUTES:
        names = [name for name in ("project", "id", "person") if f"{{{name}}}" in route.full_path]
        path = paths.setdefault(
            route.full_path, {"parameters": [path_parameter(name) for name in names]}
        )
        path[route.method.lower()] = route.operation
    for session_route in sessions.ROUTES:
        path = paths.setdefault(session_route.path, {})
        path[session_route.method.lower()] = session_route.operation
    for oidc_route in sessions.OIDC_ROUTES:
        paths[oidc_route.path] = {"get": oidc_route.operation}
    for shared_route in dashboards.SHARED_ROUTES:
        paths[shared_route.path] = {"get": shared_route.operation}
    topics = [operator.spec.plural for operator in OPERATORS if operator.live]
    return paths | event_stream_paths(topics)


def _schemas() -> dict[str, Json]:
    types = {one for group in GROUPS for one in group.types}
    _, schemas = msgspec.json.schema_components(
        sorted(
            {
                *types,
                *sessions.TYPES,
                *dashboards.SHARED_TYPES,
                Alive,
                Dashboard,
                ErrorBody,
                Plan,
                Readiness,
            },
            key=lambda one: one.__name__,
        ),
        ref_template="#/components/schemas/{name}",
    )
    for schema in schemas.values():
        if "description" in schema:  # which is Markdown, where indented text is code
            schema["description"] = inspect.cleandoc(schema["description"])
    conditions = {"property": ("op", "value"), "and": (), "or": (), "not": ()}
    schemas["Condition"] = one_of_forms(schemas["Condition"], conditions)
    queries.refine(schemas)
    dashboards.refine(schemas)
    for operator in OPERATORS:
        operator.refine(schemas)
        title = operator.request.__name__
        schemas[f"New{title}"] = _with(schemas[title], _NAMED)
        schemas[f"Changed{title}"] = _with(schemas[title], _SHOWN)
    schemas["NewPlan"] = _with(schemas["Plan"], _SHOWN)
    schemas["NewDashboard"] = _with(schemas["Dashboard"], _SHOWN)
    for body in DOCUMENTS.values():
        title = body.__name__
        schemas[f"New{title}"] = _with(schemas[title], _NAMED)
        schemas[f"Changed{title}"] = _with(schemas[title], _SHOWN)
    # A new annotation without a time is of now.
    schemas["NewAnnotation"] = schemas["NewAnnotation"] | {"required": ["text"]}
    return schemas


def _with(schema: Json, more: Json) -> Json:
    return schema | {"properties": schema["properties"] | more}


_NAMED: Final[Json] = {"id": {"type": "string", "pattern": ID_PATTERN}}
# A definition may be sent back as it is shown.
_SHOWN: Final[Json] = {
    **_NAMED,
    "revision": {"type": "integer", "description": "Refuse the change unless it is at this one."},
    "version": {"type": "integer", "description": "Refuse the change unless it is at this one."},
    "created_at": {"description": "Ignored."},
    "updated_at": {"description": "Ignored."},
}
