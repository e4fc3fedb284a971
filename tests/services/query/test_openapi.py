"""The document, the routes and the answers say the same."""

import contextlib
import json
from typing import Any

import httpx
import jsonschema
import pytest
from starlette.routing import Route

from schemas.errors import InvalidRequest
from schemas.operators.funnel import decode_funnel
from schemas.settings import Settings
from services.query import make_query_app
from services.query.openapi import document
from tests.services.query.conftest import NOTHING, Worker
from tests.services.query.test_funnels import BUY, FUNNELS, OPTIONS, create
from tests.services.query.test_plans import PLAN, PLANS
from tests.services.query.test_results import DAY, RESULTS, reaches

COHORTS = "/api/projects/shop/cohorts"
METHODS = {"get", "post", "put", "delete", "patch"}


def schema_of(path: str, method: str, status: int) -> dict[str, Any]:
    answers = document()["paths"][path][method]["responses"]
    schema = answers[str(status)]["content"]["application/json"]["schema"]
    return {"components": document()["components"], **schema}


def check(path: str, answer: httpx.Response) -> None:
    schema = schema_of(path, answer.request.method.lower(), answer.status_code)
    checker = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    checker.validate(answer.json())


def test_every_route_and_method_is_described_and_no_other(settings: Settings) -> None:
    routes = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in make_query_app(settings).routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    described = {
        (path, method)
        for path, operations in document()["paths"].items()
        for method in operations.keys() & METHODS
    }
    assert routes == described


def test_operations_have_names_of_their_own() -> None:
    names = [
        operation["operationId"]
        for operations in document()["paths"].values()
        for method, operation in operations.items()
        if method in METHODS
    ]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    schemas = document()["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)

    def walk(tree: Any) -> None:
        if isinstance(tree, dict):
            if "$ref" in tree:
                assert tree["$ref"].removeprefix("#/components/schemas/") in schemas
            for value in tree.values():
                walk(value)
        elif isinstance(tree, list):
            for value in tree:
                walk(value)

    walk(document())


def test_every_example_is_what_its_schema_describes() -> None:
    components = {"components": document()["components"]}
    found = 0

    def walk(tree: Any) -> None:
        nonlocal found
        if isinstance(tree, dict):
            examples = [tree["example"]] if "schema" in tree and "example" in tree else []
            for example in examples:
                jsonschema.validate(example, tree["schema"] | components)
            found += len(examples)
            if isinstance(tree.get("examples"), list):
                for example in tree["examples"]:
                    jsonschema.validate(example, tree | components)
                    found += 1
            for value in tree.values():
                walk(value)
        elif isinstance(tree, list):
            for value in tree:
                walk(value)

    walk(document())
    assert found


async def test_the_document_is_served(query: httpx.AsyncClient) -> None:
    assert (await query.get("/openapi.json")).json() == json.loads(json.dumps(document()))


async def test_answers_are_as_described(query: httpx.AsyncClient, worker: Worker) -> None:
    many, one = "/api/projects/{project}/funnels", "/api/projects/{project}/funnels/{id}"
    check(many, await query.post(FUNNELS, json=BUY | {"id": "buy"}))
    check(many, await query.post(FUNNELS, json=BUY | {"id": "buy"}))
    check(many, await query.post(FUNNELS, json={}))
    check(many, await query.post(FUNNELS, content=b" " * 300_000))
    check(many, await query.get(FUNNELS))
    check(many, await query.get(FUNNELS, params={"limit": "0"}))
    check(one, await query.get(f"{FUNNELS}/buy"))
    check(one, await query.get(f"{FUNNELS}/none"))
    check(one, await query.put(f"{FUNNELS}/buy", json=BUY | {"window_s": 60}))
    check(one, await query.put(f"{FUNNELS}/buy", json=BUY | {"revision": 1}))
    check(f"{one}/results", await query.get(RESULTS))
    worker.publish(
        {"reached": [1, 0], "version": 2},
        {"reached": [1, 0], "version": 2, "day": DAY, "times": [NOTHING] * 2},
    )
    await reaches(query, [1, 0])
    check(f"{one}/results", await query.get(RESULTS))
    check(f"{one}/results", await query.get(RESULTS, params={"source": "store"}))
    check(f"{one}/results", await query.get(RESULTS, params={"period": "month"}))
    check(f"{one}/times", await query.get(f"{FUNNELS}/buy/times"))
    check(f"{one}/times", await query.get(f"{FUNNELS}/buy/times", params={"bins": 0}))
    check(f"{one}/persons", await query.get(f"{FUNNELS}/buy/persons"))
    check(f"{one}/persons", await query.get(f"{FUNNELS}/buy/persons", params={"step": 9}))
    check(many, await query.post(FUNNELS, json=BUY | OPTIONS | {"id": "full"}))
    check(one, await query.get(f"{FUNNELS}/full"))
    one = "/api/projects/{project}/cohorts/{id}"
    await query.post(COHORTS, json={"id": "back", "start": {"event": "buy"}, "period": "week"})
    for asked, field in (
        ("begin=2024-01-01&counted=returned&column=11", None),
        ("", "begin"),
        ("begin=2024-01-02", "begin"),
        ("begin=2024-01-01&column=12", "column"),
        ("begin=2024-01-01&counted=all", "counted"),
    ):
        answer = await query.get(f"{COHORTS}/back/persons?{asked}")
        check(f"{one}/persons", answer)
        assert answer.json().get("error", {}).get("field") == field
    many, one = "/api/projects/{project}/plans", "/api/projects/{project}/plans/{id}"
    check(one, await query.put(f"{PLANS}/buy", json=PLAN))
    check(one, await query.put(f"{PLANS}/buy", json=PLAN))
    check(one, await query.put(f"{PLANS}/other", json=PLAN))
    check(one, await query.put(f"{PLANS}/other", json={}))
    check(one, await query.get(f"{PLANS}/buy"))
    check(one, await query.get(f"{PLANS}/none"))
    check(many, await query.get(PLANS))
    check(many, await query.get(PLANS, params={"limit": "0"}))
    assert (await query.delete(f"{PLANS}/buy")).content == b""
    check("/readyz", await query.get("/readyz"))
    check("/healthz", await query.get("/healthz"))
    assert (await query.delete(f"{FUNNELS}/buy")).content == b""


async def test_a_plan_that_is_described_as_accepted_is_accepted(query: httpx.AsyncClient) -> None:
    schema = document()["components"]["schemas"]["NewPlan"]
    jsonschema.Draft202012Validator(schema).validate(PLAN)
    shown = (await query.put(f"{PLANS}/buy", json=PLAN)).json()
    jsonschema.Draft202012Validator(schema).validate(shown)
    assert (await query.put(f"{PLANS}/buy", json=shown)).status_code == 200


LEAF = {"property": "p", "op": "is_set"}


@pytest.mark.parametrize(
    ("condition", "accepted"),
    [
        (LEAF, True),
        ({"property": "p", "value": [1, "a"], "op": "in"}, True),
        ({"property": "p", "value": "^a", "op": "matches"}, True),
        ({"and": [LEAF, {"or": [LEAF, {"not": LEAF}]}]}, True),
        ({}, False),
        ({"op": "is_set"}, False),
        ({"property": ""}, False),
        (LEAF | {"not": LEAF}, False),
        ({"and": [LEAF], "or": [LEAF]}, False),
        ({"or": []}, False),
        ({"not": [LEAF]}, False),
        ({"and": [{"not": {"xor": [LEAF]}}]}, False),
        ({"property": "p", "op": "like", "value": "a"}, False),
    ],
)
def test_the_conditions_that_are_described_are_those_that_are_accepted(
    condition: dict[str, Any], accepted: bool
) -> None:
    schema = document()["components"]["schemas"]["NewFunnel"]
    checker = jsonschema.Draft202012Validator(schema | {"components": document()["components"]})
    body = {"steps": [{"event": "a", "where": [condition]}, {"event": "b"}]}
    assert checker.is_valid(body) is accepted
    with contextlib.nullcontext() if accepted else pytest.raises(InvalidRequest):
        decode_funnel(json.dumps(body).encode())


@pytest.mark.parametrize("name", ["NewFunnel", "ChangedFunnel"])
async def test_what_is_described_as_accepted_is_accepted(
    query: httpx.AsyncClient, name: str
) -> None:
    schema = document()["components"]["schemas"][name] | {"components": document()["components"]}
    created = await create(query, "buy")
    sent = BUY | {"id": "sent"} if name == "NewFunnel" else created
    jsonschema.Draft202012Validator(schema).validate(sent)
    if name == "NewFunnel":
        assert (await query.post(FUNNELS, json=sent)).status_code == 201
    else:
        assert (await query.put(f"{FUNNELS}/buy", json=sent)).status_code == 200
