"""Definitions and results over gRPC: the same as over REST, called from a client of its own."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from starlette.routing import Route

from schemas import avila_pb2 as pb
from schemas.operators import OPERATORS, OperatorSpec
from schemas.settings import Settings
from services.query import make_query_app
from services.query.api import DOCUMENTS, ROUTES
from services.query.http.describe import IF_MATCH, query_parameters
from services.query.http.grpc import DESCRIPTOR, SERVICE, bindings
from tests.conftest import free_ports
from tests.credentials import TOKEN
from tests.laws.entry import entry_of
from tests.services.query.conftest import DEADLINE_S, ready, serve

NAME: dict[str, Any] = {"project_id": "shop", "kind": pb.KIND_FUNNEL, "id": "buy"}
FUNNEL = {"id": "buy", "steps": [{"event": "home"}, {"event": "cart"}], "window_s": 60}
RESPONSES = {
    method.name: message_factory.GetMessageClass(method.output_type)
    for method in DESCRIPTOR.methods
}


class Client:
    """Calls methods by name, as a stub made from the `.proto` does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    async def call(self, method: str, request: Any, token: str = TOKEN) -> Any:
        calling: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = self.channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=RESPONSES[method].FromString,
        )
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        return await calling(request, metadata=metadata, timeout=DEADLINE_S)

    async def json(self, method: str, request: Any) -> Any:
        return json.loads((await self.call(method, request)).json)

    async def refusal(
        self, method: str, request: Any, token: str = TOKEN
    ) -> tuple[str, dict[str, str]]:
        """The status and the trailing metadata."""
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
    assert (made["id"], made["revision"], made["version"]) == ("buy", 1, 1)
    assert await client.json("GetDefinition", pb.GetDefinitionRequest(**NAME)) == made

    changed = json.dumps(FUNNEL | {"window_s": 120}).encode()
    replace = pb.ReplaceDefinitionRequest(**NAME, json=changed, revision=1)
    replaced = await client.json("ReplaceDefinition", replace)
    assert (replaced["revision"], replaced["version"]) == (2, 2)

    asked = pb.ListDefinitionsRequest(
        project_id="shop", kind=pb.KIND_FUNNEL, parameters={"limit": "1"}
    )
    listed = await client.json("ListDefinitions", asked)
    assert [(one["id"], one["window_s"]) for one in listed["funnels"]] == [("buy", 120)]

    status = await client.json("GetStatus", pb.GetStatusRequest(**NAME))
    assert status["state"] == "backfilling"
    results = await client.json("GetResults", pb.GetResultsRequest(**NAME))
    assert (results["funnel"]["version"], results["previous"]) == (2, None)

    delete = pb.DeleteDefinitionRequest(**NAME, revision=2)
    assert await client.call("DeleteDefinition", delete) == empty_pb2.Empty()
    code, told = await client.refusal("GetDefinition", pb.GetDefinitionRequest(**NAME))
    assert (code, told["error-code"]) == ("NOT_FOUND", "not_found")


@pytest.mark.parametrize("spec", OPERATORS, ids=lambda spec: spec.name)
async def test_every_kind_is_there(client: Client, spec: OperatorSpec) -> None:
    kind = f"KIND_{spec.name.upper()}"
    body = json.dumps({**entry_of(spec.name).body, "id": "one"}).encode()
    request = pb.CreateDefinitionRequest(project_id="shop", kind=kind, json=body)
    assert (await client.json("CreateDefinition", request))["id"] == "one"
    listed = await client.json(
        "ListDefinitions", pb.ListDefinitionsRequest(project_id="shop", kind=kind)
    )
    assert [one["id"] for one in listed[spec.plural]] == ["one"]


async def test_what_one_kind_has_of_its_own_is_there(client: Client) -> None:
    await client.call("CreateDefinition", create())
    buy: dict[str, Any] = {"project_id": "shop", "id": "buy"}
    times = pb.GetFunnelTimesRequest(**buy, parameters={"bins": "3"})
    assert (await client.json("GetFunnelTimes", times))["step"] == 2

    for name in ("one", "two"):
        body = json.dumps({"id": name, "rule": {"performed": {"event": "home"}}}).encode()
        segment = pb.CreateDefinitionRequest(project_id="shop", kind=pb.KIND_SEGMENT, json=body)
        await client.call("CreateDefinition", segment)
    one: dict[str, Any] = {"project_id": "shop", "id": "one"}
    members = pb.ListSegmentMembersRequest(**one, parameters={"limit": "1"})
    assert (await client.json("ListSegmentMembers", members))["persons"] == []
    overlap = pb.GetSegmentOverlapRequest(**one, parameters={"with": "two"})
    assert (await client.json("GetSegmentOverlap", overlap))["overlaps"][-1]["persons"] == 0

    body = json.dumps({"id": "buys", "goal": {"event": "cart"}, "within_s": 60}).encode()
    prediction = pb.CreateDefinitionRequest(project_id="shop", kind=pb.KIND_PREDICTION, json=body)
    await client.call("CreateDefinition", prediction)
    buys: dict[str, Any] = {"project_id": "shop", "id": "buys"}
    scored = {"order": "lowest", "min_score": "0.5"}
    scores = pb.ListPredictionPersonsRequest(**buys, parameters=scored)
    assert (await client.json("ListPredictionPersons", scores))["order"] == "lowest"
    scores = pb.ListPredictionPersonsRequest(**buys, parameters=scored | {"max_score": "0.4"})
    refused = await client.refusal("ListPredictionPersons", scores)
    assert refused[1]["error-field"] == "max_score"
    results = pb.GetResultsRequest(**buys, kind=pb.KIND_PREDICTION, parameters={"withheld": "show"})
    assert len((await client.json("GetResults", results))["bands"]) == 10
    score = pb.GetPredictionPersonRequest(**buys, person="a/b?", parameters={"withheld": "show"})
    assert (await client.json("GetPredictionPerson", score))["person"] == "a/b?"
    nobody = pb.GetPredictionPersonRequest(**buys)
    assert (await client.refusal("GetPredictionPerson", nobody))[1]["error-field"] == "person"

    # ClickHouse has the persons, and is away in these tests.
    persons = pb.ListFunnelPersonsRequest(**buy)
    assert (await client.refusal("ListFunnelPersons", persons))[0] == "UNAVAILABLE"
    none = pb.ListCohortPersonsRequest(project_id="shop", id="none")
    assert (await client.refusal("ListCohortPersons", none))[0] == "NOT_FOUND"


async def test_settings_and_plans_are_there(client: Client) -> None:
    settings = {"timezone": "Europe/Lisbon", "week_start": "sunday"}
    put = pb.PutSettingsRequest(project_id="shop", json=json.dumps(settings).encode())
    assert await client.json("PutSettings", put) == settings
    assert await client.json("GetSettings", pb.GetSettingsRequest(project_id="shop")) == settings

    name: dict[str, Any] = {"project_id": "shop", "id": "buy"}
    plan = json.dumps({"event": "purchase", "schema": {}}).encode()
    made = await client.json("PutPlan", pb.PutPlanRequest(**name, json=plan))
    assert await client.json("GetPlan", pb.GetPlanRequest(**name)) == made
    listed = await client.json("ListPlans", pb.ListPlansRequest(project_id="shop"))
    assert listed["plans"] == [made]
    stale = pb.DeletePlanRequest(**name, revision=7)
    assert (await client.refusal("DeletePlan", stale))[0] == "ABORTED"
    await client.call("DeletePlan", pb.DeletePlanRequest(**name))
    assert (await client.refusal("GetPlan", pb.GetPlanRequest(**name)))[0] == "NOT_FOUND"


async def test_what_was_rejected_and_how_far_duplicates_are_known_are_there(
    client: Client,
) -> None:
    rejected = pb.GetRejectedRequest(project_id="shop", parameters={"samples": "1"})
    assert await client.json("GetRejected", rejected) == {"total": 0, "reasons": []}
    status = pb.GetProjectStatusRequest(project_id="shop")
    dedup = {"covered_hours": 24.0, "window_hours": 24.0, "warning": ""}
    assert await client.json("GetProjectStatus", status) == {"dedup": dedup}


async def test_what_is_refused_says_which_field_is_wrong(client: Client) -> None:
    status, told = await client.refusal("CreateDefinition", create(steps=[{"event": "home"}, {}]))
    assert (status, told["error-code"]) == ("INVALID_ARGUMENT", "invalid")
    assert told["error-field"] == "steps[1]"

    for unnamed, field in (
        (pb.GetDefinitionRequest(project_id="shop", id="buy"), "kind"),
        (pb.GetDefinitionRequest(project_id="shop", kind=pb.KIND_FUNNEL), "id"),
        (pb.GetDefinitionRequest(kind=pb.KIND_FUNNEL, id="buy"), "project_id"),
    ):
        status, told = await client.refusal("GetDefinition", unnamed)
        assert (status, told["error-field"]) == ("INVALID_ARGUMENT", field)

    unknown = pb.GetResultsRequest(**NAME, parameters={"unknown": "1"})
    status, told = await client.refusal("GetResults", unknown)
    assert (status, told["error-field"]) == ("INVALID_ARGUMENT", "unknown")

    elsewhere = pb.GetDefinitionRequest(project_id="a/../b?c", kind=pb.KIND_FUNNEL, id="x/y")
    status, _ = await client.refusal("GetDefinition", elsewhere)
    assert status in {"NOT_FOUND", "INVALID_ARGUMENT", "PERMISSION_DENIED"}


async def test_a_change_that_was_meant_for_another_revision_is_refused(client: Client) -> None:
    await client.call("CreateDefinition", create())
    meant = pb.DeleteDefinitionRequest(**NAME, revision=7)
    status, told = await client.refusal("DeleteDefinition", meant)
    assert (status, told["error-code"]) == ("ABORTED", "conflict")
    status, told = await client.refusal(
        "DeleteDefinition", pb.DeleteDefinitionRequest(**NAME, revision=-1)
    )
    assert (status, told["error-field"]) == ("INVALID_ARGUMENT", "revision")


@pytest.mark.parametrize("token", ["", "aqt_of_nobody"])
async def test_who_has_no_token_is_told_nothing(client: Client, token: str) -> None:
    status, _ = await client.refusal("GetDefinition", pb.GetDefinitionRequest(**NAME), token)
    assert status == "UNAUTHENTICATED"


async def test_it_tells_its_health(client: Client) -> None:
    stub = health_pb2_grpc.HealthStub(client.channel)
    for service in ("", SERVICE):
        request = health_pb2.HealthCheckRequest(service=service)
        async with asyncio.timeout(DEADLINE_S):
            answer = await stub.Check(request)
        # The store of these tests is away, so the service is not ready, and says so.
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


# ── gRPC is call for call what REST has ───────────────────────────────────────────────────────────


def test_every_rest_route_has_a_grpc_method_and_every_method_a_route(settings: Settings) -> None:
    # Live results are followed by WebSocket or Server-Sent Events, not by gRPC.
    served = {
        (method, route.path)
        for route in make_query_app(settings).routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in route.methods or ()
        if method != "HEAD" and "/live/" not in route.path
    }
    assert served == {(route.method, route.matched_path) for route in ROUTES}
    assert {route.rpc for route in ROUTES} == {method.name for method in DESCRIPTOR.methods}
    assert sum(map(len, bindings().values())) == len(ROUTES)


def test_every_kind_of_definition_is_known_by_grpc_and_no_other() -> None:
    names = [*(spec.name for spec in OPERATORS), *DOCUMENTS]
    kinds = {f"KIND_{name.upper()}" for name in names}
    assert kinds == set(pb.Kind.keys()) - {"KIND_UNSPECIFIED"}


@pytest.mark.parametrize("method", [*DESCRIPTOR.methods], ids=lambda method: str(method.name))
def test_the_messages_of_a_method_have_what_its_route_needs(method: Any) -> None:
    routes = list(bindings()[method.name].values())
    for route in routes:
        fields = {"project_id"}
        fields |= {"kind"} if route.kind else set()
        fields |= {"id"} if "{id}" in route.path else set()
        fields |= {"person"} if "{person}" in route.path else set()
        fields |= {"json"} if "requestBody" in route.operation else set()
        fields |= {"revision"} if IF_MATCH in route.operation.get("parameters", ()) else set()
        fields |= {"parameters"} if query_parameters(route.operation) else set()
        assert set(method.input_type.fields_by_name) == fields

    assert method.input_type.name == f"{method.name}Request"
    if "204" in routes[0].operation["responses"]:
        assert method.output_type.full_name == "google.protobuf.Empty"
    else:
        assert method.output_type.name == f"{method.name}Response"
        assert set(method.output_type.fields_by_name) == {"json"}
