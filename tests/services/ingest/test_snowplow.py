"""Snowplow's events: each kind by POST and by pixel, who they are of, and what comes back."""

import base64
import json
import uuid
from typing import Any

import pytest

from schemas.errors import BackOff, Unauthorized
from services.ingest.body import TooSlow
from services.ingest.events import Batch, Event, EventResult
from services.ingest.formats.snowplow import Snowplow, SnowplowPixel
from services.ingest.limits import TooLarge
from tests.credentials import KEY, SHOP_KEY
from tests.services.ingest.conftest import Ingest
from tests.services.ingest.requests import request
from tests.services.ingest.test_segment import basic

TP2 = "/com.snowplowanalytics.snowplow/tp2"
PAYLOAD_DATA = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
UNSTRUCT = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
CONTEXTS = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0"
CLIENT_SESSION = "iglu:com.snowplowanalytics.snowplow/client_session/jsonschema/1-0-2"
PAID = "iglu:com.acme/paid/jsonschema/1-0-0"
URL, REFERRER = "https://shop.example/für?a=b+c", "https://search.example/"


def describing(schema: str, data: Any) -> str:
    return json.dumps({"schema": schema, "data": data}, ensure_ascii=False)


def unstruct(data: Any, schema: str = PAID) -> str:
    return describing(UNSTRUCT, {"schema": schema, "data": data})


def to_base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


# An event of each kind, and what it becomes.
EVENTS: list[tuple[dict[str, str], str, dict[str, Any]]] = [
    (
        {"e": "pv", "url": URL, "page": "Für", "refr": REFERRER},
        "$pageview",
        {"url": URL, "title": "Für", "referrer": REFERRER},
    ),
    ({"e": "pv"}, "$pageview", {}),
    (
        {"e": "pp", "url": URL, "pp_mix": "0", "pp_max": "1", "pp_miy": "-2", "pp_may": "300"},
        "$page_ping",
        {"url": URL, "min_x": 0, "max_x": 1, "min_y": -2, "max_y": 300},
    ),
    ({"e": "ue", "ue_pr": unstruct({"für": 12.5})}, "paid", {"für": 12.5}),
    ({"e": "ue", "ue_px": to_base64(unstruct({"für": "?>~"}))}, "paid", {"für": "?>~"}),
    (
        {"e": "ue", "ue_pr": "", "ue_px": to_base64(unstruct({"a": 1})).rstrip("=")},
        "paid",
        {"a": 1},
    ),
    ({"e": "ue", "ue_pr": unstruct(None)}, "paid", {}),
    (
        {
            "e": "se",
            "se_ca": "shop",
            "se_ac": "added",
            "se_la": "l",
            "se_pr": "p",
            "se_va": "12.50",
        },
        "added",
        {"category": "shop", "label": "l", "property": "p", "value": 12.5},
    ),
    ({"e": "se", "se_ac": "added", "se_va": "dear"}, "added", {"value": "dear"}),
    ({"e": "se", "se_ac": "added", "se_va": "1e999"}, "added", {"value": "1e999"}),
    (
        {
            "e": "tr",
            "tr_id": "7",
            "tr_af": "web",
            "tr_tt": "20.5",
            "tr_tx": "2",
            "tr_sh": "1",
            "tr_ci": "Graz",
            "tr_st": "Steiermark",
            "tr_co": "Austria",
            "tr_cu": "EUR",
        },
        "$transaction",
        {
            "order_id": "7",
            "affiliation": "web",
            "total": 20.5,
            "tax": 2,
            "shipping": 1,
            "city": "Graz",
            "state": "Steiermark",
            "country": "Austria",
            "currency": "EUR",
        },
    ),
    (
        {
            "e": "ti",
            "ti_id": "7",
            "ti_sk": "s",
            "ti_nm": "n",
            "ti_ca": "c",
            "ti_pr": "9.9",
            "ti_qu": "2",
            "ti_cu": "EUR",
        },
        "$transaction_item",
        {
            "order_id": "7",
            "sku": "s",
            "name": "n",
            "category": "c",
            "price": 9.9,
            "quantity": 2,
            "currency": "EUR",
        },
    ),
]


def payload(**fields: Any) -> dict[str, Any]:
    return {"e": "pv", "aid": KEY, "uid": "u1", "eid": str(uuid.uuid4())} | fields


def body(*payloads: Any) -> dict[str, Any]:
    return {"schema": PAYLOAD_DATA, "data": list(payloads)}


def stored(ingest: Ingest) -> dict[str, dict[str, Any]]:
    """Return the events on the inbox by `eid`, with JSON decoded."""
    events = ingest.inbox()
    for event in events:
        event["properties"] = json.loads(event["properties"])
        event["context"] = json.loads(event["context"])
    return {event["event_id"]: event for event in events}


@pytest.mark.parametrize("way", ["post", "pixel"])
def test_each_kind_becomes_its_event(ingest: Ingest, way: str) -> None:
    payloads = [payload(**fields) for fields, _, _ in EVENTS]
    if way == "post":
        answer = ingest.http.post(TP2, json=body(*payloads))
        assert (answer.status_code, answer.text) == (200, "ok")
    else:
        for sent in payloads:
            answer = ingest.http.get("/i", params=sent)
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/gif")
            assert answer.content.startswith(b"GIF89a")

    events = stored(ingest)
    for sent, (_, name, properties) in zip(payloads, EVENTS, strict=True):
        event = events.pop(sent["eid"])
        assert (event["event"], event["properties"]) == (name, properties)
        assert event["distinct_id"] == "u1"
    assert not events


def test_every_field_stands_where_the_table_says(ingest: Ingest) -> None:
    entity = {"schema": "iglu:com.acme/user/jsonschema/1-0-0", "data": {"plan": "pro"}}
    other = {"schema": "iglu:com.acme/page/jsonschema/1-0-0", "data": {"id": 7}}
    sent = payload(
        e="ue",
        ue_pr=unstruct({"price": 9}),
        duid="d1",
        sid="s1",
        vid="3",
        dtm="1772366400250",
        stm="1772366401000",
        p="web",
        tv="js-4.8.0",
        tna="sp",
        lang="de-AT",
        tz="Europe/Vienna",
        res="1920x1080",
        cd="24",
        vp="1200x800",
        url=URL,
        page="Für",
        refr=REFERRER,
        co=describing(CONTEXTS, [entity]),
        cx=to_base64(describing(CONTEXTS, [other])),
    )

    ingest.http.post(TP2, json=body(sent), headers={"User-Agent": "Mozilla"})

    event = stored(ingest)[sent["eid"]]
    assert event.pop("received_at") > 1_772_366_401_000
    assert event == {
        "event_id": sent["eid"],
        "project_id": "default",
        "distinct_id": "u1",
        "person_id": "",
        "anonymous_id": "d1",
        "session_id": "s1",
        "event": "paid",
        "timestamp": 1_772_366_400_250,
        "sent_at": 1_772_366_401_000,
        "properties": {"price": 9},
        "context": {
            "app": {"id": KEY},
            "platform": "web",
            "locale": "de-AT",
            "timezone": "Europe/Vienna",
            "ip": "127.0.0.1",
            "userAgent": "Mozilla",
            "screen": {"width": 1920, "height": 1080, "colorDepth": 24},
            "viewport": {"width": 1200, "height": 800},
            "library": {"version": "js-4.8.0", "namespace": "sp"},
            "schema": PAID,
            "entities": [entity, other],
            "page": {"url": URL, "title": "Für", "referrer": REFERRER},
        },
    }


def test_the_person_is_the_user_else_the_browser_else_the_network(ingest: Ingest) -> None:
    people: list[tuple[dict[str, Any], str, str | None]] = [
        ({"uid": "u", "duid": "d", "tnuid": "n"}, "u", "d"),
        ({"uid": None, "duid": "d", "tnuid": "n"}, "d", "d"),
        ({"uid": "", "duid": "d"}, "d", "d"),
        ({"uid": None, "tnuid": "n", "nuid": "m"}, "n", None),
        ({"uid": None, "nuid": "m"}, "m", None),
        ({"uid": 42}, "42", None),
    ]
    payloads = [payload(**fields) for fields, _, _ in people]

    ingest.http.post(TP2, json=body(*payloads))

    events = stored(ingest)
    for sent, (_, distinct_id, anonymous_id) in zip(payloads, people, strict=True):
        event = events[sent["eid"]]
        assert (event["distinct_id"], event["anonymous_id"]) == (distinct_id, anonymous_id)


def test_an_app_names_itself_in_an_entity(ingest: Ingest) -> None:
    session = {"userId": "device", "sessionId": "s1", "sessionIndex": 3}
    # As iOS writes it, with its slashes escaped.
    entities = describing(
        CONTEXTS, [{"schema": "iglu:a/b/c/1-0-0"}, {"schema": CLIENT_SESSION, "data": session}]
    ).replace("/", "\\/")
    unknown, known = payload(uid=None, co=entities), payload(sid="s2", cx=to_base64(entities))

    ingest.http.post(TP2, json=body(unknown, known))

    events = stored(ingest)
    ids = [
        (event["distinct_id"], event["anonymous_id"], event["session_id"])
        for event in (events[unknown["eid"]], events[known["eid"]])
    ]
    assert ids == [("device", "device", "s1"), ("u1", "device", "s2")]


def test_a_true_time_is_not_corrected(ingest: Ingest) -> None:
    sent = payload(ttm="1772366400250", dtm="1772366500000", stm="1772366600000")

    ingest.http.post(TP2, json=body(sent))

    event = stored(ingest)[sent["eid"]]
    assert (event["timestamp"], event["sent_at"]) == (1_772_366_400_250, None)


def test_who_sends_for_others_says_so_and_who_is_anonymous_has_no_address(ingest: Ingest) -> None:
    relayed, anonymous = payload(ip="1.2.3.4", ua="given"), payload()

    ingest.http.post(TP2, json=body(relayed), headers={"User-Agent": "relay"})
    ingest.http.post(TP2, json=body(anonymous), headers={"SP-Anonymous": "*", "User-Agent": "own"})

    events = stored(ingest)
    context = events[relayed["eid"]]["context"]
    assert (context["ip"], context["userAgent"]) == ("1.2.3.4", "given")
    context = events[anonymous["eid"]]["context"]
    assert "ip" not in context
    assert context["userAgent"] == "own"


def test_good_events_are_taken_and_bad_ones_named(ingest: Ingest) -> None:
    good = payload()
    bad: list[tuple[Any, str]] = [
        (payload(e="nonsense"), "e"),
        (payload(e=None), "e"),
        (payload(e="se"), "se_ac"),
        (payload(e="ue"), "ue_pr"),
        (payload(e="ue", ue_pr="{"), "ue_pr"),
        (payload(e="ue", ue_px="e"), "ue_px"),
        (payload(e="ue", ue_pr=unstruct({}, "paid")), "ue_pr"),
        (payload(e="ue", ue_pr=unstruct([1])), "properties"),
        (payload(co="[]"), "co"),
        (payload(uid=None), "uid"),
        (payload(dtm="yesterday"), "timestamp"),
        (payload(dtm="9" * 5_000), "timestamp"),
        (payload(eid="x" * 101), "event_id"),
        (payload(e="se", se_ac="x" * 201), "event"),
        ("not an object", "object"),
    ]

    answer = ingest.http.post(TP2, json=body(good, *(broken for broken, _ in bad)))

    assert answer.status_code == 200
    drops = answer.json()["dropped"]
    assert [drop["index"] for drop in drops] == list(range(1, len(bad) + 1))
    for drop, (broken, word) in zip(drops, bad, strict=True):
        assert word in drop["message"]
        if isinstance(broken, dict):
            assert drop["id"] == broken["eid"]
    assert set(stored(ingest)) == {good["eid"]}


def test_what_can_never_be_taken_is_no_error_for_it_would_come_back(shared: Ingest) -> None:
    answer = shared.http.post(TP2, json=body(payload(e="se")))
    assert (answer.status_code, len(answer.json()["dropped"])) == (200, 1)

    answer = shared.http.get("/i", params=payload(e="se"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/gif")


def test_a_text_that_is_not_utf8_harms_no_other(ingest: Ingest) -> None:
    good = json.dumps(payload()).encode()
    bad = good.replace(b'"u1"', b'"\xff"')
    hidden = base64.b64encode(b'{"data":{"schema":"%b","data":{"a":"\xff"}}}' % PAID.encode())
    inside = json.dumps(payload(e="ue", ue_px=hidden.decode())).encode()

    answer = ingest.http.post(TP2, content=b'{"data":[' + b",".join((bad, good, inside)) + b"]}")

    assert [drop["index"] for drop in answer.json()["dropped"]] == [0, 2]
    assert len(ingest.inbox()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"7", b"[]", b"{}", b'{"data":7}', b'{"data":[1', b"\xff\xfe"]
)
def test_a_body_that_cannot_be_read_is_refused(shared: Ingest, content: bytes) -> None:
    answer = shared.http.post(TP2, content=content)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid"


def test_what_is_too_large_or_strange_has_a_status_that_is_not_retried(shared: Ingest) -> None:
    answer = shared.http.post(TP2, content=b" " * 11_000_000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_large")

    answer = shared.http.post(TP2, content=b"", headers={"Content-Encoding": "lzma"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_media")


def test_an_event_sent_again_is_the_same_event(ingest: Ingest) -> None:
    sent = payload()
    for stm in ("1772366401000", "1772366402000"):
        assert ingest.http.post(TP2, json=body(sent | {"stm": stm})).status_code == 200

    first, again = ingest.inbox()
    assert first["event_id"] == again["event_id"] == sent["eid"]


def test_the_app_decides_on_the_project(ingest: Ingest) -> None:
    sent = payload(aid=SHOP_KEY)
    del ingest.http.headers["Authorization"]

    assert ingest.http.post(TP2, json=body(sent)).status_code == 200
    assert ingest.http.get("/i", params=payload(aid="unknown")).status_code == 401

    assert stored(ingest)[sent["eid"]]["project_id"] == "shop"


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize(
    ("authorization", "apps", "key"),
    [
        (None, ["k"], "k"),
        (None, ["k", "k"], "k"),
        (None, ["k", None], "k"),
        (basic("k:"), ["app", "another"], "k"),
        (basic("k:"), [None], "k"),
        (basic(":"), ["k"], "k"),
        ("Bearer token", ["k"], "k"),
        ("Bearer k", [None], "k"),
        (None, [None], ""),
        (None, [], ""),
    ],
)
def test_the_key_is_found(
    careful: bool, authorization: str | None, apps: list[str | None], key: str
) -> None:
    headers = {b"authorization": authorization.encode()} if authorization else {}
    payloads = [payload(**({"aid": app} if app else {})) for app in apps]
    for sent, app in zip(payloads, apps, strict=True):
        if app is None:
            del sent["aid"]
    content = json.dumps(body(*payloads, *([7] if careful else []))).encode()

    assert Snowplow().parse(request(TP2, content, headers=headers)).key == key


def test_events_of_two_projects_do_not_come_together() -> None:
    content = json.dumps(body(payload(aid="a"), payload(aid="b"))).encode()

    with pytest.raises(Unauthorized, match="aid"):
        Snowplow().parse(request(TP2, content))


def test_a_plus_in_an_address_is_one_of_base64_too() -> None:
    coded = base64.b64encode(unstruct({"a": "~~~>>>???"}).encode()).decode()
    assert "+" in coded

    [event] = (
        SnowplowPixel()
        .parse(request("/i", b"", method="GET", query=f"e=ue&uid=u&ue_px={coded}".encode()))
        .events
    )

    assert isinstance(event, Event)
    assert json.loads(bytes(event.properties)) == {"a": "~~~>>>???"}


@pytest.mark.parametrize(
    "event_format", [Snowplow(), SnowplowPixel()], ids=lambda event_format: event_format.name
)
def test_one_event_to_retry_makes_the_tracker_send_all_of_it_again(event_format: Snowplow) -> None:
    results = [
        EventResult("1", "ok"),
        EventResult("2", "drop", "no"),
        EventResult("3", "retry", "late"),
    ]

    answer = event_format.answer(Batch(events=[]), results, 2)

    assert (answer.status, answer.retry_after_s) == (503, 2)
    assert json.loads(answer.body)["error"]["code"] == "back_off"


def test_what_may_be_taken_later_has_a_status_that_is_retried() -> None:
    event_format = Snowplow()

    assert event_format.refuse(BackOff("busy", 3)).status == 503
    assert event_format.refuse(TooSlow("slow")).status == 408
    assert event_format.refuse(TooLarge("large", "max_events", 1)).status == 400
    assert event_format.refuse(Unauthorized("no such key")).status == 401
