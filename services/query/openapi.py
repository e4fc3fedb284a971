"""The API described for programs: an OpenAPI 3.1 document, written by hand but for its schemas.

The schemas of answers are derived from the types that are answered with, so they cannot differ; a
test holds paths and methods against the routes, and real answers against the schemas.
"""

import inspect
from functools import cache
from typing import Any, Final

import msgspec

from schemas.cohorts import Cohort
from schemas.definitions import Funnel, Step
from schemas.keys import TOKEN_PREFIX
from schemas.plans import Plan
from services.errors import ErrorBody
from services.query.cohort_figures import CohortAnswer, CohortResults
from services.query.cohorts import CohortPage
from services.query.funnel_figures import FunnelAnswer, FunnelResults
from services.query.funnels import FunnelPage
from services.query.health import Alive, Readiness
from services.query.plans import PlanAnswer, PlanPage
from services.query.requests import DEFAULT_PAGE, MAX_PAGE

VERSION: Final = "3.1.0"
_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_ANSWERED: Final = (
    Alive,
    CohortAnswer,
    CohortPage,
    CohortResults,
    ErrorBody,
    FunnelAnswer,
    FunnelPage,
    FunnelResults,
    PlanAnswer,
    PlanPage,
    Readiness,
)


@cache
def document() -> dict[str, Any]:
    """Return the document; treat it as read-only."""
    return {
        "openapi": VERSION,
        "info": {
            "title": "Avila Analytics: queries",
            "version": "1",
            "description": "Define funnels and cohorts, and read their figures as they stand on "
            "the stream; define what the properties of events have to be when they are taken in. "
            "On the WebSocket `/api/projects/{project}/live`, which this document has no words "
            'for, figures and events come by themselves: send `{"subscribe": "funnels"}` or '
            '`{"subscribe": "events"}`; pages send `{"token": "…"}` first.',
        },
        "security": [{"queryToken": []}],
        "paths": {
            "/api/projects/{project}/funnels": {
                "parameters": [_path("project")],
                "get": _list("listFunnels", "funnel", "FunnelPage"),
                "post": _create("Funnel"),
            },
            "/api/projects/{project}/funnels/{id}": {
                "parameters": [_path("project"), _path("id")],
                "get": _operation("readFunnel", "A funnel", {"200": _tagged("FunnelAnswer")}, 404),
                "put": _replace("Funnel"),
                "delete": _delete("deleteFunnel", "funnel", "Deleted, with its figures"),
            },
            "/api/projects/{project}/funnels/{id}/results": {
                "parameters": [_path("project"), _path("id")],
                "get": _results("Funnel", "entry day (UTC)", "totals are over all days"),
            },
            "/api/projects/{project}/cohorts": {
                "parameters": [_path("project")],
                "get": _list("listCohorts", "cohort", "CohortPage"),
                "post": _create("Cohort"),
            },
            "/api/projects/{project}/cohorts/{id}": {
                "parameters": [_path("project"), _path("id")],
                "get": _operation("readCohort", "A cohort", {"200": _tagged("CohortAnswer")}, 404),
                "put": _replace("Cohort"),
                "delete": _delete("deleteCohort", "cohort", "Deleted, with its figures"),
            },
            "/api/projects/{project}/cohorts/{id}/results": {
                "parameters": [_path("project"), _path("id")],
                "get": _results("Cohort", "first day of a period", "all are counted"),
            },
            "/api/projects/{project}/plans": {
                "parameters": [_path("project")],
                "get": _list("listPlans", "plan", "PlanPage"),
            },
            "/api/projects/{project}/plans/{id}": {
                "parameters": [_path("project"), _path("id")],
                "get": _operation("readPlan", "A plan", {"200": _tagged("PlanAnswer")}, 404),
                "put": _put_plan(),
                "delete": _delete("deletePlan", "plan", "Deleted: the event is not checked now"),
            },
            "/healthz": {
                "get": _open(
                    _operation("alive", "Whether the process lives", {"200": _json("Alive")})
                )
            },
            "/readyz": {
                "get": _open(
                    _operation(
                        "ready",
                        "Whether the service may be relied on",
                        {"200": _json("Readiness"), "503": _json("Readiness")},
                    )
                )
            },
            "/metrics": {
                "get": _open(
                    _operation(
                        "metrics", "Metrics for Prometheus", {"200": _content("text/plain", {})}
                    )
                )
            },
            "/openapi.json": {
                "get": _open(
                    _operation(
                        "describe",
                        "This document",
                        {"200": _content("application/json", {"type": "object"})},
                    )
                )
            },
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "queryToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": f"{TOKEN_PREFIX}…",
                    "description": "A query token, as `avila tokens create` makes them. `read` is "
                    "the scope for GET, `write` for everything else.",
                }
            },
        },
    }


def _list(name: str, kind: str, page: str) -> dict[str, Any]:
    operation = _operation(name, f"The {kind}s of a project, by id", {"200": _json(page)}, 400)
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}
    operation["parameters"] = [
        _query("limit", limit, "The most to return."),
        _query("after", {"type": "string"}, f"Only {kind}s whose ids come after this one."),
    ]
    return operation


def _create(kind: str) -> dict[str, Any]:
    created = _tagged(f"{kind}Answer")
    created["headers"]["Location"] = {"schema": {"type": "string"}}
    summary = f"Make a {kind.lower()}"
    operation = _operation(f"create{kind}", summary, {"201": created}, 400, 409, 413)
    return operation | {"requestBody": _body(f"New{kind}")}


def _replace(kind: str) -> dict[str, Any]:
    operation = _operation(
        f"replace{kind}",
        f"Give a {kind.lower()} a new definition; it is counted anew",
        {"200": _tagged(f"{kind}Answer")},
        *(400, 404, 409, 413),
    )
    return operation | {"parameters": [_if_match()], "requestBody": _body(f"Changed{kind}")}


def _put_plan() -> dict[str, Any]:
    operation = _operation(
        "putPlan",
        "Make a plan, or give it a new definition; it holds for events that are taken in from a "
        "second later on, and not for those produced to Kafka directly",
        {"200": _tagged("PlanAnswer"), "201": _tagged("PlanAnswer")},
        *(400, 404, 409, 413),
    )
    return operation | {"parameters": [_if_match()], "requestBody": _body("NewPlan")}


def _delete(name: str, kind: str, done: str) -> dict[str, Any]:
    deleted = {"204": {"description": done}}
    operation = _operation(name, f"Delete a {kind}", deleted, 400, 404, 409)
    return operation | {"parameters": [_if_match()]}


def _results(kind: str, day_of: str, note: str) -> dict[str, Any]:
    summary, answer = f"A {kind.lower()}'s figures", {"200": _json(f"{kind}Results")}
    operation = _operation(f"read{kind}Results", summary, answer, 400, 404)
    day = {"type": "string", "format": "date"}
    source = {"enum": ["stream", "store"], "default": "stream"}
    operation["parameters"] = [
        _query("source", source, "As the stream has them, or counted now in ClickHouse."),
        _query("from", day, f"The earliest {day_of} to show; {note}."),
        _query("to", day, f"The latest {day_of} to show."),
    ]
    return operation


def _open(operation: dict[str, Any]) -> dict[str, Any]:
    return operation | {"security": []}


def _operation(name: str, summary: str, answers: dict[str, Any], *errors: int) -> dict[str, Any]:
    responses = answers | {str(status): _json("ErrorBody") for status in errors}
    if errors:
        again = {"Retry-After": {"schema": {"type": "integer"}}}
        responses |= {"401": _challenge(), "403": _json("ErrorBody")}
        responses["503"] = _json("ErrorBody") | {"headers": again}
    return {"operationId": name, "summary": summary, "responses": responses}


def _json(name: str) -> dict[str, Any]:
    return _content("application/json", {"$ref": f"#/components/schemas/{name}"}, name)


def _challenge() -> dict[str, Any]:
    return _json("ErrorBody") | {"headers": {"WWW-Authenticate": {"schema": {"type": "string"}}}}


def _tagged(name: str) -> dict[str, Any]:
    tag = {"description": "The version, in quotes.", "schema": {"type": "string"}}
    return _json(name) | {"headers": {"ETag": tag}}


def _content(kind: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"description": description or kind, "content": {kind: {"schema": schema}}}


def _body(name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _path(name: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": _ID}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _if_match() -> dict[str, Any]:
    return {
        "name": "If-Match",
        "in": "header",
        "description": "Only if it is at this version, in quotes.",
        "schema": {"type": "string"},
    }


def _schemas() -> dict[str, Any]:
    template = "#/components/schemas/{name}"
    _, schemas = msgspec.json.schema_components(
        (*_ANSWERED, Cohort, Funnel, Plan, Step), ref_template=template
    )
    for schema in schemas.values():
        if "description" in schema:  # which is Markdown, where indented text is code
            schema["description"] = inspect.cleandoc(schema["description"])
    schemas["Condition"] = _condition(schemas["Condition"])
    named = {"id": {"type": "string", "pattern": _ID}}
    known = {
        **named,
        "version": {"type": "integer", "description": "Only if it is at this version."},
        "created_at": {"description": "Not looked at."},
        "updated_at": {"description": "Not looked at."},
    }
    for kind in ("Funnel", "Cohort"):
        schema = schemas[kind]
        schemas[f"New{kind}"] = schema | {"properties": schema["properties"] | named}
        schemas[f"Changed{kind}"] = schema | {"properties": schema["properties"] | known}
    plan = schemas["Plan"]
    schemas["NewPlan"] = plan | {"properties": plan["properties"] | known}
    return schemas


def _condition(derived: dict[str, Any]) -> dict[str, Any]:
    """The four forms of a condition, one by one, from a schema that has the fields of all."""
    fields = derived["properties"] | {"not": {"$ref": "#/components/schemas/Condition"}}

    def form(name: str, *optional: str) -> dict[str, Any]:
        required = {key: value for key, value in fields[name].items() if key != "default"}
        return {
            "title": name,
            "type": "object",
            "properties": {name: required} | {other: fields[other] for other in optional},
            "required": [name],
            "additionalProperties": False,
        }

    forms = [form("property", "op", "value"), form("and"), form("or"), form("not")]
    return {"title": derived["title"], "description": derived["description"], "oneOf": forms}
