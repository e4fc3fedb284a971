"""Segment's and RudderStack's messages: each kind by each path, alone and in batches."""

import base64
import gzip
import json
import uuid
from typing import Any

import pytest

from schemas.errors import BackOff, Unauthorized
from services.ingest.events import Batch, EventResult
from services.ingest.formats.segment import Segment
from tests.services.ingest.conftest import Ingest
from tests.services.ingest.requests import request

# A message of each kind, and what it becomes.
MESSAGES: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"type": "track", "event": "Paid", "properties": {"n": 1}}, "Paid", {"n": 1}),
    ({"type": "track", "event": "Seen"}, "Seen", {}),
    ({"type": "track", "event": "Nil", "properties": None}, "Nil", {}),
    ({"type": "identify", "traits": {"plan": "pro"}}, "$identify", {"$set": {"plan": "pro"}}),
    ({"type": "identify"}, "$identify", {"$set": {}}),
    (
        {"type": "identify", "context": {"traits": {"plan": "in context"}}},
        "$identify",
        {"$set": {"plan": "in context"}},
    ),
    (
        {"type": "page", "name": "Home", "category": "Docs", "properties": {"url": "/"}},
        "$pageview",
        {"url": "/", "name": "Home", "category": "Docs"},
    ),
    ({"type": "page", "name": "A", "properties": {"name": "B"}}, "$pageview", {"name": "B"}),
    (
        {"type": "page", "name": "A", "properties": {"name\\u": 1}},
        "$pageview",
        {"name\\u": 1, "name": "A"},
    ),
    ({"type": "screen", "name": "Cart"}, "$screen", {"name": "Cart"}),
    (
        {"type": "group", "groupId": 7, "traits": {"seats": 5}},
        "$group",
        {"$group_id": "7", "$group_set": {"seats": 5}},
    ),
    ({"type": "alias", "previousId": "old"}, "$alias", {"$previous_id": "old"}),
]


def message(**fields: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Seen",
        "userId": "u1",
        "messageId": str(uuid.uuid4()),
    } | fields


def basic(key: str) -> str:
    return f"Basic {base64.b64encode(key.encode()).decode()}"


def stored(ingest: Ingest) -> dict[str, dict[str, Any]]:
    """Return the events on the inbox by `messageId`, with JSON decoded."""
    events = ingest.inbox()
    for event in events:
        event["properties"] = json.loads(event["properties"])
        event["context"] = json.loads(event["context"])
    return {event["event_id"]: event for event in events}


@pytest.mark.parametrize("way", ["words", "letters", "batch", "b", "import", "beacon"])
def test_each_kind_becomes_its_event(ingest: Ingest, way: str) -> None:
    messages = [message(**fields) for fields, _, _ in MESSAGES]
    for sent in messages:
        if sent["type"] != "track":
            del sent["event"]
    if way in {"words", "letters"}:
        for sent in messages:
            kind = sent["type"] if way == "words" else sent["type"][0]
            alone = {name: value for name, value in sent.items() if name != "type"}
            answer = ingest.http.post(f"/v1/{kind}", json=alone)
            assert (answer.status_code, answer.json()) == (200, {"success": True})
    else:
        path = "/beacon/v1/batch" if way == "beacon" else f"/v1/{way}"
        answer = ingest.http.post(path, json={"batch": messages})
        assert (answer.status_code, answer.json()) == (200, {"success": True})

    events = stored(ingest)
    for sent, (_, name, properties) in zip(messages, MESSAGES, strict=True):
        event = events.pop(sent["messageId"])
        assert (event["event"], event["properties"]) == (name, properties)
        assert event["distinct_id"] == "u1"
    assert not events


def test_every_field_stands_where_the_table_says(ingest: Ingest) -> None:
    sent = message(
        anonymousId="a1",
        timestamp="2026-03-01T12:00:00.250Z",
        sentAt="2026-03-01T12:00:01Z",
        context={"library": {"name": "test"}, "sessionId": 1_772_359_200},
        integrations={"All": False},
        channel="server",
    )

    ingest.http.post("/v1/track", json=sent)

    event = stored(ingest)[sent["messageId"]]
    assert event.pop("received_at") > 1_772_359_201_000
    assert event == {
        "event_id": sent["messageId"],
        "project_id": "default",
        "distinct_id": "u1",
        "person_id": "",
        "anonymous_id": "a1",
        "session_id": "1772359200",
        "event": "Seen",
        "timestamp": 1_772_366_400_250,
        "sent_at": 1_772_366_401_000,
        "properties": {},
        "context": sent["context"] | {"integrations": {"All": False}},
    }


def test_what_a_message_lacks_is_taken_from_its_batch(ingest: Ingest) -> None:
    own = message(
        context={"locale": "de", "ip": "1.1.1.1"},
        integrations={"A": True},
        sentAt="1970-01-01T00:00:02Z",
        timestamp="2026-03-01T12:00:00Z",
    )
    other = message(integrations={}, timestamp="2026-03-01T12:00:00Z")
    third = message(context={"integrations": "its own"})

    answer = ingest.http.post(
        "/v1/batch",
        json={
            "batch": [own, other, third],
            "context": {"ip": "2.2.2.2", 'a"b': 1},
            "integrations": {"B": True},
            "sentAt": "1970-01-01T00:00:01Z",
        },
    )

    assert answer.json() == {"success": True}
    events = stored(ingest)
    outer = {"ip": "2.2.2.2", 'a"b': 1}
    assert events[own["messageId"]]["context"] == {
        "locale": "de",
        "ip": "1.1.1.1",
        'a"b': 1,
        "integrations": {"A": True},
    }
    assert events[other["messageId"]]["context"] == outer
    assert events[third["messageId"]]["context"] == outer | {"integrations": "its own"}
    assert [events[sent["messageId"]]["sent_at"] for sent in (own, other)] == [2_000, 1_000]


def test_the_person_is_the_user_else_the_anonymous_one(ingest: Ingest) -> None:
    messages = [
        message(userId="u", anonymousId="a"),
        message(userId=None, anonymousId="a"),
        message(userId="", anonymousId="a"),
        message(userId=42, anonymousId=7.0),
    ]
    ingest.http.post("/v1/batch", json={"batch": messages})

    events = stored(ingest)
    people = [
        (event["distinct_id"], event["anonymous_id"])
        for event in (events[sent["messageId"]] for sent in messages)
    ]
    assert people == [("u", "a"), ("a", "a"), ("a", "a"), ("42", "7")]


def test_a_direct_caller_is_who_calls(ingest: Ingest) -> None:
    direct = message(context={"direct": True, "userAgent": "given"})
    indirect = message(context={"direct": False})
    by_batch = message()
    agent = {"User-Agent": "Mozilla"}
    for body in (
        {"batch": [direct, indirect]},
        {"batch": [by_batch], "context": {"direct": True}},
    ):
        ingest.http.post("/v1/batch", json=body, headers=agent)

    events = stored(ingest)
    assert events[direct["messageId"]]["context"] == {
        "direct": True,
        "userAgent": "given",
        "ip": "127.0.0.1",
    }
    assert events[indirect["messageId"]]["context"] == {"direct": False}
    assert events[by_batch["messageId"]]["context"] == {
        "direct": True,
        "userAgent": "Mozilla",
        "ip": "127.0.0.1",
    }


def test_rudderstacks_browser_times_are_read(ingest: Ingest) -> None:
    sent = message(originalTimestamp="2024-05-01T00:00:01Z")

    ingest.http.post("/v1/t", content=json.dumps(sent), headers={"Content-Type": "text/plain"})

    assert stored(ingest)[sent["messageId"]]["timestamp"] == 1_714_521_601_000


def test_good_messages_are_taken_and_bad_ones_named(ingest: Ingest) -> None:
    good = message()
    bad: list[tuple[Any, str]] = [
        (message(type="nonsense"), "type"),
        (message(type=None), "type"),
        (message(userId=None), "userId"),
        (message(userId=[]), "userId"),
        (message(event=None), "event"),
        (message(event={}), "event"),
        (message(properties=[1]), "properties"),
        (message(context=7), "context"),
        (message(type="identify", traits=7), "traits"),
        (message(type="group"), "groupId"),
        (message(type="alias"), "previousId"),
        (message(timestamp="yesterday"), "timestamp"),
        (message(messageId="x" * 101), "event_id"),
        (message(event="x" * 201), "event"),
        ("not an object", "object"),
    ]

    answer = ingest.http.post(
        "/v1/batch", json={"batch": [good, *(broken for broken, _ in bad)], "sentAt": "soon"}
    )

    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert [drop["index"] for drop in body["dropped"]] == list(range(1, len(bad) + 1))
    for drop, (broken, word) in zip(body["dropped"], bad, strict=True):
        assert word in drop["message"]
        if isinstance(broken, dict):
            assert drop["id"] == broken["messageId"]
    assert set(stored(ingest)) == {good["messageId"]}


def test_a_text_that_is_not_utf8_harms_no_other(ingest: Ingest) -> None:
    good = json.dumps(message()).encode()
    bad = good.replace(b'"Seen"', b'"\xff"')
    context = good.replace(b"{", b'{"context":{"direct":true,"a":"\xff"},', 1)

    answer = ingest.http.post(
        "/v1/batch", content=b'{"batch":[' + b",".join((good, bad, context)) + b"]}"
    )

    assert [drop["index"] for drop in answer.json()["dropped"]] == [1, 2]
    assert len(ingest.inbox()) == 1


def test_nothing_taken_is_an_error_that_is_not_retried(shared: Ingest) -> None:
    for path, body in [
        ("/v1/track", {"event": "Seen"}),
        ("/v1/batch", {"batch": [{}, {}]}),
        ("/v1/track", {"event": "Seen", "userId": "u", "context": [1]}),
    ]:
        answer = shared.http.post(path, json=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["code"] == "invalid"
        assert answer.json()["message"]


def test_a_message_sent_again_is_the_same_event(ingest: Ingest) -> None:
    sent = message(messageId="ajs-next-1700000000000-x")
    for _ in range(2):
        assert ingest.http.post("/v1/track", json=sent).status_code == 200

    first, again = ingest.inbox()
    assert first["event_id"] == again["event_id"]
    assert uuid.UUID(first["event_id"]).version == 5


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"7", b"[]", b"{}", b'{"batch":7}', b'{"batch":[1', b"\xff\xfe"]
)
def test_a_body_that_cannot_be_read_is_refused_with_a_code(shared: Ingest, body: bytes) -> None:
    answer = shared.http.post("/v1/batch", content=body)

    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "invalid"
    assert answer.json()["message"]


def test_a_context_for_all_is_not_multiplied_without_bound(shared: Ingest) -> None:
    large = {"a": "x" * 20_000}
    body = {"batch": [message() for _ in range(600)], "context": large}

    answer = shared.http.post("/v1/batch", json=body)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.json()["field"] == "context"
    assert shared.metric("avila_ingest_held_bytes") == 0


def test_too_large_a_body_is_refused_with_the_limit(shared: Ingest) -> None:
    bomb = gzip.compress(b"[" + b" " * 9_000_000 + b"]")
    answer = shared.http.post("/v1/batch", content=bomb, headers={"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "max_compression_ratio" in answer.json()["message"]


@pytest.mark.parametrize(
    ("authorization", "in_body", "query", "key"),
    [
        (basic("wk:"), None, b"", "wk"),
        (basic("wk"), None, b"", "wk"),
        (basic("wk:ignored"), "other", b"", "wk"),
        ("basic " + base64.b64encode(b"wk:").decode().rstrip("="), None, b"", "wk"),
        (None, "wk", b"", "wk"),
        ("Bearer wk", None, b"", "wk"),
        ("Bearer token", "wk", b"", "wk"),
        (None, None, b"writeKey=w%6B&v=1", "wk"),
        ("Basic \xff", "wk", b"", "wk"),
        ("Digest wk", None, b"", ""),
        (None, None, b"\xff&&=", ""),
        (None, None, b"", ""),
    ],
)
@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
@pytest.mark.parametrize("careful", [False, True])
def test_the_key_is_found(
    path: str,
    authorization: str | None,
    in_body: str | None,
    query: bytes,
    key: str,
    careful: bool,
) -> None:
    sent = message(event=7 if careful else "Seen")
    body: dict[str, Any] = {"batch": [sent]} if path == "/v1/batch" else sent
    if in_body:
        body["writeKey"] = in_body
    headers = {b"authorization": authorization.encode("latin-1")} if authorization else {}

    batch = Segment().parse(request(path, json.dumps(body).encode(), query=query, headers=headers))

    assert batch.key == key


def test_one_event_to_retry_makes_the_sdk_send_all_of_it_again() -> None:
    results = [
        EventResult("1", "ok"),
        EventResult("2", "drop", "no"),
        EventResult("3", "retry", "late"),
    ]

    answer = Segment().answer(Batch(events=[]), results, 2)

    assert (answer.status, answer.retry_after_s) == (503, 2)
    assert json.loads(answer.body)["code"] == "back_off"


def test_an_error_has_its_status_and_its_code_on_top() -> None:
    refused = Segment().refuse(Unauthorized("no such key"))
    assert refused.status == 401
    assert json.loads(refused.body) == {"code": "unauthorized", "message": "no such key"}

    busy = Segment().refuse(BackOff("busy", 3))
    assert (busy.status, busy.retry_after_s) == (503, 3)
