"""CORS for browsers: all formats, and the requests that SDKs make first."""

import json
import re

import pytest

from services.ingest.app import FORMATS
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest

ORIGIN = "https://shop.example"
PATHS = [
    (path, method)
    for event_format in FORMATS
    for path in event_format.paths
    for method in event_format.methods
]
STUBS = [
    "/v1/projects/wk/settings",
    "/sourceConfig/",
    "/flags/",
    "/flags",
    "/decide/",
    "/array/phc_1/config",
    "/array/phc_1/config.js",
]


@pytest.mark.parametrize(("path", "method"), sorted(PATHS) + [(path, "POST") for path in STUBS])
def test_a_page_may_send_what_its_sdk_wants_to(shared: Ingest, path: str, method: str) -> None:
    wanted = "authorization,content-type,posthog-attempt,sp-anonymous,x-retry-count"

    answer = shared.http.options(
        path,
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": wanted,
        },
    )

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Allow-Headers"] == wanted
    assert method in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Max-Age"] == "86400"
    assert answer.headers["Vary"] == "origin"


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/events", "/v1/track", "/e/", "/i/v1/analytics/events", "/2/httpapi"),
        "/com.snowplowanalytics.snowplow/tp2",
    ],
)
def test_a_page_may_read_every_answer(shared: Ingest, path: str) -> None:
    for body in (b"{", b'{"batch":[],"events":[],"data":[]}'):
        answer = shared.http.post(path, content=body, headers={"Origin": ORIGIN})
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Expose-Headers"] == "retry-after"

        plain = shared.http.post(path, content=body)
        assert plain.status_code == answer.status_code
        assert not [name for name in plain.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", STUBS)
def test_a_page_may_read_what_its_sdk_loads(shared: Ingest, path: str) -> None:
    answer = shared.http.get(path, headers={"Origin": ORIGIN})

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "access-control-allow-origin" not in shared.http.get(path).headers


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_a_page_may_not_read_what_is_the_operators(shared: Ingest, path: str) -> None:
    answer = shared.http.get(path, headers={"Origin": ORIGIN})

    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_the_methods_are_told_without_an_origin_too(shared: Ingest) -> None:
    answer = shared.http.options("/e/")

    assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    assert "access-control-allow-origin" not in answer.headers


def test_a_list_of_headers_without_end_is_not_repeated(shared: Ingest) -> None:
    answer = shared.http.options(
        "/e/", headers={"Origin": ORIGIN, "Access-Control-Request-Headers": "a," * 600}
    )

    assert answer.status_code == 204
    assert "access-control-allow-headers" not in answer.headers


def test_analytics_js_is_told_to_send_where_it_asked(shared: Ingest) -> None:
    path = "/v1/projects/a%22b/settings"
    integration = shared.http.get(path).json()["integrations"]["Segment.io"]

    assert integration["apiKey"] == 'a"b'
    assert integration["apiHost"] == f"127.0.0.1:{shared.port}/v1"
    assert integration["protocol"] == "http"

    proxied = shared.http.get(path, headers={"X-Forwarded-Proto": "https", "Host": "e[.example"})
    integration = proxied.json()["integrations"]["Segment.io"]
    assert (integration["apiHost"], integration["protocol"]) == ("e[.example/v1", "https")


def test_rudderstacks_sdk_gets_a_source_it_takes_for_valid(shared: Ingest) -> None:
    source = shared.http.get("/sourceConfig/?writeKey=wk").json()["source"]

    assert (source["id"], source["enabled"], source["destinations"]) == ("wk", True, [])
    assert isinstance(source["config"], dict)


@pytest.mark.parametrize("path", ["/flags/?v=2", "/flags?v=2&config=true", "/decide/?v=3"])
def test_there_are_no_flags(shared: Ingest, path: str) -> None:
    answer = shared.http.post(path, json={"token": KEY, "distinct_id": "u"}).json()

    assert answer["flags"] == answer["featureFlags"] == {}
    assert answer["errorsWhileComputingFlags"] is False


def test_the_script_sets_what_the_config_says(shared: Ingest) -> None:
    config = shared.http.get("/array/phc_1/config").json()
    script = shared.http.get("/array/phc_1/config.js")

    assert script.headers["Content-Type"].startswith("text/javascript")
    found = re.fullmatch(r"\(window\._POSTHOG_REMOTE_CONFIG=.*\)\[(.*?)\]=(.*);\n", script.text)
    assert found
    assert json.loads(found[1]) == "phc_1"
    assert json.loads(found[2]) == {"config": config, "siteApps": []}
    assert config["sessionRecording"] is False
