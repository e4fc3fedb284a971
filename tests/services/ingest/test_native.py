"""`POST /v1/events`: a result for each event, and what is answered `ok` stands on the inbox."""

import gzip
import json
import uuid
from typing import Any

import pytest
import zstandard

from tests.credentials import SHOP_KEY, bearer
from tests.services.ingest.conftest import Ingest

FULL = {
    "event_id": "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d",
    "project_id": "shop",
    "distinct_id": "u1",
    "anonymous_id": "device-9",
    "session_id": "visit-3",
    "event": "purchase",
    "timestamp": "2026-03-01T12:00:00.250+02:00",
    "sent_at": 1_772_359_201_000,
    "properties": {"amount": 12.5, "für": "Grüße 🎁", "tags": ["a", None, True]},
    "context": {"library": {"name": "test"}},
}


def event(**fields: Any) -> dict[str, Any]:
    return {"event": "view", "distinct_id": "u1", "event_id": str(uuid.uuid4())} | fields


def zstd_of_unknown_size(body: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(body) + stream.flush()


def test_every_field_stands_on_the_inbox_as_it_was_sent(ingest: Ingest) -> None:
    results = ingest.results(FULL, headers=bearer(SHOP_KEY))

    assert results == [{"event_id": FULL["event_id"], "result": "ok"}]

    [stored] = ingest.inbox()
    assert json.loads(stored.pop("properties")) == FULL["properties"]
    assert json.loads(stored.pop("context")) == FULL["context"]
    assert stored.pop("received_at") > 1_772_359_201_000
    assert stored == {
        "event_id": FULL["event_id"],
        "project_id": "shop",
        "distinct_id": "u1",
        "person_id": "",
        "anonymous_id": "device-9",
        "session_id": "visit-3",
        "event": "purchase",
        "timestamp": 1_772_359_200_250,
        "sent_at": 1_772_359_201_000,
    }


def test_what_is_left_open_gets_its_default(ingest: Ingest) -> None:
    [result] = ingest.results({"event": "view", "distinct_id": "u1"})

    [stored] = ingest.inbox()
    assert result == {"event_id": stored["event_id"], "result": "ok"}
    assert uuid.UUID(stored["event_id"]).version == 4
    assert stored["project_id"] == "default"
    assert stored["timestamp"] == stored["received_at"]
    assert stored["sent_at"] is stored["anonymous_id"] is stored["session_id"] is None
    assert stored["properties"] == stored["context"] == "{}"


@pytest.mark.parametrize("shape", ["object", "array", "lines", "lines without a type"])
def test_each_shape_of_body_is_read(ingest: Ingest, shape: str) -> None:
    events = [event(), event(), event()]
    lines = "\n".join(map(json.dumps, events)) + "\n\n"
    requests: dict[str, dict[str, Any]] = {
        "object": {"json": {"events": events}},
        "array": {"json": events},
        "lines": {"content": lines, "headers": {"Content-Type": "application/x-ndjson"}},
        "lines without a type": {"content": lines},
    }

    results = ingest.results(**requests[shape])

    assert results == [{"event_id": e["event_id"], "result": "ok"} for e in events]
    assert {e["event_id"] for e in ingest.inbox()} == {e["event_id"] for e in events}


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
        ("zstd", zstandard.compress),
        ("zstd", zstd_of_unknown_size),
    ],
    ids=["gzip", "gzip in two members", "zstd", "zstd of unknown size"],
)
def test_a_compressed_body_is_read(shared: Ingest, encoding: str, compress: Any) -> None:
    body = compress(json.dumps({"events": [event(), event()]}).encode())

    results = shared.results(content=body, headers={"Content-Encoding": encoding})

    assert [result["result"] for result in results] == ["ok", "ok"]


def test_good_events_are_taken_and_bad_ones_dropped_with_the_field(ingest: Ingest) -> None:
    results = ingest.results(
        {
            "events": [
                event(event_id="11111111-1111-4111-8111-111111111111"),
                {"event": "no id", "event_id": "kept"},
                event(timestamp="yesterday"),
                event(distinct_id=7),
                event(event=""),
                event(properties=[1]),
                event(project_id="no/slash"),
                "not an object",
                event(event_id="22222222-2222-4222-8222-222222222222"),
            ]
        }
    )

    assert [(result["result"], result.get("field")) for result in results] == [
        ("ok", None),
        ("drop", "distinct_id"),
        ("drop", "timestamp"),
        ("drop", "distinct_id"),
        ("drop", "event"),
        ("drop", "properties"),
        ("drop", "project_id"),
        ("drop", None),
        ("ok", None),
    ]
    assert results[1]["event_id"] == "kept"
    assert all(result["details"] for result in results if result["result"] == "drop")
    assert sorted(stored["event_id"][0] for stored in ingest.inbox()) == ["1", "2"]


def test_among_many_events_each_has_its_own_result(ingest: Ingest) -> None:
    events = [event() for _ in range(1_200)]  # more than are checked at one go
    events[3] |= {"distinct_id": ""}
    events[700] |= {"timestamp": "2026-03-01T10:00:00"}  # no zone
    events[1_100] |= {"timestamp": "yesterday"}

    results = ingest.results(json={"events": events})

    assert [(r["event_id"], r["result"]) for r in results] == [
        (e["event_id"], {3: "drop", 700: "warning", 1_100: "drop"}.get(place, "ok"))
        for place, e in enumerate(events)
    ]
    stored = {e.pop("event_id"): e for e in ingest.inbox()}
    one, looked_at = (stored[events[place]["event_id"]] for place in (4, 700))
    assert len(stored) == 1_198
    assert looked_at.pop("timestamp") == 1_772_359_200_000
    assert one.pop("timestamp") == one["received_at"]
    assert one == looked_at


def test_what_had_to_be_mapped_or_assumed_is_a_warning(ingest: Ingest) -> None:
    results = ingest.results(
        [
            event(event_id="order-1"),
            event(timestamp="2026-03-01T12:00:00"),
            event(sent_at="soon"),
            event(userId="u2"),
        ]
    )

    assert [result["result"] for result in results] == ["warning"] * 4
    assert "order-1" in results[0]["details"]
    assert "UTC" in results[1]["details"]
    assert "sent_at" in results[2]["details"]
    assert "userId" in results[3]["details"]
    assert len(ingest.inbox()) == 4


def test_a_retry_with_the_same_text_id_is_the_same_event(shared: Ingest) -> None:
    [first] = shared.results(event(event_id="order-1"))
    [again] = shared.results(event(event_id="order-1"))
    [other_project] = shared.results(event(event_id="order-1"), headers=bearer(SHOP_KEY))

    assert first["event_id"] == again["event_id"] != other_project["event_id"]
    assert uuid.UUID(first["event_id"]).version == 5


def test_the_project_is_the_keys_and_what_names_another_is_dropped(ingest: Ingest) -> None:
    events = [event(), event(project_id="default"), event(project_id="shop")]

    by_event = ingest.results({"events": events})
    by_body = ingest.results({"events": events, "project_id": "shop"})

    assert [result["result"] for result in by_event] == ["ok", "ok", "drop"]
    assert [result["result"] for result in by_body] == ["drop", "ok", "drop"]
    for result in (by_event[2], by_body[0]):
        assert result["field"] == "project_id"
        assert "'shop' is not the project of the write key" in result["details"]
    assert [stored["project_id"] for stored in ingest.inbox()] == ["default"] * 3


def test_the_batchs_sent_at_holds_for_events_without_their_own(ingest: Ingest) -> None:
    one, other = event(timestamp=500), event(timestamp=500, sent_at=2_000)
    ingest.results({"events": [one, other], "sent_at": "1970-01-01T00:00:01Z"})

    assert sorted(stored["sent_at"] for stored in ingest.inbox()) == [1_000, 2_000]


def test_the_key_is_project_and_person_and_their_events_keep_their_order(ingest: Ingest) -> None:
    events = [event(distinct_id=f"ü{n % 3}", properties={"n": n}) for n in range(60)]
    ingest.results(events)

    partitions: dict[bytes, set[int]] = {}
    for message in ingest.records():
        partitions.setdefault(message.key() or b"", set()).add(message.partition() or 0)
    assert set(partitions) == {f"default:ü{n}".encode() for n in range(3)}
    assert all(len(places) == 1 for places in partitions.values())
    seen: dict[str, list[int]] = {}
    for stored in ingest.inbox():
        seen.setdefault(stored["distinct_id"], []).append(json.loads(stored["properties"])["n"])
    assert seen == {f"ü{n}": list(range(n, 60, 3)) for n in range(3)}


def test_one_event_that_is_not_utf8_does_not_spoil_its_neighbours(ingest: Ingest) -> None:
    good = json.dumps(event()).encode()
    results = ingest.results(
        content=b"["
        + good
        + b',{"event":"\xff","distinct_id":"u1"}'
        + b',{"event":"e","distinct_id":"u1","properties":{"a":"\xff"}}'
        + b"]"
    )

    assert [result["result"] for result in results] == ["ok", "drop", "drop"]
    assert results[2]["field"] == "properties"
    assert len(ingest.inbox()) == 1


def test_no_events_are_no_results(shared: Ingest) -> None:
    assert shared.results({"events": []}) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"7", b"[1", b"hello\nworld", b'{"events":7}', b"\xff\xfe"]
)
def test_a_body_that_cannot_be_read_is_refused_as_a_whole(shared: Ingest, body: bytes) -> None:
    answer = shared.post(content=body)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid"
    assert answer.json()["error"]["message"]


def test_a_body_in_another_format_is_refused(shared: Ingest) -> None:
    answer = shared.post(content=b"<event/>", headers={"Content-Type": "application/xml"})

    assert answer.status_code == 415
    assert answer.json()["error"]["field"] == "Content-Type"


def test_another_method_is_told_which_one_is_accepted(shared: Ingest) -> None:
    answer = shared.http.get("/v1/events")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_health_readiness_and_metrics_are_there(ingest: Ingest) -> None:
    ingest.results([event(), event(), {"event": "x", "distinct_id": ""}])

    assert ingest.http.get("/healthz").status_code == 200
    assert ingest.http.get("/readyz").status_code == 200
    assert ingest.http.get("/nothing-here").status_code == 404
    assert ingest.metric('avila_ingest_events_total{format="native",result="ok"}') == 2
    assert ingest.metric('avila_ingest_events_total{format="native",result="drop"}') == 1
    assert ingest.metric("avila_ingest_unacknowledged_events") == 0
    assert ingest.metric("avila_ingest_held_bytes") == 0
