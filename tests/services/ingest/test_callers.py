"""Who is said to have called: in events, and in the log, which has nothing of what they sent."""

import time
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from schemas.errors import Misconfigured
from schemas.settings import Settings, read_settings
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest, serving

FORWARDED = {"X-Forwarded-For": "198.51.100.66, 203.0.113.9"}


def ip_of_an_event(ingest: Ingest, headers: dict[str, str]) -> str:
    body = {"api_key": KEY, "event": "seen", "distinct_id": "ann", "properties": {}}
    answer = ingest.http.post("/capture/", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    (event,) = ingest.inbox()
    properties: dict[str, Any] = event
    return str(properties["context"])


def test_what_a_stranger_says_of_their_address_is_not_believed(settings: Settings) -> None:
    with serving(settings) as ingest:
        context = ip_of_an_event(ingest, FORWARDED)
    assert '"ip":"127.0.0.1"' in context


def test_a_trusted_proxy_is_believed_back_to_the_first_that_is_none(settings: Settings) -> None:
    trusting = replace(settings, trusted_proxies="127.0.0.0/8,203.0.113.9")
    with serving(trusting) as ingest:
        context = ip_of_an_event(ingest, FORWARDED)
    assert '"ip":"198.51.100.66"' in context


def test_a_proxy_that_is_trusted_hides_no_other(settings: Settings) -> None:
    trusting = replace(settings, trusted_proxies="127.0.0.1")
    with serving(trusting) as ingest:
        context = ip_of_an_event(ingest, FORWARDED)
    assert '"ip":"203.0.113.9"' in context


@pytest.mark.parametrize("proxies", ["*", "10.0.0.0/33", "proxy.example", "10.0.0.1/8"])
def test_what_is_no_network_is_refused(proxies: str) -> None:
    with pytest.raises(Misconfigured, match="AVILA_TRUSTED_PROXIES"):
        read_settings({}, trusted_proxies=proxies)


def test_the_log_has_who_asked_and_what_came_of_it_and_no_payload(settings: Settings) -> None:
    with (
        capture_logs() as lines,
        serving(replace(settings, access_log="all", trusted_proxies="127.0.0.1")) as ingest,
    ):
        events = [{"event": "secret-name", "distinct_id": "secret-person"}, {"event": 7}]
        ingest.post({"events": events}, params={"q": "secret-query"}, headers=FORWARDED)
        httpx.post(f"{ingest.http.base_url}/v1/events", content=b"secret-body")
        until = time.monotonic() + 120
        while len(written := [line for line in lines if line["event"] == "request"]) < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
    good, bad = ({key: line[key] for key in line if key != "ms"} for line in written)
    common = {"format": "native", "path": "/v1/events", "event": "request", "log_level": "info"}
    assert good == common | {"status": 200, "client": "203.0.113.9", "ok": 1, "drop": 1}
    assert bad == common | {"status": 400, "client": "127.0.0.1"}
    assert "secret" not in repr(lines)
    assert KEY not in repr(lines)
