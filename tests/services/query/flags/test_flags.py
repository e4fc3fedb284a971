"""Flags as definitions, over REST and gRPC, on the real topic."""

from typing import Any

import httpx
import pytest

from schemas import avila_pb2 as pb
from services.query.flags import resource
from services.query.http.grpc import bindings
from tests.services.query.conftest import Place, eventually
from tests.services.query.test_segments import Publisher

FLAGS = "/api/projects/shop/flags"
SEGMENTS = "/api/projects/shop/segments"
BUYERS = {"id": "buyers", "rule": {"performed": {"event": "buy"}}}


async def make(query: httpx.AsyncClient, path: str, **body: object) -> dict[str, object]:
    made = await query.post(path, json=body)
    assert made.status_code == 201, made.text
    shown: dict[str, object] = made.json()
    return shown


async def test_a_flag_is_made_read_changed_and_deleted(query: httpx.AsyncClient) -> None:
    await make(query, SEGMENTS, **BUYERS)
    shown = await make(
        query,
        FLAGS,
        id="checkout",
        key="new-checkout",
        segment="buyers",
        rollout_percentage=25,
        variants=[{"key": "red"}, {"key": "blue", "weight": 3, "payload": {"hue": 210}}],
        payload=[1, None],
    )
    assert (await query.get(f"{FLAGS}/checkout")).json() == shown
    assert (await query.get(FLAGS)).json() == {"flags": [shown], "next": None}
    assert (shown["active"], shown["rollout_percentage"]) == (True, 25.0)

    renamed = await query.put(f"{FLAGS}/checkout", json=shown | {"name": "Checkout"})
    assert (renamed.status_code, renamed.json()["version"]) == (200, 1)
    changed = await query.put(f"{FLAGS}/checkout", json={"key": "new-checkout"})
    assert (changed.json()["version"], changed.json()["segment"]) == (2, None)
    stale = {"If-Match": '"1"'}
    assert (await query.delete(f"{FLAGS}/checkout", headers=stale)).status_code == 409
    assert (await query.delete(f"{FLAGS}/checkout")).status_code == 204
    assert (await query.get(f"{FLAGS}/checkout")).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"key": ""}, "key"),
        ({"key": "k" * 201}, "key"),
        ({"key": "k" * 10_000}, "key"),
        ({"key": "new checkout"}, "key"),
        ({"key": "a\n"}, "key"),
        ({"key": "__proto__"}, "key"),
        ({"segment": "missing"}, "segment"),
        ({"segment": "../x"}, "segment"),
        ({"rollout_percentage": 101}, "rollout_percentage"),
        ({"rollout_percentage": -1}, "rollout_percentage"),
        ({"rollout_percentage": "all"}, "rollout_percentage"),
        ({"variants": [{"key": "a"}, {"key": "a"}]}, "variants[1].key"),
        ({"variants": [{"key": "a", "weight": 0}]}, "variants"),
        ({"variants": [{"key": "a", "weight": -1}]}, "variants[0].weight"),
        ({"variants": [{"key": f"v{n}"} for n in range(21)]}, "variants"),
        ({"payload": "x" * 4_096}, "payload"),
        ({"variants": [{"key": "a", "payload": "x" * 4_096}]}, "variants[0].payload"),
        ({"active": 1}, "active"),
        ({"colour": "red"}, ""),
    ],
)
async def test_what_is_refused_is_named(
    query: httpx.AsyncClient, wrong: dict[str, object], field: str
) -> None:
    answer = await query.post(FLAGS, json={"key": "a"} | wrong)
    assert answer.status_code == 400
    assert answer.json()["error"].get("field", "") == field


async def test_a_key_has_one_flag(query: httpx.AsyncClient) -> None:
    await make(query, FLAGS, id="one", key="a")
    await make(query, FLAGS, id="two", key="b")
    second = await query.post(FLAGS, json={"id": "three", "key": "a"})
    assert second.status_code == 409
    assert "the flag of the key a is one" in second.json()["error"]["message"]
    assert (await query.put(f"{FLAGS}/two", json={"key": "a"})).status_code == 409
    assert (await query.put(f"{FLAGS}/one", json={"key": "a", "active": False})).is_success


async def test_a_project_has_a_bounded_number_of_flags(
    query: httpx.AsyncClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.port  # the service runs in this process
    monkeypatch.setattr(resource.Flags, "max_per_project", 1)
    await make(query, FLAGS, id="one", key="a")
    refused = await query.post(FLAGS, json={"id": "two", "key": "b"})
    assert refused.status_code == 409


async def test_the_status_says_why_nobody_sees_a_feature(
    query: httpx.AsyncClient, place: Place
) -> None:
    publisher = Publisher(place)
    await make(query, SEGMENTS, **BUYERS)
    await make(query, FLAGS, id="everybody", key="a")
    await make(query, FLAGS, id="off", key="b", active=False)
    await make(query, FLAGS, id="f", key="c", segment="buyers")

    async def status(name: str) -> tuple[str, str]:
        found = (await query.get(f"{FLAGS}/{name}/status")).json()
        return found["state"], found["reason"]

    async def becomes(state: str) -> str:
        answer = await eventually(
            lambda: query.get(f"{FLAGS}/f/status"),
            lambda found: found.is_success and found.json()["state"] == state,
        )
        reason: str = answer.json()["reason"]
        return reason

    assert await status("everybody") == ("active", "")
    assert await status("off") == ("inactive", "the flag is not active")
    assert "the segment buyers is backfilling" in await becomes("waiting")
    publisher.sizes(*({"partition": number, "day": None} | _COUNTS for number in range(2)))
    assert await becomes("active") == ""
    publisher.sizes({"partition": 0, "day": None, "failed": "a defect"} | _COUNTS)
    assert "a defect" in await becomes("broken")

    assert (await query.delete(f"{SEGMENTS}/buyers")).status_code == 204
    reason = "there is no segment buyers: the flag is false for everybody"
    assert await status("f") == ("broken", reason)
    shown = (await query.get(f"{FLAGS}/f")).json()
    assert (await query.put(f"{FLAGS}/f", json=shown | {"name": "x"})).status_code == 400
    assert (await query.put(f"{FLAGS}/f", json=shown | {"active": False})).is_success


_COUNTS: dict[str, Any] = {"entered": 1, "left": 0}


async def test_unknown_flags_have_no_status(query: httpx.AsyncClient) -> None:
    assert (await query.get(f"{FLAGS}/none/status")).status_code == 404


def test_flags_are_asked_for_by_grpc_as_other_definitions() -> None:
    kind = pb.KIND_FLAG
    calls = ("CreateDefinition", "GetDefinition", "ReplaceDefinition", "DeleteDefinition")
    for method in (*calls, "ListDefinitions", "GetStatus"):
        assert "/flags" in bindings()[method][kind].path
