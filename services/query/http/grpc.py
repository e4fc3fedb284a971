"""gRPC for definitions and results: every call is a request to the REST API, in this process.

So both have the same rules, errors and limits, and these are written once. The methods are those of
`avila.v1.Query` in `schemas/avila.proto`; each is bound to the routes that name it
(`ApiRoute.rpc`), and the fields of its request say how it is asked:

- `project_id`, `kind`, `id` and `person` make the path,
- `parameters` are what follows the `?`,
- `json` is the body,
- `revision` is `If-Match`.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NoReturn
from urllib.parse import quote

import grpc
import httpx
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from starlette.types import ASGIApp

from schemas import avila_pb2 as pb
from schemas.errors import InvalidRequest
from services import grpc_server
from services.errors import code_of, code_of_status
from services.grpc_server import Method, Methods
from services.query.api import ROUTES
from services.query.http.params import MAX_BODY_BYTES, one_of
from services.query.http.routes import AnyRoute

DESCRIPTOR: Final = pb.DESCRIPTOR.services_by_name["Query"]
SERVICE: Final = DESCRIPTOR.full_name

Context = grpc.aio.ServicerContext[Any, Any]

_HEADROOM_BYTES: Final = 16_384  # for what a message has beside its JSON
_MAX_STREAMS: Final = 100
_GRACE_S: Final = 5
_OK: Final = 300


def serving(address: str, app: ASGIApp) -> AbstractAsyncContextManager[None]:
    """Serve `avila.v1.Query` on `address` inside the block, by asking `app`, which runs.

    Entering it raises `Misconfigured` if something else listens there.
    """
    calls = Calls(app)
    options = (
        ("grpc.max_receive_message_length", MAX_BODY_BYTES + _HEADROOM_BYTES),
        ("grpc.max_concurrent_streams", _MAX_STREAMS),
    )
    return grpc_server.serving(
        address, SERVICE, calls.methods(), calls.is_ready, options=options, grace_s=_GRACE_S
    )


def bindings() -> Mapping[str, Mapping[int, AnyRoute]]:
    """Return the routes of each method, by the value of the request's `kind` (0 without one)."""
    bound: defaultdict[str, dict[int, AnyRoute]] = defaultdict(dict)
    for route in ROUTES:
        kind = pb.Kind.Value(f"KIND_{route.kind.upper()}") if route.kind else 0
        bound[route.rpc][kind] = route
    return dict(bound)


class Calls:
    """Answers each call by asking the REST API."""

    def __init__(self, app: ASGIApp) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._rest = httpx.AsyncClient(
            transport=transport, base_url="http://query", trust_env=False
        )

    async def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        return (await self._rest.get("/readyz")).is_success

    def methods(self) -> Methods:
        """Return what answers each method of the service; raises `KeyError` for one unbound."""
        bound = bindings()
        return {
            method.name: self._method(method, bound[method.name]) for method in DESCRIPTOR.methods
        }

    def _method(self, method: MethodDescriptor, routes: Mapping[int, AnyRoute]) -> Method:
        request_type = message_factory.GetMessageClass(method.input_type)
        response_type = message_factory.GetMessageClass(method.output_type)
        has_json = "json" in method.output_type.fields_by_name

        async def answer(request: Message, context: Context) -> Message:
            try:
                route, path = address_of(request, routes)
            except InvalidRequest as error:
                await _abort(context, error)
            body = await self._ask(context, route.method, path, request)
            return response_type(json=body) if has_json else response_type()

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request_type.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    async def _ask(self, context: Context, method: str, path: str, request: Message) -> bytes:
        """Return the body of the answer; a call that is refused ends here."""
        revision = getattr(request, "revision", 0)
        answer = await self._rest.request(
            method,
            path,
            content=getattr(request, "json", b""),
            params=dict(getattr(request, "parameters", {})),
            headers={"authorization": _credential(context)}
            | ({"if-match": f'"{revision}"'} if revision else {}),
        )
        if answer.status_code < _OK:
            return answer.content
        error = json.loads(answer.content)["error"]
        metadata = [("error-code", error["code"])]
        if "field" in error:
            metadata.append(("error-field", _FIELDS.get(error["field"], error["field"])))
        if "retry-after" in answer.headers:
            metadata.append(("retry-after", answer.headers["retry-after"]))
        code = grpc.StatusCode[code_of_status(answer.status_code)]
        return await context.abort(code, error["message"], tuple(metadata))


# What REST has in a header, by its field in requests.
_FIELDS: Final = {"If-Match": "revision"}


def address_of(request: Message, routes: Mapping[int, AnyRoute]) -> tuple[AnyRoute, str]:
    """Return the route that a request asks for, and the path.

    Raises:
        InvalidRequest: the request leaves out a field that is part of the path.
    """
    route = routes.get(getattr(request, "kind", 0))
    if route is None:
        accepted = one_of([pb.Kind.Name(kind) for kind in routes])
        raise InvalidRequest(f"accepted are {accepted}", "kind")
    parts = {"project": "project_id", "id": "id", "person": "person"}
    for field in parts.values():
        if getattr(request, field, None) == "":
            raise InvalidRequest("is required", field)
    quoted = {name: quote(getattr(request, field, ""), safe="") for name, field in parts.items()}
    return route, route.full_path.format(**quoted)


async def _abort(context: Context, error: InvalidRequest) -> NoReturn:
    metadata = (("error-code", error.code), ("error-field", error.field))
    await context.abort(grpc.StatusCode[code_of(error)], str(error), metadata)
    raise AssertionError("abort raises")


def _credential(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            return str(value)
    return ""
