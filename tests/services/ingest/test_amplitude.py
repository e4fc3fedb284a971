"""Amplitude's events: where each field stands, and answers that lose and double nothing."""

import gzip
import json
import uuid
from typing import Any

import pytest

from schemas.errors import BackOff, Forbidden, InvalidRequest, OverLimit, Unauthorized
from schemas.identity import scoped_id
from services.ingest.events import Batch, Event, EventResult
from services.ingest.formats.amplitude import Amplitude
from services.ingest.limits import TooLarge
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest
from tests.services.ingest.requests import request

PATH = "/2/httpapi"


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "seen", "user_id": "u1", "insert_id": str(uuid.uuid4())} | fields


def id_of(sent: dict[str, Any]) -> str:
    """Return the id that an event is stored under."""
    [group] = sent["groups"]["team"] if sent["user_id"] is None and "groups" in sent else [""]
    device = sent.get("device_id") or sent["user_id"] or f"$team_{group}"
    return scoped_id(f"{device:g}" if isinstance(device, float) else str(device), sent["insert_id"])


def stored(ingest: Ingest) -> dict[str, dict[str, Any]]:
    """Return the events on the inbox by id, with JSON decoded."""
    events = ingest.inbox()
    for one in events:
        one["properties"] = json.loads(one["properties"])
        one["context"] = json.loads(one["context"])
    return {one["event_id"]: one for one in events}


def send(ingest: Ingest, *events: Any, **headers: str) -> list[dict[str, Any]]:
    """Send `events`, all of which are taken, and return them as stored, in order."""
    body = {"api_key": KEY, "events": events}
    answer = ingest.http.post(PATH, json=body, headers=headers)
    assert (answer.status_code, answer.json()["events_ingested"]) == (200, len(events))
    assert "dropped" not in answer.json()
    found = stored(ingest)
    return [found[id_of(one)] for one in events]


def test_every_field_stands_where_the_table_says(ingest: Ingest) -> None:
    sent = event(
        device_id="d1",
        time=1_772_366_400_250,
        session_id=1_772_366_399_000,
        event_properties={"für": 12.5},
        user_properties={"plan": "pro"},
        groups={"company": ["a", "b"]},
        price=9.99,
        quantity=2,
        productId="p1",
        ip="1.2.3.4",
        user_agent="Mozilla",
        language="de",
        platform="Web",
        library="amplitude-ts/2.48.1",
        app_version="3.1",
        version_name="3",
        os_name="iOS",
        os_version=17,
        device_brand="Apple",
        device_manufacturer="Apple",
        device_model="iPhone",
        idfv="v",
        idfa="",
        adid="ad",
        carrier="T",
        country="DE",
        region=None,
        city="Köln",
        location_lat=50.9,
        location_lng=6.9,
        event_id=7,
        plan={"branch": "main"},
    )
    body = {
        "api_key": KEY,
        "events": [sent],
        "options": {"min_id_length": 9},
        "client_upload_time": "2026-03-01T12:00:01.000Z",
    }

    answer = ingest.http.post(PATH, json=body, headers={"Authorization": ""})

    told = answer.json()
    assert answer.status_code == told["code"] == 200
    assert told["payload_size_bytes"] == len(answer.request.content)
    assert told["server_upload_time"] > 1_772_366_401_000
    assert set(told) == {"code", "events_ingested", "payload_size_bytes", "server_upload_time"}
    one = stored(ingest)[id_of(sent)]
    assert one.pop("received_at") <= told["server_upload_time"]
    assert one == {
        "event_id": id_of(sent),
        "project_id": "default",
        "distinct_id": "u1",
        "person_id": "",
        "anonymous_id": "d1",
        "session_id": "1772366399000",
        "event": "seen",
        "timestamp": 1_772_366_400_250,
        "sent_at": 1_772_366_401_000,
        "properties": {
            "für": 12.5,
            "$set": {"plan": "pro"},
            "$groups": {"company": ["a", "b"]},
            "$price": 9.99,
            "$quantity": 2,
            "$productId": "p1",
        },
        "context": {
            "ip": "1.2.3.4",
            "userAgent": "Mozilla",
            "locale": "de",
            "platform": "Web",
            "library": {"name": "amplitude-ts", "version": "2.48.1"},
            "app": {"version": "3.1"},
            "os": {"name": "iOS", "version": 17},
            "device": {
                "brand": "Apple",
                "manufacturer": "Apple",
                "model": "iPhone",
                "id": "v",
                "advertisingId": "ad",
            },
            "network": {"carrier": "T"},
            "location": {"country": "DE", "city": "Köln", "latitude": 50.9, "longitude": 6.9},
        },
    }


@pytest.mark.parametrize(
    ("said", "properties"),
    [
        ({}, {}),
        (None, {}),
        ({"plan": "pro"}, {"$set": {"plan": "pro"}}),
        ({"price": "$5"}, {"$set": {"price": "$5"}}),
        ({"$set": {"a": 1}}, {"$set": {"a": 1}}),
        ({"$setOnce": {"a": 1}}, {"$set_once": {"a": 1}}),
        ({"$set": {"a": 1}, "a": 2, "b": 3}, {"$set": {"a": 1, "b": 3}}),
        (
            {"$set": {"a": 1}, "$add": {"n": 1}, "$unset": {"b": "-"}},
            {"$set": {"a": 1}, "$operations": {"$add": {"n": 1}, "$unset": {"b": "-"}}},
        ),
        ({"$clearAll": "-"}, {"$operations": {"$clearAll": "-"}}),
        ({"$mine": 1}, {"$set": {"$mine": 1}}),
    ],
)
@pytest.mark.parametrize("name", ["$identify", "seen"])
def test_what_is_said_of_a_person_is_set(name: str, said: Any, properties: dict[str, Any]) -> None:
    one = only(parsed({"events": [event(event_type=name, user_properties=said)]}))

    assert (one.event, json.loads(bytes(one.properties))) == (name, properties)


def test_an_operation_may_be_written_with_escapes() -> None:
    body = rb'{"events":[{"event_type":"e","user_id":"u","user_properties":{"\u0024set":{"a":1}}}]}'

    one = only(Amplitude().parse(request(PATH, body)))

    assert json.loads(bytes(one.properties)) == {"$set": {"a": 1}}


def test_an_events_own_properties_come_before_what_is_put_there() -> None:
    own = {"$price": 1, "$set": "own"}
    sent = event(event_properties=own, price=2, user_properties={"a": 1})
    one = only(parsed({"events": [sent]}))

    assert json.loads(bytes(one.properties)) == own


def test_a_group_is_named_and_told_of(ingest: Ingest) -> None:
    said = {"$set": {"seats": 5}, "$setOnce": {"since": 2026}, "$add": {"n": 1}}
    one, many, nobodys, seen = send(
        ingest,
        event(event_type="$groupidentify", groups={"company": "acme"}, group_properties=said),
        event(event_type="$groupidentify", groups={"company": ["a", "b"]}),
        event(
            event_type="$groupidentify",
            user_id=None,
            groups={"team": [7]},
            group_properties={"seats": 1},
        ),
        event(groups={"company": "acme"}, group_properties={"seats": 6}),
    )

    assert one["event"] == many["event"] == nobodys["event"] == "$group"
    assert one["distinct_id"] == "u1"
    assert one["properties"] == {
        "$group_type": "company",
        "$group_id": "acme",
        "$groups": {"company": "acme"},
        "$group_set": {"seats": 5},
        "$group_set_once": {"since": 2026},
        "$group_operations": {"$add": {"n": 1}},
    }
    assert many["properties"] == {"$groups": {"company": ["a", "b"]}}
    assert nobodys["distinct_id"] == "$team_7"
    assert nobodys["properties"]["$group_id"] == "7"
    assert seen["event"] == "seen"
    assert seen["properties"] == {"$groups": {"company": "acme"}, "$group_set": {"seats": 6}}


def test_the_person_is_the_user_else_the_device(ingest: Ingest) -> None:
    events = send(
        ingest,
        event(user_id="u", device_id="d"),
        event(user_id=None, device_id="d"),
        event(user_id="", device_id="d"),
        event(user_id=42, device_id=7.0),
    )

    people = [(one["distinct_id"], one["anonymous_id"]) for one in events]
    assert people == [("u", "d"), ("d", "d"), ("d", "d"), ("42", "7")]


def test_minus_one_is_no_session(ingest: Ingest) -> None:
    given = [-1, -1.0, "-1", None, 0, 17, "s"]
    events = send(ingest, *(event(session_id=one) for one in given))

    assert [one["session_id"] for one in events] == [None, None, None, None, "0", "17", "s"]


def test_the_remote_one_is_who_calls(ingest: Ingest) -> None:
    agent = {"User-Agent": "Mozilla"}
    remote, known, other, none = send(
        ingest,
        event(ip="$remote"),
        event(ip="$remote", user_agent="given"),
        event(ip="1.2.3.4", library="mine"),
        event(),
        **agent,
    )

    assert remote["context"] == {"ip": "127.0.0.1", "userAgent": "Mozilla"}
    assert known["context"] == {"ip": "127.0.0.1", "userAgent": "given"}
    assert other["context"] == {"ip": "1.2.3.4", "library": {"name": "mine"}}
    assert none["context"] == {}


def test_an_event_sent_again_is_the_same_event(ingest: Ingest) -> None:
    for insert_id in ("order-88231-completed", 17):
        sent = {"api_key": KEY, "events": [event(insert_id=insert_id)]}
        for _ in range(2):
            assert ingest.http.post(PATH, json=sent).status_code == 200

    ids = [one["event_id"] for one in ingest.inbox()]
    assert len(ids) == 4
    assert len(set(ids)) == 2
    assert {uuid.UUID(one).version for one in ids} == {5}


def test_an_insert_id_is_unique_only_within_its_device(ingest: Ingest) -> None:
    name = str(uuid.uuid4())
    senders: list[dict[str, Any]] = [
        {"user_id": "u1", "device_id": "d1"},
        {"user_id": "u1", "device_id": "d2"},
        {"user_id": None, "device_id": "d3"},
        {"user_id": "u4"},
        {"user_id": "u5"},
    ]
    for _ in range(2):
        events = [event(insert_id=name, **sender) for sender in senders]
        assert ingest.http.post(PATH, json={"api_key": KEY, "events": events}).status_code == 200

    ids = [one["event_id"] for one in ingest.inbox()]
    assert (len(ids), len(set(ids))) == (10, 5)
    assert name not in ids


BAD: list[tuple[Any, str, str]] = [
    (event(event_type=None), "missing", "event_type"),
    (event(user_id=None), "missing", "user_id"),
    (event(event_type="$groupidentify", user_id=None), "missing", "user_id"),
    (event(event_type=7), "invalid", "event_type"),
    (event(event_type=""), "invalid", "event_type"),
    (event(event_type="x" * 201), "invalid", "event_type"),
    (event(user_id=["u"]), "invalid", "user_id"),
    (event(user_id="x" * 201), "invalid", "user_id"),
    (event(insert_id="x" * 101), "invalid", "insert_id"),
    (event(time="yesterday"), "invalid", "time"),
    (event(session_id={}), "invalid", "session_id"),
    (event(event_properties=[1]), "invalid", "event_properties"),
    (event(user_properties="plan"), "invalid", "user_properties"),
    (event(user_properties={"$set": 1}), "invalid", "user_properties.$set"),
    (event(user_properties={"$setOnce": [1]}), "invalid", "user_properties.$setOnce"),
    (event(group_properties=7), "invalid", "group_properties"),
    (event(groups=["company"]), "invalid", "groups"),
    (event(city={}), "invalid", "city"),
    ("not an object", "invalid", "events"),
]


def test_good_events_are_taken_and_bad_ones_named(ingest: Ingest) -> None:
    good = event()

    answer = ingest.http.post(
        PATH,
        json={
            "api_key": KEY,
            "events": [good, *(broken for broken, _, _ in BAD)],
            "client_upload_time": [],
        },
    )

    told = answer.json()
    assert answer.status_code == told["code"] == 200
    assert told["events_ingested"] == 1
    assert [drop["index"] for drop in told["dropped"]] == list(range(1, len(BAD) + 1))
    for drop, (broken, _, _) in zip(told["dropped"], BAD, strict=True):
        if isinstance(broken, dict):
            assert drop["id"] == broken["insert_id"]
    assert set(stored(ingest)) == {id_of(good)}


def test_nothing_taken_is_a_400_that_lists_every_event(ingest: Ingest) -> None:
    body = {"api_key": KEY, "events": [broken for broken, _, _ in BAD]}

    answer = ingest.http.post(PATH, json=body)

    told = answer.json()
    assert answer.status_code == told["code"] == 400
    assert told["error"].startswith("no event was taken: event_type: is missing")
    assert "missing_field" not in told
    expected: dict[str, dict[str, list[int]]] = {"missing": {}, "invalid": {}}
    for place, (_, kind, field) in enumerate(BAD):
        expected[kind].setdefault(field, []).append(place)
    assert told["events_with_missing_fields"] == expected["missing"]
    assert told["events_with_invalid_fields"] == expected["invalid"]
    assert not ingest.inbox()


def test_a_text_that_is_not_utf8_harms_no_other(ingest: Ingest) -> None:
    good = json.dumps(event()).encode()
    bad = good.replace(b'"seen"', b'"\xff"')
    named = good.replace(b"{", b'{"user_properties":{"$set":{},"\xff":1},', 1)

    events = b",".join((good, bad, named))
    answer = ingest.http.post(PATH, content=b'{"events":[%b]}' % events)

    assert [drop["index"] for drop in answer.json()["dropped"]] == [1, 2]
    assert len(ingest.inbox()) == 1


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        (b"", None),
        (b"{", None),
        (b"null", None),
        (b"[]", None),
        (b"{}", "events"),
        (b'{"event":{}}', "events"),
        (b'{"events":7}', None),
        (b'{"events":[1', None),
        (b"\xff\xfe", None),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    shared: Ingest, body: bytes, missing: str | None
) -> None:
    answer = shared.http.post(PATH, content=body)

    told = answer.json()
    assert answer.status_code == told["code"] == 400
    assert told["error"]
    assert told.get("missing_field") == missing


def test_a_page_may_send_it_compressed_or_by_beacon(ingest: Ingest) -> None:
    first, second = (json.dumps({"api_key": KEY, "events": [event()]}).encode() for _ in range(2))
    for content, headers in [
        (gzip.compress(first), {"Content-Encoding": "gzip", "Content-Type": "application/json"}),
        (second, {"Content-Type": "text/plain;charset=UTF-8"}),
    ]:
        assert ingest.http.post(PATH, content=content, headers=headers).status_code == 200

    assert len(ingest.inbox()) == 2


def test_a_wrong_key_is_said_as_sdks_know_it(shared: Ingest) -> None:
    for key in ("wrong", "", None):
        body = {"api_key": key, "events": [event()]}
        answer = shared.http.post(PATH, json=body, headers={"Authorization": ""})
        told = answer.json()
        assert answer.status_code == told["code"] == 400
        assert told["error"].startswith("Invalid API key: ")


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize(
    ("in_body", "authorization", "key"),
    [
        ("k", b"Bearer other", "k"),
        (None, b"Bearer k", "k"),
        ("", b"Basic azo=", "k"),
        (None, b"", ""),
    ],
)
def test_the_key_is_found(
    in_body: str | None, authorization: bytes, key: str, careful: bool
) -> None:
    body = {"api_key": in_body, "events": [event(event_type=7 if careful else "seen")]}

    assert parsed(body, {b"authorization": authorization}).key == key


def test_one_event_to_retry_makes_the_sdk_send_all_of_it_again() -> None:
    results = [
        EventResult("1", "ok"),
        EventResult("2", "drop", "no"),
        EventResult("3", "retry", "late"),
    ]

    answer = Amplitude().answer(Batch(events=[]), results, 2)

    assert (answer.status, answer.retry_after_s) == (503, 2)
    assert json.loads(answer.body)["code"] == 503


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unauthorized("no such key"), 400),
        (Forbidden("not from there"), 400),
        (InvalidRequest("is wrong", "events"), 400),
        (TooLarge("too much", "max_events", 10_000), 413),
        (OverLimit("slower", 3), 429),
        (BackOff("busy", 3), 503),
    ],
)
def test_the_code_is_the_status(error: Any, code: int) -> None:
    refused = Amplitude().refuse(error)

    assert refused.status == code
    told = json.loads(refused.body)
    assert set(told) == {"code", "error"}
    assert told["code"] == code
    assert told["error"].startswith("Invalid API key: ") is isinstance(error, Unauthorized)


def test_the_clock_is_the_doors() -> None:
    answer = Amplitude(lambda: 17).answer(Batch(events=[]), [], 1)

    assert json.loads(answer.body) == {
        "code": 200,
        "events_ingested": 0,
        "payload_size_bytes": 0,
        "server_upload_time": 17,
    }


def only(batch: Batch) -> Event:
    [one] = batch.events
    assert isinstance(one, Event)
    return one


def parsed(body: dict[str, Any], headers: dict[bytes, bytes] | None = None) -> Batch:
    return Amplitude().parse(request(PATH, json.dumps(body).encode(), headers=headers))
