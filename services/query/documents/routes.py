"""The routes that all kinds of documents have, and their descriptions."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.keys import Scope
from services.query.documents.resource import Documents
from services.query.http.describe import (
    IF_MATCH,
    Json,
    json_response,
    operation,
    page_parameters,
    tagged_response,
)
from services.query.http.routes import ApiRoute

_Documents = Documents[Any, Any]


class DocumentTypes(NamedTuple):
    """A kind's name, and the types of its body, of one document and of a list.

    `body` names the request's schema; those of new and of changed documents are derived from it.
    """

    kind: str
    plural: str
    body: type[msgspec.Struct]
    response: type[msgspec.Struct]
    list_response: type[msgspec.Struct]


def document_routes(
    types: DocumentTypes,
    *,
    scope: Scope | None = None,
    filters: tuple[Json, ...] = (),
    summary: str = "",
) -> tuple[ApiRoute[Any], ...]:
    """Return the routes; `scope` is what all of them need, and `filters` narrow the list."""
    kind, many = types.kind, f"/{types.plural}"
    one, title = f"{many}/{{id}}", types.body.__name__
    tagged = tagged_response(types.response)
    created = tagged_response(types.response)
    created["headers"]["Location"] = {"schema": {"type": "string"}}
    listed = operation(
        f"list{title}s",
        f"The {types.plural} of a project, by id",
        {"200": json_response(types.list_response)},
        parameters=(*page_parameters(types.plural), *filters),
    )
    made = operation(
        f"create{title}",
        summary or f"Create a document of the kind {kind}",
        {"201": created},
        *(409, 413),
        body=f"New{title}",
    )
    changed = operation(
        f"replace{title}",
        f"Change one of the {types.plural}",
        {"200": tagged},
        *(404, 409, 413),
        parameters=(IF_MATCH,),
        body=f"Changed{title}",
    )
    deleted = operation(
        f"delete{title}",
        f"Delete one of the {types.plural}",
        {"204": {"description": "Deleted"}},
        *(404, 409),
        parameters=(IF_MATCH,),
    )
    read = operation(f"read{title}", f"One of the {types.plural}", {"200": tagged}, 404)
    return (
        ApiRoute("GET", many, _call("list"), listed, "ListDefinitions", kind, scope),
        ApiRoute("POST", many, _call("create"), made, "CreateDefinition", kind, scope),
        ApiRoute("GET", one, _call("read"), read, "GetDefinition", kind, scope),
        ApiRoute("PUT", one, _call("replace"), changed, "ReplaceDefinition", kind, scope),
        ApiRoute("DELETE", one, _call("delete"), deleted, "DeleteDefinition", kind, scope),
    )


def _call(
    name: Literal["list", "create", "read", "replace", "delete"],
) -> Callable[[_Documents, Request], Awaitable[Response]]:
    # Called on the resource, so that a kind may override them.
    return lambda resource, request: getattr(resource, name)(request)
