"""Paths as SDKs write them, safe methods, and a log line for every path that does not exist."""

from collections.abc import Callable
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from schemas.settings import read_settings
from services.ingest.app import FORMATS
from services.ingest.formats import EventFormat
from services.ingest.paths import canonical_path
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest, eventually
from tests.services.ingest.test_native import event

SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "a closing slash": lambda path: f"{path}/",
    "a doubled slash first": lambda path: f"/{path}",
    "doubled slashes everywhere": lambda path: path.replace("/", "//") + "//",
}
PATHS = [(one, path) for one in FORMATS for path in one.paths]
# Without events each format answers something else; none of it says that the path is not there.
ELSEWHERE = ["/", "/health", "/healthz", "/readyz", "/metrics"]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("event_format", "path"), PATHS, ids=lambda it: getattr(it, "name", it))
def test_each_format_is_found_at_each_spelling_of_its_paths(
    shared: Ingest, event_format: EventFormat, path: str, spelling: str
) -> None:
    address = shared.http.base_url.copy_with(raw_path=SPELLINGS[spelling](path).encode())
    for method in event_format.methods:
        usual = shared.http.request(method, path, content=b"{}")
        answer = shared.http.request(method, address, content=b"{}")
        assert answer.status_code == usual.status_code != 404
        assert "nothing at" not in answer.text


def test_events_are_taken_at_a_path_with_more_slashes(ingest: Ingest) -> None:
    track = {"event": "Seen", "userId": "u1"}
    for path, body in [
        ("/v1/events/", event()),
        ("/v1/track/", track),
        ("/v1/import/", {"batch": [track | {"type": "track"}]}),
        ("/engage//", {"distinct_id": "u1", "$set": {"a": 1}}),
    ]:
        address = ingest.http.base_url.copy_with(raw_path=f"/{path}".encode())
        assert ingest.http.post(address, json=body).status_code == 200

    names = sorted(stored["event"] for stored in ingest.inbox())
    assert names == ["$identify", "Seen", "Seen", "view"]


@given(st.text("/ab", max_size=12).map("/{}".format))
def test_a_canonical_path_has_single_slashes_and_its_own_names(path: str) -> None:
    canonical = canonical_path(path)

    assert canonical.startswith("/")
    assert "//" not in canonical
    assert canonical == "/" or not canonical.endswith("/")
    assert list(filter(None, canonical.split("/"))) == list(filter(None, path.split("/")))
    assert canonical_path(canonical) == canonical


@pytest.mark.parametrize("path", ELSEWHERE)
def test_get_head_and_options_answer_beside_the_formats(shared: Ingest, path: str) -> None:
    for spelling in (path, f"{path}/", f"{path}//"):
        got = shared.http.get(spelling)
        head = shared.http.head(spelling)
        options = shared.http.options(spelling)
        assert (got.status_code, head.status_code, options.status_code) == (200, 200, 204)
        assert (head.content, head.headers["Content-Type"]) == (b"", got.headers["Content-Type"])
        assert options.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_the_index_lists_every_path(shared: Ingest) -> None:
    text = shared.http.get("/").text

    assert all(path in text for _, path in PATHS)


def test_a_head_request_takes_no_event_where_a_get_request_does(ingest: Ingest) -> None:
    for path, query in [
        ("/i", {"e": "pv", "uid": "u1", "aid": KEY}),
        ("/e/", {"data": '{"event":"seen","distinct_id":"u1"}'}),
    ]:
        assert ingest.http.head(path, params=query).status_code == 200
        assert not ingest.inbox()
        allowed = ingest.http.options(path).headers["Allow"].split(", ")
        assert {"GET", "HEAD", "OPTIONS"} <= set(allowed)
    for path, query in [("/i", {"e": "pv", "uid": "u1", "aid": KEY})]:
        assert ingest.http.get(path, params=query).status_code == 200
    assert len(ingest.inbox()) == 1


def test_a_head_request_where_only_post_is_accepted_says_so(shared: Ingest) -> None:
    answer = shared.http.head("/v1/events")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_every_path_that_is_not_there_has_a_line_in_the_log_at_the_default_level(
    serve: Callable[..., Ingest],
) -> None:
    assert read_settings({}).access_log == "refused"
    with structlog.testing.capture_logs() as lines:
        ingest = serve()
        answer = ingest.http.post("/v1/trak?key=secret", headers={"Origin": "https://shop.example"})
        ingest.http.get("/favicon.ico")
        ingest.http.get("/" + "x" * 1_000)
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{ingest.port}/v1/x"):
            pass

        def written() -> list[Any]:
            return [line for line in lines if line["event"] == "request" and line["status"] == 404]

        eventually(lambda: len(written()) == 4)

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "/v1/trak" in answer.json()["error"]["message"]
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert refused.value.response.status_code == 404
    assert {line["path"] for line in written()} == {
        "/v1/trak",
        "/favicon.ico",
        "/" + "x" * 199,
        "/v1/x",
    }
    assert all(line["client"] == "127.0.0.1" for line in written())
    assert "secret" not in repr(written())
    assert ingest.metric('avila_ingest_requests_total{format="none",status="404"}') == 4
