"""The API described for programs: an OpenAPI 3.1 document, written by hand but for its schemas.

The schemas of answers are derived from the types that are answered with, so they cannot differ; a
test holds paths and methods against the routes, and real answers against the schemas.
"""

import inspect
from functools import cache
from typing import Any, Final

import msgspec

from schemas.keys import TOKEN_PREFIX
from schemas.operators.cohort import Cohort
from schemas.operators.funnel import Funnel, Step
from schemas.operators.metric import KEPT, MAX_WINDOW, Metric
from schemas.operators.segment import Segment
from schemas.plans import Plan
from services.errors import ErrorBody
from services.query.http.health import Alive, Readiness
from services.query.http.params import DEFAULT_PAGE, MAX_PAGE
from services.query.operators.cohort.persons import CohortPersons
from services.query.operators.cohort.resource import CohortPage
from services.query.operators.cohort.response import CohortAnswer, CohortResults
from services.query.operators.funnel.persons import FunnelPersons
from services.query.operators.funnel.resource import FunnelPage
from services.query.operators.funnel.response import FunnelAnswer, FunnelResults
from services.query.operators.funnel.times import DEFAULT_BINS, MAX_BINS, FunnelTimes
from services.query.operators.metric.resource import DEFAULT_BUCKETS, MetricPage
from services.query.operators.metric.response import MetricAnswer, MetricResults
from services.query.operators.segment.resource import SegmentPage
from services.query.operators.segment.response import (
    SegmentAnswer,
    SegmentMembers,
    SegmentOverlap,
    SegmentResults,
)
from services.query.projects.plans import PlanAnswer, PlanPage
from services.query.projects.settings import ProjectSettings
from services.query.views.latest import Status

VERSION: Final = "3.1.0"
_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_ANSWERED: Final = (
    Alive,
    CohortAnswer,
    CohortPage,
    CohortPersons,
    CohortResults,
    ErrorBody,
    FunnelAnswer,
    FunnelPage,
    FunnelPersons,
    FunnelResults,
    FunnelTimes,
    MetricAnswer,
    MetricPage,
    MetricResults,
    PlanAnswer,
    PlanPage,
    ProjectSettings,
    Readiness,
    Status,
    SegmentAnswer,
    SegmentMembers,
    SegmentOverlap,
    SegmentPage,
    SegmentResults,
)


@cache
def document() -> dict[str, Any]:
    """Return the document; treat it as read-only."""
    return {
        "openapi": VERSION,
        "info": {
            "title": "Avila Analytics: queries",
            "version": "1",
            "description": "Define funnels, cohorts, segments and metrics, and read their figures "
            "as they stand on the stream; define what the properties of events have to be when "
            "they are taken in. On the WebSocket `/api/projects/{project}/live`, which this "
            "document has no words for, figures and events come by themselves: send "
            '`{"subscribe": "funnels"}`, `{"subscribe": "metrics"}` or `{"subscribe": "events"}`; '
            'pages send `{"token": "…"}` first.',
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
            "/api/projects/{project}/funnels/{id}/status": {
                "parameters": [_path("project"), _path("id")],
                "get": _status("Funnel"),
            },
            "/api/projects/{project}/funnels/{id}/results": {
                "parameters": [_path("project"), _path("id")],
                "get": _funnel_results(),
            },
            "/api/projects/{project}/funnels/{id}/times": {
                "parameters": [_path("project"), _path("id")],
                "get": _funnel_times(),
            },
            "/api/projects/{project}/funnels/{id}/persons": {
                "parameters": [_path("project"), _path("id")],
                "get": _funnel_persons(),
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
            "/api/projects/{project}/cohorts/{id}/status": {
                "parameters": [_path("project"), _path("id")],
                "get": _status("Cohort"),
            },
            "/api/projects/{project}/cohorts/{id}/results": {
                "parameters": [_path("project"), _path("id")],
                "get": _results("Cohort", "first day of a period", "all are counted"),
            },
            "/api/projects/{project}/cohorts/{id}/persons": {
                "parameters": [_path("project"), _path("id")],
                "get": _cohort_persons(),
            },
            "/api/projects/{project}/metrics": {
                "parameters": [_path("project")],
                "get": _list("listMetrics", "metric", "MetricPage"),
                "post": _create("Metric"),
            },
            "/api/projects/{project}/metrics/{id}": {
                "parameters": [_path("project"), _path("id")],
                "get": _operation("readMetric", "A metric", {"200": _tagged("MetricAnswer")}, 404),
                "put": _replace("Metric"),
                "delete": _delete("deleteMetric", "metric", "Deleted, with its figures"),
            },
            "/api/projects/{project}/metrics/{id}/status": {
                "parameters": [_path("project"), _path("id")],
                "get": _status("Metric"),
            },
            "/api/projects/{project}/metrics/{id}/results": {
                "parameters": [_path("project"), _path("id")],
                "get": _metric_results(),
            },
            "/api/projects/{project}/segments": {
                "parameters": [_path("project")],
                "get": _list("listSegments", "segment", "SegmentPage"),
                "post": _create("Segment"),
            },
            "/api/projects/{project}/segments/{id}": {
                "parameters": [_path("project"), _path("id")],
                "get": _operation(
                    "readSegment", "A segment", {"200": _tagged("SegmentAnswer")}, 404
                ),
                "put": _replace("Segment"),
                "delete": _delete("deleteSegment", "segment", "Deleted, with its figures"),
            },
            "/api/projects/{project}/segments/{id}/status": {
                "parameters": [_path("project"), _path("id")],
                "get": _status("Segment"),
            },
            "/api/projects/{project}/segments/{id}/results": {
                "parameters": [_path("project"), _path("id")],
                "get": _results("Segment", "day (UTC)", "who is in now is counted in any case"),
            },
            "/api/projects/{project}/segments/{id}/members": {
                "parameters": [_path("project"), _path("id")],
                "get": _members(),
            },
            "/api/projects/{project}/segments/{id}/overlap": {
                "parameters": [_path("project"), _path("id")],
                "get": _overlap(),
            },
            "/api/projects/{project}/settings": {
                "parameters": [_path("project")],
                "get": _operation(
                    "readSettings",
                    "A project's settings",
                    {"200": _json("ProjectSettings")},
                    400,
                ),
                "put": _put_settings(),
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


def _members() -> dict[str, Any]:
    operation = _list("listSegmentMembers", "person", "SegmentMembers")
    operation["responses"]["404"] = _json("ErrorBody")
    operation["summary"] = "The persons in a segment, by id"
    operation["parameters"].append(_source())
    return operation


def _overlap() -> dict[str, Any]:
    summary, answer = "Persons that segments have in common", {"200": _json("SegmentOverlap")}
    operation = _operation("readSegmentOverlap", summary, answer, 400, 404)
    others = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2}
    others_in = _query("with", others, "One or two other segments: `a,b`.")
    others_in |= {"required": True, "explode": False}
    operation["parameters"] = [others_in, _source()]
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


def _put_settings() -> dict[str, Any]:
    summary = "Set the settings of a project; what stands already is not changed by it"
    answer = {"200": _json("ProjectSettings")}
    operation = _operation("putSettings", summary, answer, 400, 413)
    return operation | {"requestBody": _body("ProjectSettings")}


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


def _status(kind: str) -> dict[str, Any]:
    summary, answer = f"How far a {kind.lower()} is", {"200": _json("Status")}
    return _operation(f"read{kind}Status", summary, answer, 404)


def _results(kind: str, day_of: str, note: str) -> dict[str, Any]:
    summary, answer = f"A {kind.lower()}'s figures", {"200": _json(f"{kind}Results")}
    operation = _operation(f"read{kind}Results", summary, answer, 400, 404)
    day = {"type": "string", "format": "date"}
    operation["parameters"] = [
        _source(),
        _query("from", day, f"The earliest {day_of} to show; {note}."),
        _query("to", day, f"The latest {day_of} to show."),
    ]
    return operation


def _metric_results() -> dict[str, Any]:
    operation = _results("Metric", "", "")
    time = {"type": "string", "description": "A date (its beginning, UTC) or a date and time."}
    window = {"type": "integer", "minimum": 1}
    limit = {"type": "integer", "minimum": 1, "maximum": KEPT, "default": DEFAULT_BUCKETS}
    operation["parameters"][1:] = [
        _query("from", time, "The earliest begin of a bucket to show."),
        _query("to", time, "The latest begin of a bucket to show."),
        _query(
            "window_s",
            window,
            "Show windows of so many seconds that end with each bucket: a multiple of the length "
            f"of a bucket, up to {MAX_WINDOW} of them. Not of `persons`.",
        ),
        _query("limit", limit, "The most buckets to show, of which the newest are."),
    ]
    return operation


def _funnel_results() -> dict[str, Any]:
    operation = _results("Funnel", "entry day (UTC)", "totals are over all days")
    period = {"enum": ["day", "week", "month"], "default": "day"}
    described = _query("period", period, "Entry days are added up by it; weeks begin on Monday.")
    operation["parameters"].append(described)
    return operation


def _funnel_times() -> dict[str, Any]:
    operation = _results("Funnel", "entry day (UTC)", "all are counted")
    bins = {"type": "integer", "minimum": 1, "maximum": MAX_BINS, "default": DEFAULT_BINS}
    operation["parameters"] += [
        _query("step", {"type": "integer", "minimum": 2}, "The step, the last one if left out."),
        _query("bins", bins, "How many bins at most."),
    ]
    return operation | {
        "operationId": "readFunnelTimes",
        "summary": "How long persons took to a step",
        "responses": operation["responses"] | {"200": _json("FunnelTimes")},
    }


def _funnel_persons() -> dict[str, Any]:
    answer = {"200": _json("FunnelPersons")}
    summary = "The persons who reached a step, or dropped out before it, from ClickHouse"
    operation = _operation("listFunnelPersons", summary, answer, 400, 404)
    day = {"type": "string", "format": "date"}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}
    outcome = {"enum": ["reached", "dropped"], "default": "reached"}
    operation["parameters"] = [
        _query("step", {"type": "integer", "minimum": 1}, "The step, the last one if left out."),
        _query(
            "outcome",
            outcome,
            "Who reached the step, or who reached the one before it (that is not optional) and not "
            "this one.",
        ),
        _query("from", day, "The earliest entry day (UTC) that counts."),
        _query("to", day, "The latest one."),
        _query("limit", limit, "The most to return."),
        _query("after", {"type": "string"}, "Only persons whose ids come after this one."),
    ]
    return operation


def _cohort_persons() -> dict[str, Any]:
    answer = {"200": _json("CohortPersons")}
    summary = "The persons who are counted in one cell of the grid, from ClickHouse"
    operation = _operation("listCohortPersons", summary, answer, 400, 404)
    day = {"type": "string", "format": "date"}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}
    counted = {"enum": ["persons", "returned", "returned_or_later"], "default": "persons"}
    column = {"type": "integer", "minimum": 0, "default": 0}
    operation["parameters"] = [
        _query("begin", day, "The `begin` of the row.") | {"required": True},
        _query("counted", counted, "The field of the row."),
        _query("column", column, "The place in that field, from 0; `persons` has none."),
        _query("limit", limit, "The most to return."),
        _query("after", {"type": "string"}, "Only persons whose ids come after this one."),
    ]
    return operation


def _source() -> dict[str, Any]:
    source = {"enum": ["stream", "store"], "default": "stream"}
    return _query("source", source, "As the stream has it, or counted now in ClickHouse.")


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
        (*_ANSWERED, Cohort, Funnel, Metric, Plan, Segment, Step), ref_template=template
    )
    for schema in schemas.values():
        if "description" in schema:  # which is Markdown, where indented text is code
            schema["description"] = inspect.cleandoc(schema["description"])
    schemas["Condition"] = _condition(schemas["Condition"])
    schemas["Rule"] = _one_of(schemas["Rule"], dict.fromkeys(_RULES, ()))
    named = {"id": {"type": "string", "pattern": _ID}}
    known = {
        **named,
        "version": {"type": "integer", "description": "Only if it is at this version."},
        "created_at": {"description": "Not looked at."},
        "updated_at": {"description": "Not looked at."},
    }
    for kind in ("Funnel", "Cohort", "Metric", "Segment"):
        schema = schemas[kind]
        schemas[f"New{kind}"] = schema | {"properties": schema["properties"] | named}
        schemas[f"Changed{kind}"] = schema | {"properties": schema["properties"] | known}
    plan = schemas["Plan"]
    schemas["NewPlan"] = plan | {"properties": plan["properties"] | known}
    return schemas


def _condition(derived: dict[str, Any]) -> dict[str, Any]:
    return _one_of(derived, {"property": ("op", "value"), "and": (), "or": (), "not": ()})


def _one_of(derived: dict[str, Any], forms: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The forms of a type, one by one, from a schema that has the fields of all.

    Each has the field that it is named by, and some more that it may have.
    """
    fields = derived["properties"]

    def form(name: str, optional: tuple[str, ...]) -> dict[str, Any]:
        required = {key: value for key, value in fields[name].items() if key != "default"}
        if "anyOf" in required:
            (required,) = (one for one in required["anyOf"] if one != {"type": "null"})
        return {
            "title": name,
            "type": "object",
            "properties": {name: required} | {other: fields[other] for other in optional},
            "required": [name],
            "additionalProperties": False,
        }

    shapes = [form(*of) for of in forms.items()]
    return {"title": derived["title"], "description": derived["description"], "oneOf": shapes}


_RULES: Final = (
    *("and", "or", "not", "person"),
    *("performed", "first_seen", "last_seen", "sequence", "segment"),
)
