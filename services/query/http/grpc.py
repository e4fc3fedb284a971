"""gRPC for definitions and figures: every call is a request to the REST API, in this process.

So both have the same rules, errors and limits, and there is one place where they are written.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar
from urllib.parse import quote

import grpc
import httpx
from google.protobuf.message import Message
from starlette.types import ASGIApp

from schemas import avila_pb2 as pb
from schemas.operators import OPERATORS
from services import grpc_server
from services.errors import code_of_status
from services.grpc_server import Method, Methods
from services.query.http.params import MAX_BODY_BYTES

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Query"].full_name

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", bound=Message)

_HEADROOM_BYTES: Final = 16_384  # for what a message has beside its JSON
_MAX_BATCH: Final = 100
_GRACE_S: Final = 5
_OK: Final = 300
_PLURALS: Final[Mapping[int, str]] = {
    pb.Kind.Value(f"KIND_{spec.name.upper()}"): spec.plural for spec in OPERATORS
}


def serving(address: str, app: ASGIApp) -> AbstractAsyncContextManager[None]:
    """Serve `avila.v1.Query` on `address` inside the block, by asking `app`, which runs.

    Entering it raises `Misconfigured` if something else listens there.
    """
    calls = Calls(app)
    options = (
        ("grpc.max_receive_message_length", MAX_BODY_BYTES + _HEADROOM_BYTES),
        ("grpc.max_concurrent_streams", _MAX_BATCH),
    )
    return grpc_server.serving(
        address, SERVICE, calls.methods(), calls.is_ready, options=options, grace_s=_GRACE_S
    )


class Calls:
    """What each call asks of the REST API."""

    def __init__(self, app: ASGIApp) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._rest = httpx.AsyncClient(
            transport=transport, base_url="http://query", trust_env=False
        )

    async def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        return (await self._rest.get("/readyz")).is_success

    def methods(self) -> Methods:
        """What answers each method."""
        return {
            "CreateDefinition": _unary(pb.CreateDefinitionRequest, self._create),
            "GetDefinition": _unary(pb.DefinitionName, self._get),
            "ReplaceDefinition": _unary(pb.ReplaceDefinitionRequest, self._replace),
            "DeleteDefinition": _unary(pb.DeleteDefinitionRequest, self._delete),
            "ListDefinitions": _unary(pb.ListDefinitionsRequest, self._list),
            "GetResults": _unary(pb.GetResultsRequest, self._results),
        }

    async def _create(self, request: pb.CreateDefinitionRequest, context: Context) -> Message:
        address = await _all_of(request.project_id, request.kind, context)
        return pb.Definition(json=await self._ask(context, "POST", address, request.json))

    async def _get(self, request: pb.DefinitionName, context: Context) -> Message:
        return pb.Definition(json=await self._ask(context, "GET", await _one(request, context)))

    async def _replace(self, request: pb.ReplaceDefinitionRequest, context: Context) -> Message:
        address, meant = await _one(request.name, context), _meant(request.version)
        answer = await self._ask(context, "PUT", address, request.json, headers=meant)
        return pb.Definition(json=answer)

    async def _delete(self, request: pb.DeleteDefinitionRequest, context: Context) -> Message:
        address, meant = await _one(request.name, context), _meant(request.version)
        await self._ask(context, "DELETE", address, headers=meant)
        return pb.Deleted()

    async def _list(self, request: pb.ListDefinitionsRequest, context: Context) -> Message:
        address = await _all_of(request.project_id, request.kind, context)
        asked = {"after": request.after} | ({"limit": str(request.limit)} if request.limit else {})
        return pb.Answer(json=await self._ask(context, "GET", address, parameters=asked))

    async def _results(self, request: pb.GetResultsRequest, context: Context) -> Message:
        address = f"{await _one(request.name, context)}/results"
        asked = dict(request.parameters)
        return pb.Answer(json=await self._ask(context, "GET", address, parameters=asked))

    async def _ask(
        self,
        context: Context,
        method: str,
        address: str,
        body: bytes = b"",
        *,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of the answer; a call that is refused ends here."""
        answer = await self._rest.request(
            method,
            address,
            content=body,
            params=parameters,
            headers={"authorization": _credential(context), **(headers or {})},
        )
        if answer.status_code < _OK:
            return answer.content
        error = json.loads(answer.content)["error"]
        told = [("error-code", error["code"])]
        told += [("error-field", error["field"])] if "field" in error else []
        again = answer.headers.get("retry-after")
        told += [("retry-after", again)] if again else []
        code = grpc.StatusCode[code_of_status(answer.status_code)]
        return await context.abort(code, error["message"], tuple(told))


def _unary(
    request: type[Request], answer: Callable[[Request, Context], Awaitable[Message]]
) -> Method:
    return grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request.FromString,
        response_serializer=lambda message: message.SerializeToString(),
    )


async def _all_of(project: str, kind: int, context: Context) -> str:
    """The address of a kind's definitions."""
    plural = _PLURALS.get(kind)
    if plural is None:
        accepted = ", ".join(pb.Kind.Name(one) for one in _PLURALS)
        told = (("error-code", "invalid"), ("error-field", "kind"))
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, f"kind: accepted are {accepted}", told
        )
    return f"/api/projects/{quote(project, safe='')}/{plural}"


async def _one(name: pb.DefinitionName, context: Context) -> str:
    """The address of a definition."""
    address = await _all_of(name.project_id, name.kind, context)
    return f"{address}/{quote(name.id, safe='')}"


def _meant(version: int) -> dict[str, str]:
    """The header that says which version a change is for."""
    return {"if-match": f'"{version}"'} if version else {}


def _credential(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            return str(value)
    return ""
