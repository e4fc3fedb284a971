"""Whatever arrives is answered on purpose: never with a 500, and with one result an event."""

import gzip
import json
from typing import Any

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from services.ingest.check import arrive, check
from services.ingest.doors import Request
from services.ingest.doors.native import Native
from services.ingest.events import Unreadable
from services.ingest.limits import Limits
from tests.services.ingest.conftest import UNHURRIED, Ingest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)
FIELDS = ["event", "distinct_id", "event_id", "timestamp", "sent_at", "properties", "project_id"]
EVENTS = st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), JSON, max_size=8)
ALMOST = st.builds(lambda rest: {"event": "e", "distinct_id": "d"} | rest, EVENTS)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    tree: Any = draw(JSON | EVENTS | st.lists(EVENTS | ALMOST, max_size=4))
    if draw(st.booleans()):
        tree = {"events": tree}
    body = bytearray(json.dumps(tree, ensure_ascii=False).encode(errors="surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        if body:
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body)


BODIES = st.binary(max_size=200) | bodies()
TYPES = st.sampled_from(["application/json", "application/x-ndjson", "", "text/plain"])


def request(body: bytes, content_type: str) -> Request:
    return Request(
        method="POST",
        path="/v1/events",
        query=b"",
        headers={},
        content_type=content_type,
        body=body,
        client_ip="127.0.0.1",
    )


@settings(UNHURRIED, max_examples=200)
@given(body=BODIES, content_type=TYPES)
def test_any_bytes_are_read_or_refused(body: bytes, content_type: str) -> None:
    try:
        batch = Native().parse(request(body, content_type))
    except InvalidRequest:
        return
    arrival = arrive(batch.project_id or "default", batch.sent_at, 0)
    for place, event in enumerate(batch.events):
        if not isinstance(event, Unreadable):
            try:
                row = check(event, arrival, batch.notes.get(place, ""), Limits())
            except InvalidRequest:
                continue
            assert isinstance(json.loads(row.properties), dict)


@settings(UNHURRIED, max_examples=40)
@given(
    body=BODIES,
    content_type=TYPES | st.just("image/png"),
    encoding=st.sampled_from(["", "gzip", "zstd", "really gzip", "really zstd"]),
)
def test_no_request_is_answered_with_a_500(
    shared: Ingest, body: bytes, content_type: str, encoding: str
) -> None:
    if encoding.startswith("really"):
        encoding = encoding.removeprefix("really ")
        body = gzip.compress(body) if encoding == "gzip" else zstandard.compress(body)

    answer = shared.post(
        content=body, headers={"Content-Type": content_type, "Content-Encoding": encoding}
    )

    assert answer.status_code in {200, 400, 415}, answer.text
    if answer.status_code == 200:
        assert {result["result"] for result in answer.json()["results"]} <= {
            "ok",
            "warning",
            "drop",
        }
    else:
        assert answer.json()["error"]["message"]
