"""PostHog's events in every wrapping and by every path, and the outcomes of its newer format."""

import base64
import gzip
import json
import time
import uuid
import zlib
from typing import Any
from urllib.parse import quote

import pytest
import zstandard

from schemas.errors import Unauthorized
from services.ingest.events import Batch, Event, EventResult
from services.ingest.formats.posthog import PostHog
from services.ingest.formats.posthog_v1 import PostHogV1
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest
from tests.services.ingest.requests import request

V1 = "/i/v1/analytics/events"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def event(**fields: Any) -> dict[str, Any]:
    return {
        "event": "$pageview",
        "distinct_id": "u1",
        "uuid": str(uuid.uuid4()),
        "properties": {"$lib": "web", "$lib_version": "1.2"},
    } | fields


def stored(ingest: Ingest) -> dict[str, dict[str, Any]]:
    """Return the events on the inbox by `uuid`, with JSON decoded."""
    events = ingest.inbox()
    for one in events:
        one["properties"] = json.loads(one["properties"])
        one["context"] = json.loads(one["context"])
    return {one["event_id"]: one for one in events}


def to_base64(body: bytes) -> bytes:
    return base64.b64encode(body)


def to_form(body: bytes) -> bytes:
    return b"ver=1&data=" + quote(body, safe="").encode() + b"&compression=base64"


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    "path", ["/batch", "/capture", "/track", "/engage", "/e", "/i/v0/e", "/i/v0/ai/batch"]
)
def test_each_path_takes_each_shape_of_body(shared: Ingest, path: str, slash: str) -> None:
    for body in (
        {"api_key": KEY, "batch": [event(), event()]},
        [event(), event()],
        event(properties={"batch": []}),
        event(batch_of=1, properties={"a": '"batch"'}),
    ):
        answer = shared.http.post(path + slash, json=body)
        assert (answer.status_code, answer.json()) == (200, {"status": "Ok"})


@pytest.mark.parametrize(
    ("wrap", "headers", "query"),
    [
        (bytes, {}, ""),
        (bytes, FORM, ""),
        (gzip.compress, {}, "?compression=gzip-js"),
        (gzip.compress, {"Content-Type": "text/plain"}, ""),
        (gzip.compress, {"Content-Encoding": "gzip"}, ""),
        (zlib.compress, {"Content-Encoding": "deflate"}, ""),
        (zstandard.compress, {"Content-Encoding": "zstd"}, ""),
        (lambda body: gzip.compress(gzip.compress(body)), {"Content-Encoding": "gzip"}, ""),
        (to_base64, {}, "?compression=base64"),
        (lambda body: to_base64(gzip.compress(body)), {}, ""),
        (to_form, FORM, "?compression=base64"),
        (lambda body: to_form(to_base64(body)), FORM, "?compression=base64"),
        (lambda body: b"data=" + to_base64(body), {}, ""),
        (lambda body: to_form(to_base64(gzip.compress(body))), FORM, ""),
    ],
)
def test_each_wrapping_is_taken_off(
    ingest: Ingest, wrap: Any, headers: dict[str, str], query: str
) -> None:
    large = "".join(f"Grüße + {number} % 🎁" for number in range(9_000))
    events = [event(properties={"für": large}), event()]

    answer = ingest.http.post(
        f"/e/{query}",
        content=wrap(json.dumps(events, ensure_ascii=False).encode()),
        headers=headers,
    )

    assert answer.status_code == 200, answer.text
    taken = stored(ingest)
    assert taken.keys() == {one["uuid"] for one in events}
    assert taken[events[0]["uuid"]]["properties"] == events[0]["properties"]


def test_an_event_comes_in_the_address(ingest: Ingest) -> None:
    events = [event() for _ in range(2)]
    data = to_base64(json.dumps(events[0]).encode()).decode()
    for query in ({"data": data}, {"data": json.dumps(events[1])}):
        assert ingest.http.get("/e/", params=query).status_code == 200

    assert stored(ingest).keys() == {one["uuid"] for one in events}
    assert ingest.http.get("/e/").status_code == 400


def test_every_field_stands_where_the_table_says(ingest: Ingest) -> None:
    sent = event(
        timestamp="2026-03-01T12:00:00.250Z",
        properties={
            "$lib": "web",
            "$lib_version": "1.2",
            "$session_id": "s1",
            "$device_id": "d1",
            "$set": {"of": "properties"},
        },
    )
    sent["$set"] = {"of": "event"}
    sent["$set_once"] = {"first": 1}

    ingest.http.post(
        "/batch/",
        json={"api_key": KEY, "batch": [sent], "sent_at": "2026-03-01T12:00:01Z"},
        headers={"User-Agent": "Mozilla"},
    )

    one = stored(ingest)[sent["uuid"]]
    assert one.pop("received_at") > 1_772_359_201_000
    assert one == {
        "event_id": sent["uuid"],
        "project_id": "default",
        "distinct_id": "u1",
        "person_id": "",
        "anonymous_id": "d1",
        "session_id": "s1",
        "event": "$pageview",
        "timestamp": 1_772_366_400_250,
        "sent_at": 1_772_366_401_000,
        "properties": sent["properties"] | {"$set_once": {"first": 1}},
        "context": {
            "ip": "127.0.0.1",
            "userAgent": "Mozilla",
            "library": {"name": "web", "version": "1.2"},
        },
    }


def test_the_person_is_found_in_each_place_and_is_text(ingest: Ingest) -> None:
    people: list[tuple[dict[str, Any], str]] = [
        ({"distinct_id": 23}, "23"),
        ({"distinct_id": 23.4}, "23.4"),
        ({"distinct_id": ["a", "b"]}, '["a","b"]'),
        ({"distinct_id": None, "$distinct_id": "x"}, "x"),
        ({"distinct_id": "", "properties": {"distinct_id": "y"}}, "y"),
        ({"distinct_id": "top", "properties": {"distinct_id": "y"}}, "top"),
        ({"event": "$identify", "properties": {"$anon_distinct_id": "before"}}, "u1"),
    ]
    events = [event(**fields) for fields, _ in people]

    assert ingest.http.post("/e/", json=events).json() == {"status": "Ok"}

    taken = stored(ingest)
    assert [taken[one["uuid"]]["distinct_id"] for one in events] == [who for _, who in people]
    assert taken[events[-1]["uuid"]]["anonymous_id"] == "before"


def test_an_offset_counts_back_from_the_arrival(ingest: Ingest) -> None:
    sent = event(offset=60_000)

    ingest.http.post("/e/?_=1700000000000", json=sent)

    one = stored(ingest)[sent["uuid"]]
    assert one["sent_at"] == one["received_at"]
    assert one["timestamp"] == one["received_at"] - 60_000


def test_when_it_was_sent_stands_in_the_body_else_in_the_address(ingest: Ingest) -> None:
    by_query, by_name, by_body, by_event, uncorrected, old = (
        event(timestamp="2026-03-01T12:00:00Z") for _ in range(6)
    )
    by_event["sent_at"] = "1970-01-01T00:00:03Z"
    uncorrected["properties"] = {"$ignore_sent_at": True}
    ingest.http.post("/e/?_=1700000000001", json=[by_query, by_event, uncorrected])
    ingest.http.post("/e/?sent_at=1700000000002&_=x", json=by_name)
    ingest.http.post("/e/?_=1700000000", json=old)
    body = {"batch": [by_body], "sent_at": "1970-01-01T00:00:01Z"}
    ingest.http.post("/batch/?_=1700000000001", json=body)

    taken = stored(ingest)
    assert [
        taken[one["uuid"]]["sent_at"]
        for one in (by_query, by_name, by_body, by_event, uncorrected, old)
    ] == [1_700_000_000_001, 1_700_000_000_002, 1_000, 3_000, None, None]


def test_the_address_can_keep_the_ip_out(ingest: Ingest) -> None:
    sent = event()

    ingest.http.post("/e/?ip=0", json=sent)

    assert "ip" not in stored(ingest)[sent["uuid"]]["context"]


def test_an_engagement_without_a_name_identifies(ingest: Ingest) -> None:
    sent = event()
    del sent["event"]

    assert ingest.http.post("/engage/", json=sent).status_code == 200
    assert ingest.http.post("/e/", json=sent).status_code == 400

    assert stored(ingest)[sent["uuid"]]["event"] == "$identify"


@pytest.mark.parametrize("path", ["/e/", V1])
def test_good_events_are_taken_and_bad_ones_named(ingest: Ingest, path: str) -> None:
    good = event()
    bad: list[dict[str, Any]] = [
        event(event=7),
        event(event=""),
        event(event="x" * 201),
        event(distinct_id=None),
        event(properties=[1]),
        event(timestamp="yesterday"),
        event(timestamp={}),
    ]

    answer = ingest.http.post(path, json={"api_key": KEY, "batch": [good, *bad]})

    assert answer.status_code == 200, answer.text
    if path == V1:
        results = answer.json()["results"]
        assert results.pop(good["uuid"]) == {"result": "ok"}
        assert results.keys() == {one["uuid"] for one in bad}
        assert all(one["result"] == "drop" and one["details"] for one in results.values())
    else:
        drops = answer.json()["dropped"]
        assert [one["id"] for one in drops] == [one["uuid"] for one in bad]
        assert all(one["message"] for one in drops)
    assert stored(ingest).keys() == {good["uuid"]}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"7", b"{}", b'{"batch":7}', b"[1", b"\xff\xfe", b"\x1f\x8b\x08"]
)
@pytest.mark.parametrize("path", ["/e/", V1])
def test_a_body_that_cannot_be_read_is_refused(shared: Ingest, path: str, body: bytes) -> None:
    answer = shared.http.post(path, content=body)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error_description" if path == V1 else "detail"]


def test_a_hidden_bomb_is_not_unpacked(shared: Ingest) -> None:
    bomb = gzip.compress(b"[" + b" " * 9_000_000 + b"]")
    for body in (bomb, to_base64(bomb), to_form(to_base64(bomb)), gzip.compress(bomb)):
        answer = shared.http.post("/e/", content=body, headers=FORM)
        assert answer.status_code == 413, answer.text
        assert "max_compression_ratio" in answer.json()["detail"]


def test_an_old_compression_is_refused_by_its_name(shared: Ingest) -> None:
    answer = shared.http.post("/e/?compression=lz64", content=b"whatever")

    assert answer.status_code == 415
    assert "lz64" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/e/", V1])
def test_a_secret_key_is_refused(shared: Ingest, path: str) -> None:
    answer = shared.http.post(
        path,
        json={"api_key": "phx_secret", "batch": [event()]},
        headers={"Authorization": "Bearer phx_secret"},
    )

    assert answer.status_code == 401
    assert "secret" in answer.text


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"api_key": "k", "batch": [event(token="other")]}, "k"),
        ({"token": "k", "batch": [event()]}, "k"),
        ({"batch": [event(api_key="k"), event()]}, "k"),
        ([event(token="k"), event(token="k")], "k"),
        ([event(), event(properties={"token": "k"})], "k"),
        (event(**{"$token": "k"}), "k"),
        (event(), ""),
        ({"api_key": "k", "batch": [event(), 7]}, "k"),
        ({"token": "k", "batch": [event(), 7]}, "k"),
        ([event(token="k"), 7], "k"),
    ],
)
def test_the_key_is_found(body: Any, key: str) -> None:
    assert PostHog().parse(request("/e/", json.dumps(body).encode())).key == key


def test_events_of_two_projects_do_not_come_together() -> None:
    body = json.dumps([event(token="a"), event(token="b")]).encode()

    with pytest.raises(Unauthorized):
        PostHog().parse(request("/e/", body))


def test_an_event_sent_again_is_the_same_event(ingest: Ingest) -> None:
    sent = event(uuid="not-a-uuid")
    for _ in range(2):
        assert ingest.http.post("/e/", json=sent).status_code == 200

    first, again = ingest.inbox()
    assert first["event_id"] == again["event_id"]
    assert uuid.UUID(first["event_id"]).version == 5


def test_one_event_to_retry_makes_the_sdk_send_all_of_it_again() -> None:
    answer = PostHog().answer(
        Batch(events=[]), [EventResult("1", "ok"), EventResult("2", "retry", "late")], 2
    )

    assert (answer.status, answer.retry_after_s) == (503, 2)
    assert json.loads(answer.body)["type"] == "server_error"


def test_v1_has_what_v0_has_where_v0_has_it(ingest: Ingest) -> None:
    plain, full = event(timestamp="2026-03-01T12:00:00Z"), event()
    full |= {
        "timestamp": "2026-03-01T12:00:00.250Z",
        "session_id": "s1",
        "window_id": "w1",
        "options": {"process_person_profile": False, "disable_skew_correction": True, "new": 1},
        "properties": {"a": 1, "$device_id": "d1"},
    }

    answer = ingest.http.post(
        V1,
        json={"created_at": "x", "batch": [plain, full]},
        headers={
            "Authorization": f"Bearer {KEY}",
            "PostHog-Sdk-Info": "posthog-python/7.9",
            "PostHog-Request-Timestamp": "1970-01-01T00:00:01Z",
        },
    )

    assert answer.json() == {
        "results": {plain["uuid"]: {"result": "ok"}, full["uuid"]: {"result": "ok"}}
    }
    assert "retry-after" not in answer.headers
    taken = stored(ingest)
    one = taken[full["uuid"]]
    assert one["properties"] == {
        "a": 1,
        "$device_id": "d1",
        "$lib": "posthog-python",
        "$lib_version": "7.9",
        "$session_id": "s1",
        "$window_id": "w1",
        "$process_person_profile": False,
        "$ignore_sent_at": True,
    }
    assert one["context"]["library"] == {"name": "posthog-python", "version": "7.9"}
    assert (one["session_id"], one["anonymous_id"], one["sent_at"]) == ("s1", "d1", None)
    assert one["timestamp"] == 1_772_366_400_250
    assert taken[plain["uuid"]]["sent_at"] == 1_000


def test_v1_answers_under_the_ids_as_they_were_sent(shared: Ingest) -> None:
    ids = [str(uuid.uuid4()).upper(), "not-a-uuid", uuid.uuid4().hex]

    answer = shared.http.post(V1, json={"batch": [event(uuid=one) for one in ids]})

    assert list(answer.json()["results"]) == ids


def test_v1_tells_which_events_to_send_again() -> None:
    events = [Event(event="e", distinct_id="d", event_id=name) for name in ("a", "b")]
    results = [EventResult("a", "ok"), EventResult("b", "retry", "late")]

    answer = PostHogV1().answer(Batch(events=events), results, 1)

    assert (answer.status, answer.retry_after_s) == (200, 1)
    assert json.loads(answer.body)["results"] == {
        "a": {"result": "ok"},
        "b": {"result": "retry", "details": "late"},
    }


@pytest.mark.parametrize("broken", [{"uuid": ""}, {"uuid": None}, {"uuid": 7}])
def test_v1_refuses_what_it_could_not_answer(shared: Ingest, broken: dict[str, Any]) -> None:
    answer = shared.http.post(V1, json={"batch": [event(), event(**broken)]})

    assert answer.status_code == 400
    assert "batch[1].uuid" in answer.json()["error_description"]


def test_the_clock_is_the_doors() -> None:
    before = time.time_ns() // 1_000_000
    [one] = (
        PostHog(lambda: 100)
        .parse(request("/e/", b'{"event":"e","distinct_id":"d","offset":1}'))
        .events
    )
    [two] = PostHog().parse(request("/e/", b'{"event":"e","distinct_id":"d","offset":0}')).events

    assert isinstance(one, Event)
    assert isinstance(two, Event)
    assert (one.timestamp, one.sent_at) == (99, 100)
    assert isinstance(two.timestamp, int)
    assert two.timestamp >= before
