"""The routes of an operator: those of all operators, and its own."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from services.query.http.describe import (
    IF_MATCH,
    Json,
    json_response,
    operation,
    page_parameters,
    tagged_response,
)
from services.query.http.routes import ApiRoute, RouteGroup
from services.query.operators.contract import AnyOperator
from services.query.operators.history import (
    HistoryPointResponse,
    HistoryResponse,
    describe_history,
    read_history,
)
from services.query.operators.resource import DefinitionResource
from services.query.views.progress import StatusResponse

_Resource = DefinitionResource[Any, Any, Any]


def routes_of(operator: AnyOperator) -> RouteGroup[Any]:
    """Return the routes of an operator, and the types that they refer to."""
    kind = operator.spec.name
    many = f"/{operator.spec.plural}"
    one = f"{many}/{{id}}"
    # Called on the resource, so that an operator may override them.
    routes: tuple[ApiRoute[Any], ...] = (
        ApiRoute("GET", many, _call("list"), _list(operator), "ListDefinitions", kind),
        ApiRoute("POST", many, _call("create"), _create(operator), "CreateDefinition", kind),
        ApiRoute("GET", one, _call("read"), _read(operator), "GetDefinition", kind),
        ApiRoute("PUT", one, _call("replace"), _replace(operator), "ReplaceDefinition", kind),
        ApiRoute("DELETE", one, _call("delete"), _delete(operator), "DeleteDefinition", kind),
        ApiRoute("GET", f"{one}/status", _call("status"), _status(operator), "GetStatus", kind),
        ApiRoute("GET", f"{one}/results", _call("results"), operator.results, "GetResults", kind),
        ApiRoute("GET", f"{one}/history", read_history, _history(operator), "GetHistory", kind),
        *(
            ApiRoute(
                endpoint.method,
                f"{one}/{endpoint.name}",
                endpoint.handle,
                endpoint.operation,
                endpoint.rpc,
                endpoint.kind,
            )
            for endpoint in operator.endpoints
        ),
    )
    types = (operator.request, operator.response, operator.list_response, *operator.types)
    of_all = (StatusResponse, HistoryResponse, HistoryPointResponse)
    return RouteGroup(routes, (*types, *of_all))


def _call(
    name: Literal["list", "create", "read", "replace", "delete", "status", "results"],
) -> Callable[[_Resource, Request], Awaitable[Response]]:
    return lambda resource, request: getattr(resource, name)(request)


def _title(operator: AnyOperator) -> str:
    return operator.request.__name__


def _list(operator: AnyOperator) -> Json:
    return operation(
        f"list{operator.spec.plural.capitalize()}",
        f"The {operator.spec.plural} of a project, by id",
        {"200": json_response(operator.list_response)},
        parameters=page_parameters(operator.spec.plural),
    )


def _create(operator: AnyOperator) -> Json:
    created = tagged_response(operator.response)
    created["headers"]["Location"] = {"schema": {"type": "string"}}
    title = _title(operator)
    summary = f"Create a {operator.spec.name}"
    return operation(f"create{title}", summary, {"201": created}, 409, 413, body=f"New{title}")


def _read(operator: AnyOperator) -> Json:
    response = {"200": tagged_response(operator.response)}
    return operation(f"read{_title(operator)}", f"A {operator.spec.name}", response, 404)


def _replace(operator: AnyOperator) -> Json:
    title = _title(operator)
    return operation(
        f"replace{title}",
        f"Change a {operator.spec.name}: in place, if what is counted stays the same; else as a "
        "new version, which is counted from the first event on, while the one before can be read",
        {"200": tagged_response(operator.response)},
        *(404, 409, 413),
        parameters=(IF_MATCH,),
        body=f"Changed{title}",
    )


def _delete(operator: AnyOperator) -> Json:
    deleted = {"204": {"description": "Deleted, with its results"}}
    summary = f"Delete a {operator.spec.name}"
    name = f"delete{_title(operator)}"
    return operation(name, summary, deleted, 404, 409, parameters=(IF_MATCH,))


def _history(operator: AnyOperator) -> Json:
    return describe_history(_title(operator), operator.spec.name)


def _status(operator: AnyOperator) -> Json:
    summary = f"How far a {operator.spec.name} is"
    response = {"200": json_response(StatusResponse)}
    return operation(f"read{_title(operator)}StatusResponse", summary, response, 404)
