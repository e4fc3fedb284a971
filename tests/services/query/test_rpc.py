"""Definitions and figures over gRPC: the same as over REST, called from a client of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from schemas import avila_pb2 as pb
from schemas.settings import Settings
from tests.conftest import free_ports
from tests.credentials import TOKEN
from tests.services.query.conftest import DEADLINE_S, ready, serve

SERVICE = "avila.v1.Query"
NAME = pb.DefinitionName(project_id="shop", kind=pb.KIND_FUNNEL, id="buy")
FUNNEL = {"id": "buy", "steps": [{"event": "home"}, {"event": "cart"}], "window_s": 60}
ANSWERS: dict[str, Any] = {
    "CreateDefinition": pb.Definition,
    "GetDefinition": pb.Definition,
    "ReplaceDefinition": pb.Definition,
    "DeleteDefinition": pb.Deleted,
    "ListDefinitions": pb.Answer,
    "GetResults": pb.Answer,
}


class Client:
    """Calls methods by name, as a stub made from the `.proto` does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    async def call(self, method: str, request: Any, token: str = TOKEN) -> Any:
        calling: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=ANSWERS[method].FromString,
        )
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        return await calling(request, metadata=metadata, timeout=DEADLINE_S)

    async def json(self, method: str, request: Any) -> Any:
        return json.loads((await self.call(method, request)).json)

    async def refusal(
        self, method: str, request: Any, token: str = TOKEN
    ) -> tuple[str, dict[str, str]]:
        """The status and what stands beside it."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(method, request, token)
        return caught.value.code().name, {
            str(key): str(value) for key, value in caught.value.trailing_metadata() or ()
        }


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    (port,) = free_ports(1)
    async with (
        serve(settings, f"127.0.0.1:{port}") as rest,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await ready(rest)
        yield Client(channel)


def create(**changed: Any) -> pb.CreateDefinitionRequest:
    body = json.dumps(FUNNEL | changed).encode()
    return pb.CreateDefinitionRequest(project_id="shop", kind=pb.KIND_FUNNEL, json=body)


async def test_a_definition_is_made_read_changed_listed_and_deleted(client: Client) -> None:
    made = await client.json("CreateDefinition", create())
    assert (made["id"], made["version"]) == ("buy", 1)
    assert await client.json("GetDefinition", NAME) == made

    changed = json.dumps(FUNNEL | {"window_s": 120}).encode()
    replace = pb.ReplaceDefinitionRequest(name=NAME, json=changed, version=1)
    assert (await client.json("ReplaceDefinition", replace))["version"] == 2

    asked = pb.ListDefinitionsRequest(project_id="shop", kind=pb.KIND_FUNNEL, limit=1)
    listed = await client.json("ListDefinitions", asked)
    assert [(one["id"], one["window_s"]) for one in listed["funnels"]] == [("buy", 120)]

    results = await client.json("GetResults", pb.GetResultsRequest(name=NAME))
    assert results["funnel"]["version"] == 2

    await client.call("DeleteDefinition", pb.DeleteDefinitionRequest(name=NAME, version=2))
    status, told = await client.refusal("GetDefinition", NAME)
    assert (status, told["error-code"]) == ("NOT_FOUND", "not_found")


@pytest.mark.parametrize(
    ("kind", "plural", "body"),
    [
        (pb.KIND_COHORT, "cohorts", {"start": {"event": "home"}}),
        (pb.KIND_SEGMENT, "segments", {"rule": {"performed": {"event": "home"}}}),
        (pb.KIND_METRIC, "metrics", {"measure": "events"}),
    ],
)
async def test_every_kind_is_there(
    client: Client, kind: pb.Kind, plural: str, body: dict[str, Any]
) -> None:
    request = pb.CreateDefinitionRequest(
        project_id="shop", kind=kind, json=json.dumps(body | {"id": "one"}).encode()
    )
    assert (await client.json("CreateDefinition", request))["id"] == "one"
    listed = await client.json(
        "ListDefinitions", pb.ListDefinitionsRequest(project_id="shop", kind=kind)
    )
    assert [one["id"] for one in listed[plural]] == ["one"]


async def test_what_is_refused_says_which_field_is_wrong(client: Client) -> None:
    status, told = await client.refusal("CreateDefinition", create(steps=[{"event": "home"}, {}]))
    assert (status, told["error-code"]) == ("INVALID_ARGUMENT", "invalid")
    assert told["error-field"] == "steps[1]"

    unnamed = pb.DefinitionName(project_id="shop", id="buy")
    status, told = await client.refusal("GetDefinition", unnamed)
    assert (status, told["error-field"]) == ("INVALID_ARGUMENT", "kind")

    elsewhere = pb.DefinitionName(project_id="a/../b?c", kind=pb.KIND_FUNNEL, id="x/y")
    status, _ = await client.refusal("GetDefinition", elsewhere)
    assert status in {"NOT_FOUND", "INVALID_ARGUMENT", "PERMISSION_DENIED"}


async def test_a_change_that_was_meant_for_another_version_is_refused(client: Client) -> None:
    await client.call("CreateDefinition", create())
    meant = pb.DeleteDefinitionRequest(name=NAME, version=7)
    status, told = await client.refusal("DeleteDefinition", meant)
    assert (status, told["error-code"]) == ("ABORTED", "conflict")


@pytest.mark.parametrize("token", ["", "aqt_of_nobody"])
async def test_who_has_no_token_is_told_nothing(client: Client, token: str) -> None:
    status, _ = await client.refusal("GetDefinition", NAME, token)
    assert status == "UNAUTHENTICATED"


async def test_it_tells_its_health(client: Client) -> None:
    stub = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", SERVICE):
        request = health_pb2.HealthCheckRequest(service=service)
        async with asyncio.timeout(DEADLINE_S):
            answer = await stub.Check(request)
        # The store of these tests is away, so the service is not ready, and says so.
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
