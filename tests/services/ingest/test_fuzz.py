"""Any request gets a deliberate answer: never a 500, and one result an event."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InvalidRequest, Unauthorized
from services.ingest.app import FORMATS
from services.ingest.check import check, read_arrival
from services.ingest.encode import Encoder
from services.ingest.events import EventResult, Unreadable
from services.ingest.formats import Answer, EventFormat
from services.ingest.limits import Limits
from tests.services.ingest.conftest import UNHURRIED, Ingest
from tests.services.ingest.requests import request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)
FIELDS = [
    *("event", "distinct_id", "event_id", "timestamp", "sent_at", "properties", "project_id"),
    *("type", "userId", "anonymousId", "messageId", "traits", "context", "integrations", "groupId"),
    *("uuid", "token", "offset", "$set", "options", "session_id"),
    *("event_type", "user_id", "device_id", "insert_id", "time", "event_properties", "library"),
    *("user_properties", "groups", "group_properties", "price", "ip", "client_upload_time"),
    *("e", "aid", "eid", "uid", "dtm", "ttm", "stm", "ue_pr", "ue_px", "co", "cx", "se_va", "res"),
]
EVENTS = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), JSON, max_size=8)
GOOD = {
    "event": "e",
    "distinct_id": "d",
    "type": "track",
    "userId": "u",
    "event_type": "e",
    "user_id": "u",
    "uuid": "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d",
    "e": "se",
    "se_ac": "a",
    "uid": "u",
}
ALMOST = st.builds(lambda rest: GOOD | rest, EVENTS)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    tree: Any = draw(JSON | EVENTS | ALMOST | st.lists(EVENTS | ALMOST, max_size=4))
    if draw(st.booleans()):
        tree = draw(EVENTS) | {draw(st.sampled_from(["events", "batch", "data"])): tree}
    body = bytearray(json.dumps(tree, ensure_ascii=False).encode(errors="surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        if body:
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return draw(st.sampled_from(WRAPS))(bytes(body))


def as_form(body: bytes) -> bytes:
    return b"data=" + quote_from_bytes(body).encode() + b"&compression=base64"


WRAPS: list[Callable[[bytes], bytes]] = [bytes] * 5 + [
    gzip.compress,
    base64.b64encode,
    as_form,
    lambda body: base64.b64encode(gzip.compress(body)),
    lambda body: as_form(base64.b64encode(body)),
]
BODIES = st.binary(max_size=200) | bodies()
REALLY: dict[str, Callable[[bytes], bytes]] = {
    "really gzip": gzip.compress,
    "really zstd": zstandard.compress,
    "really deflate": zlib.compress,
}
FORM = "application/x-www-form-urlencoded"
TYPES = st.sampled_from(["application/json", "application/x-ndjson", "", "text/plain", FORM])
QUERIES = st.binary(max_size=30) | st.sampled_from(
    [
        *(b"", b"_=1700000000000&ip=0", b"sent_at=x&compression=lz64", b"writeKey=k", b"data=e30="),
        b"e=pv&uid=u&url=%2F&stm=1700000000000&cx=eyJkYXRhIjpbXX0",
        b"e=ue&uid=u&ue_pr={}&res=1x%FF",
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from([b"authorization", b"posthog-sdk-info", b"posthog-request-timestamp"]),
    st.binary(max_size=20) | st.sampled_from([b"Basic \xff", b"Basic YTo=", b"Bearer phx_1"]),
)


@settings(UNHURRIED, max_examples=200)
@pytest.mark.parametrize("event_format", FORMATS, ids=lambda event_format: event_format.name)
@given(data=st.data(), body=BODIES, content_type=TYPES, query=QUERIES, headers=HEADERS)
def test_any_bytes_are_read_or_refused(
    event_format: EventFormat,
    data: st.DataObject,
    body: bytes,
    content_type: str,
    query: bytes,
    headers: dict[bytes, bytes],
) -> None:
    asked = request(
        data.draw(st.sampled_from(event_format.paths)),
        body,
        method=data.draw(st.sampled_from(sorted(event_format.methods))),
        content_type=content_type,
        query=query,
        headers=headers,
    )
    try:
        batch = event_format.parse(asked)
    except (InvalidRequest, Unauthorized) as error:
        refused = event_format.refuse(error)
        assert refused.status in {400, 401, 413, 415}
        assert json.loads(refused.body)
        return
    arrival = read_arrival(batch.project_id or "default", batch.sent_at, 0)
    results = []
    for place, event in enumerate(batch.events):
        try:
            if isinstance(event, Unreadable):
                raise event.error
            row = check(event, arrival, batch.notes.get(place, ""), Limits())
        except InvalidRequest as error:
            results.append(EventResult(event.event_id, "drop", str(error), error.field))
            continue
        assert isinstance(json.loads(row.properties), dict)
        assert isinstance(json.loads(row.context), dict)
        Encoder(7).encode(row, 0)
        results.append(EventResult(row.event_id, "ok"))
    assert_readable(event_format.answer(batch, results, 1))


def assert_readable(answer: Answer) -> None:
    """It is JSON, but for what browsers take for an image, and a word."""
    if answer.content_type == "application/json":
        json.loads(answer.body)
    else:
        assert answer.body == b"ok" or answer.body.startswith(b"GIF89a")


DELIVERIES: dict[str, st.SearchStrategy[Any]] = {
    "data": st.data(),
    "body": BODIES,
    "content_type": TYPES | st.just("image/png"),
    "query": QUERIES,
    "encoding": st.sampled_from(["", "gzip", "zstd", "deflate", *REALLY]),
}


@settings(UNHURRIED, max_examples=40)
@pytest.mark.parametrize("event_format", FORMATS, ids=lambda event_format: event_format.name)
@given(**DELIVERIES)
def test_no_request_is_answered_with_a_500(
    shared: Ingest, event_format: EventFormat, **delivery: Any
) -> None:
    assert_answered_on_purpose(shared, event_format, **delivery)


@pytest.mark.faults
@pytest.mark.timeout(1_200)
@settings(UNHURRIED, max_examples=10_000 // len(FORMATS))
@pytest.mark.parametrize("event_format", FORMATS, ids=lambda event_format: event_format.name)
@given(**DELIVERIES)
def test_none_of_ten_thousand_requests_is_answered_with_a_500(
    shared: Ingest, event_format: EventFormat, **delivery: Any
) -> None:
    assert_answered_on_purpose(shared, event_format, **delivery)


def assert_answered_on_purpose(
    shared: Ingest,
    event_format: EventFormat,
    data: st.DataObject,
    body: bytes,
    content_type: str,
    query: bytes,
    encoding: str,
) -> None:
    if encoding in REALLY:
        body = REALLY[encoding](body)
        encoding = encoding.removeprefix("really ")

    answer = shared.http.request(
        max(event_format.methods),
        f"{data.draw(st.sampled_from(event_format.paths))}?{quote_from_bytes(query, '&=%')}",
        content=body,
        headers={"Content-Type": content_type, "Content-Encoding": encoding},
    )

    assert answer.status_code in {200, 400, 401, 415}, answer.text
    assert_readable(Answer(answer.status_code, answer.content, answer.headers["Content-Type"]))
    if event_format.name == "native" and answer.status_code == 200:
        verdicts = {result["result"] for result in answer.json()["results"]}
        assert verdicts <= {"ok", "warning", "drop"}
