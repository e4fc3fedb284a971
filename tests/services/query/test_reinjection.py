"""Rejected records that are sent again: whole, once each, and only those of the project."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import msgspec
import pytest
from confluent_kafka import Message

from schemas.avro.codec import Codec, Encoder
from schemas.avro.files import load
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.rejected import MAX_VALUE_BYTES, Origin, rejected
from schemas.settings import Settings
from services.query.projects.reinjection import FIRST_READ
from tests.kafka import Record, produce, read_all
from tests.pipelines.tracker_in_process import TrackerInProcess
from tests.services.query.conftest import eventually

REINJECT = "/api/projects/shop/rejected/reinject"


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    with closing(Registry(settings.bootstrap)) as registry:
        yield registry


def refused(
    settings: Settings,
    reason: str,
    value: bytes | None,
    offset: int,
    *,
    project: str = "shop",
    headers: Any = (),
) -> None:
    """Write what the Tracker writes about a record of the inbox."""
    origin = Origin(settings.topics.inbox.name, 0, offset)
    key = f"{project}:ann".encode()
    made = rejected(origin, reason, f"{reason}: no", key, value, headers)
    texts = tuple(
        (name, text.encode() if isinstance(text, str) else text or b"")
        for name, text in made.headers
    )
    record = Record(made.value, made.key, headers=texts)
    produce(settings.bootstrap, settings.topics.rejected.name, [record])


def inbox(settings: Settings) -> list[Message]:
    return [
        one for one in read_all(settings.bootstrap, settings.topics.inbox.name) if one.headers()
    ]


def headers(message: Message) -> dict[str, bytes]:
    given = message.headers() or []
    found: dict[str, bytes] = dict(given)  # type: ignore[arg-type]  # as librdkafka gives them
    return found


async def reinject(query: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await query.post(REINJECT, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_records_of_a_reason_are_sent_again_as_they_came(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    own = [("ce_type", b"buy"), ("reason", b"its own")]
    refused(settings, "undecodable", b'{"id": "1"}', 4, headers=own)
    refused(settings, "invalid_field", b'{"id": "2"}', 5)
    refused(settings, "undecodable", b'{"id": "3"}', 6, project="other")
    done = await reinject(query, reason="undecodable")
    assert done == {"found": 1, "sent": 1, "lost": 0, "next": None}
    [sent] = inbox(settings)
    assert (sent.key(), sent.value(), sent.partition()) == (b"shop:ann", b'{"id": "1"}', 0)
    first = f"{settings.topics.inbox.name}/0/4".encode()
    assert headers(sent) == {"ce_type": b"buy", "reason": b"its own", FIRST_READ: first}


async def test_an_event_without_an_id_has_the_same_id_whenever_it_is_sent_again(
    query: httpx.AsyncClient, settings: Settings, registry: Registry
) -> None:
    topic, schema = settings.topics.inbox.name, load("event")
    encoder = Encoder(schema, registry.register(value_subject(topic), schema))
    event = {"project_id": "shop", "distinct_id": "ann", "event": "", "timestamp": 1}
    [nameless] = encoder.encode_records([event])
    [named] = encoder.encode_records([event | {"event_id": "its-own"}])
    refused(settings, "invalid_field", nameless, 7)
    refused(settings, "invalid_field", named, 8)
    for _ in range(2):
        assert (await reinject(query))["sent"] == 2
    decoded = Codec(schema, registry.find).decode([one.value() for one in inbox(settings)])
    ids = [row["event_id"] for row in decoded.batch.to_pylist()]
    assert ids == [f"{topic}/0/7/again", "its-own"] * 2


async def test_a_value_of_a_schema_that_nobody_has_registered_is_sent_as_it_came(
    query: httpx.AsyncClient, settings: Settings, registry: Registry
) -> None:
    topic, schema = settings.topics.inbox.name, load("event")
    encoder = Encoder(schema, registry.register(value_subject(topic), schema))
    event = {"project_id": "shop", "distinct_id": "ann", "event": "buy", "timestamp": 1}
    [value] = encoder.encode_records([event])
    unknown = b"\0" + (4_000_000).to_bytes(4, "big") + value[5:]
    refused(settings, "unknown_schema", unknown, 7)
    assert (await reinject(query))["sent"] == 1
    assert [one.value() for one in inbox(settings)] == [unknown]


async def test_of_a_record_that_was_rejected_repeatedly_the_newest_is_sent(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    place = f"{settings.topics.inbox.name}/0/4"
    refused(settings, "undecodable", b"{1", 4)
    refused(settings, "undecodable", b"{2", 90, headers=[(FIRST_READ, place.encode())])
    done = await reinject(query)
    assert (done["found"], done["sent"]) == (2, 1)
    [sent] = inbox(settings)
    assert (sent.value(), headers(sent)) == (b"{2", {FIRST_READ: place.encode()})


async def test_a_record_that_was_cut_is_read_from_the_inbox_while_it_is_kept_there(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    whole = b"x" * (MAX_VALUE_BYTES + 10)
    produce(settings.bootstrap, settings.topics.inbox.name, [Record(whole, b"shop:ann", 0)])
    refused(settings, "too_large", whole, 0)
    refused(settings, "too_large", whole, 1_000)
    done = await reinject(query)
    assert (done["found"], done["sent"], done["lost"]) == (2, 1, 1)
    [sent] = inbox(settings)
    assert sent.value() == whole


async def test_many_are_sent_in_parts(query: httpx.AsyncClient, settings: Settings) -> None:
    for offset in range(5):
        refused(settings, "undecodable", b"{%d" % offset, offset)
    first = await reinject(query, limit=2)
    assert (first["sent"], first["next"] is not None) == (2, True)
    second = await reinject(query, limit=10, after=first["next"])
    assert (second["sent"], second["next"]) == (3, None)
    assert [one.value() for one in inbox(settings)] == [b"{%d" % n for n in range(5)]


async def test_what_is_refused_names_its_field(query: httpx.AsyncClient) -> None:
    for body, field in (
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"after": {"0": -1}}, "after[...]"),
        ({"reason": 1}, "reason"),
    ):
        answer = await query.post(REINJECT, json=body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)

    async def rejected_now() -> httpx.Response:
        return await query.get("/api/projects/shop/rejected")

    await eventually(rejected_now, lambda now: now.is_success and now.json()["total"] == 0)


def publish(settings: Settings, tracker: TrackerInProcess) -> None:
    """Write what the Tracker has rejected, as its worker does."""
    for outgoing in tracker.rejections:
        rows = zip(
            outgoing.keys.to_pylist(),
            outgoing.values.to_pylist(),
            outgoing.headers or (),
            strict=True,
        )
        records = [
            Record(
                value,
                key,
                headers=tuple(
                    (name, text.encode() if isinstance(text, str) else text or b"")
                    for name, text in headers
                ),
            )
            for key, value, headers in rows
        ]
        produce(settings.bootstrap, settings.topics.rejected.name, records)


async def test_what_is_still_no_event_is_rejected_again_and_what_is_counts_once(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    """The Tracker accepts larger events after the first records were rejected for their size."""
    topic = settings.topics.inbox.name
    small = TrackerInProcess(msgspec.structs.replace(settings, max_event_bytes=100))
    at = time.time_ns() // 1_000_000
    event = {"project_id": "shop", "distinct_id": "ann", "event": "buy", "timestamp": at}
    small.send([event | {"properties": json.dumps({"note": "x" * 200})}])
    produce(settings.bootstrap, topic, [Record(b"\0\x7f\0\0\0", b"shop:ann", 0)])
    events, _ = small.run()
    assert events == []
    publish(settings, small)

    large = TrackerInProcess(settings, small.position)
    for times in range(1, 3):
        done = await reinject(query)
        assert (done["sent"], done["lost"]) == (2, 0)
        events, again = large.run()
        assert [one["event"] for one in events] == (["buy"] if times == 1 else [])
        assert [one["reason"] for one in again] == ["unknown_schema"]
        publish(settings, large)
    found = await reinject(query)
    assert (found["found"], found["sent"]) == (4, 2)
