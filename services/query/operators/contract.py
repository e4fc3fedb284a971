"""What an operator is on the query side: one `QueryOperator` each, in `operators.OPERATORS`.

The application, OpenAPI, gRPC, the live WebSocket, `avila replay` and the command line iterate that
tuple; none of them knows an operator by name.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.operators import OperatorSpec
from services.query.http.describe import Json
from services.query.operators.context import Context
from services.query.operators.resource import DefinitionResource
from services.query.views.reader import ResultSource

S = TypeVar("S", bound=DefinitionResource[Any, Any, Any])


class Endpoint(NamedTuple, Generic[S]):
    """An endpoint besides those that all operators have: `<method> …/{id}/<name>`.

    `handle` is a method of the operator's resource; `rpc` the method of `avila.v1.Query` for it,
    which several operators may share: then `kind` is the operator's name.
    """

    name: str
    handle: Callable[[S, Request], Awaitable[Response]]
    operation: Json
    rpc: str
    method: str = "GET"
    kind: str = ""


class LiveSpec(NamedTuple, Generic[S]):
    """Results that are sent as they change, on the live WebSocket.

    `read` is a method of the operator's resource that returns the state of a definition in JSON.
    A state holds until the definition or its results change, and for `refresh_s` at most.
    """

    read: Callable[[S, Any], bytes]
    refresh_s: float = math.inf


def no_refinement(schemas: Json) -> None:
    """Leave the document's schemas as their types express them."""


class QueryOperator(NamedTuple, Generic[S]):
    """An operator, as the query side knows it.

    `resource` makes, once a process, the object that answers the operator's routes; it follows the
    topics that it needs (`Context.follow`). `aggregates` is the topic whose records have the status
    of definitions. `results` describes `GET …/{id}/results`. `request` is the type of a
    definition in a request's body; `response`, `list_response` and `types` are those of responses.
    `refine` adds to the document's schemas what their types cannot express.
    """

    spec: OperatorSpec
    resource: Callable[[Context], S]
    aggregates: ResultSource[Any]
    results: Json
    request: type[msgspec.Struct]
    response: type[msgspec.Struct]
    list_response: type[msgspec.Struct]
    types: tuple[type[msgspec.Struct], ...]
    endpoints: tuple[Endpoint[S], ...] = ()
    live: LiveSpec[S] | None = None
    refine: Callable[[Json], None] = no_refinement


# Of any resource: only the operator and its endpoints know which.
AnyOperator = QueryOperator[Any]
