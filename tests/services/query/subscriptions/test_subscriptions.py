"""Subscriptions over REST: definitions, secrets, commands and status."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from schemas.notices.delivery import DeliveryState, Replay, decode_queued, encode_state, queue_key
from schemas.settings import Settings
from services.query.http.grpc import bindings
from tests.credentials import bearer, put, query_token
from tests.kafka import Record, produce, read_all
from tests.services.query.conftest import eventually, ready, serve

PATH = "/api/projects/shop/subscriptions"
HOOK: dict[str, Any] = {
    "id": "ops",
    "destination": {"type": "webhook", "url": "https://hooks.shop.example/avila"},
    "events": [{"type": "incident.opened"}, {"type": "segment.entered", "id": "buyers"}],
}


@pytest.fixture
def notifying(settings: Settings) -> Settings:
    """A deployment that can sign webhooks."""
    return msgspec.structs.replace(settings, webhook_key="a secret of tests alone")


@pytest.fixture
async def service(notifying: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(notifying) as client:
        await ready(client)
        yield client


async def test_a_subscription_is_made_changed_and_deleted(service: httpx.AsyncClient) -> None:
    made = await service.post(PATH, json=HOOK)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    shown = made.json()
    assert (shown["active"], shown["destination"]) == (True, HOOK["destination"])
    changed = await service.put(f"{PATH}/ops", json=shown | {"active": False})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert [one["id"] for one in (await service.get(PATH)).json()["subscriptions"]] == ["ops"]
    assert (await service.delete(f"{PATH}/ops")).status_code == 204
    assert (await service.get(f"{PATH}/ops")).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"events": [{"type": "segment.left"}, {"type": "segment"}]}, "events[1].type"),
        ({"events": [{"type": "incident.opened"}] * 21}, "events"),
        ({"destination": {"type": "fax", "url": "https://x.example"}}, "destination.type"),
        ({"destination": {"type": "kafka", "topic": "avila.definitions"}}, "destination.topic"),
        ({"destination": {"type": "email", "to": ["a@b.example"]}}, "destination"),
        ({"destination": {"type": "email", "to": ["a@b\r\nBcc: c"]}}, "destination.to[0]"),
        *(
            ({"destination": {"type": "webhook", "url": url}}, "destination.url")
            for url in (
                "ftp://shop.example",
                "javascript:alert(1)",
                "https://",
                "https://user:secret@shop.example",
                "https://shop.example\\@127.0.0.1/",
                "https://shop.example/ä",
                "https://shop.example:99999/",
                "http://127.0.0.1/",
                "http://[::1]/",
                "http://[::ffff:169.254.169.254]/",
                "http://169.254.169.254/latest/meta-data",
                f"https://shop.example/{'x' * 2_000}",
            )
        ),
    ],
)
async def test_what_is_refused_is_named(
    service: httpx.AsyncClient, wrong: dict[str, Any], field: str
) -> None:
    answer = await service.post(PATH, json=HOOK | wrong)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["field"] == field


async def test_nobody_who_only_reads_sees_a_subscription(
    notifying: Settings, service: httpx.AsyncClient
) -> None:
    put(notifying, query_token("aqt_reads", scopes=("read",)))
    await service.post(PATH, json=HOOK)
    await eventually(
        lambda: service.get("/api/projects/shop/alerts", headers=bearer("aqt_reads")),
        lambda answer: answer.status_code == 200,
    )
    for path in (PATH, f"{PATH}/ops", f"{PATH}/ops/secret", f"{PATH}/ops/status"):
        assert (await service.get(path, headers=bearer("aqt_reads"))).status_code == 403


async def test_a_secret_is_not_on_the_topic_and_is_rotated_with_an_overlap(
    notifying: Settings, service: httpx.AsyncClient
) -> None:
    await service.post(PATH, json=HOOK)
    first = (await service.get(f"{PATH}/ops/secret")).json()
    assert first["previous"] is None
    key = base64.b64decode(first["secret"].removeprefix("whsec_"))
    rotated = (await service.post(f"{PATH}/ops/rotate", json={"overlap_s": 3_600})).json()
    assert rotated["previous"] == first["secret"] != rotated["secret"]
    # A change of anything else keeps the secrets.
    await service.put(f"{PATH}/ops", json=HOOK | {"name": "On call"})
    assert (await service.get(f"{PATH}/ops/secret")).json() == rotated
    at_once = (await service.post(f"{PATH}/ops/rotate", json={"overlap_s": 0})).json()
    assert at_once["previous"] is None
    records = read_all(notifying.cluster, notifying.topics.definitions.name)
    for text in (first["secret"].encode(), key, key.hex().encode()):
        assert not any(text in (one.value() or b"") for one in records)


async def test_a_deployment_without_a_key_takes_no_webhook(query: httpx.AsyncClient) -> None:
    answer = await query.post(PATH, json=HOOK)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "destination")
    assert "AVILA_WEBHOOK_KEY" in answer.text


async def test_messages_are_replayed_and_tried_by_commands(
    notifying: Settings, service: httpx.AsyncClient
) -> None:
    await service.post(PATH, json=HOOK)
    tried = await service.post(f"{PATH}/ops/test")
    assert (tried.status_code, tried.json()["queued"]) == (202, "message")
    asked = {"since": "2026-11-22", "all": True}
    assert (await service.post(f"{PATH}/ops/replay", json=asked)).status_code == 202
    refused = await service.post(f"{PATH}/ops/replay", json={"since": "soon"})
    assert refused.json()["error"]["field"] == "since"
    records = read_all(notifying.cluster, notifying.topics.deliveries.name)
    assert {one.key() for one in records} == {b"shop/ops"}
    queued = [decode_queued(one.value() or b"") for one in records]
    assert getattr(queued[0], "id", "") == tried.json()["id"]
    assert isinstance(queued[1], Replay)
    assert (queued[1].all, queued[1].since) == (True, 1_795_305_600_000)


async def test_the_status_says_how_far_the_messages_are(
    notifying: Settings, service: httpx.AsyncClient
) -> None:
    made = (await service.post(PATH, json=HOOK)).json()
    fresh = (await service.get(f"{PATH}/ops/status")).json()
    assert (fresh["state"], fresh["delivered"], fresh["next_try"]) == ("ok", 0, None)
    state = DeliveryState(
        created_at=made["created_at"], low=3, failures=7, open_until=60_000, dead=2, waiting=4
    )
    record = Record(encode_state(state), queue_key("shop", "ops"))
    produce(notifying.cluster, notifying.topics.delivery_state.name, [record])
    answer = await eventually(
        lambda: service.get(f"{PATH}/ops/status"), lambda answer: answer.json()["dead"] == 2
    )
    found = answer.json()
    assert (found["state"], found["waiting"], found["oldest_waiting"]) == ("resting", 4, 3)
    assert found["next_try"] == "1970-01-01T00:01:00Z"


def test_subscriptions_and_alerts_are_asked_for_by_grpc() -> None:
    bound = bindings()
    for method in ("CreateDefinition", "ListDefinitions", "GetStatus"):
        paths = {route.path for route in bound[method].values()}
        assert any("/subscriptions" in path for path in paths)
        assert any("/alerts" in path for path in paths)


def test_the_commands_say_what_they_take() -> None:
    from services.cli.main import avila

    for name in ("replay", "test"):
        done = CliRunner().invoke(avila, ["notices", name, "--help"])
        assert done.exit_code == 0
        assert "SUBSCRIPTION" in done.output
