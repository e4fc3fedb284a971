"""The vendors' browser SDKs in a real browser, on a page of another origin than the service's."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import HERE, stored
from tests.credentials import KEY
from tests.services.ingest.conftest import TIMEOUT_S, Ingest

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="the browser that the tests bring is for Linux on x86-64",
)


@pytest.fixture
def send(node_modules: Path, tmp_path: Path, ingest: Ingest) -> Callable[[str], None]:
    """Run `browser.cjs` with a client; it must send without an error in the page."""

    def run(client: str) -> None:
        # The browser is unpacked to where temporary files go.
        environment = os.environ | {"NODE_PATH": str(node_modules), "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            ["node", HERE / "browser.cjs", client, f"http://127.0.0.1:{ingest.port}", KEY],
            env=environment,
            capture_output=True,
            text=True,
            timeout=2 * TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return run


def by_name(ingest: Ingest) -> dict[str, dict[str, Any]]:
    events = stored(ingest)
    named = {event["event"]: event for event in events}
    assert len(named) == len(events)
    return named


def test_posthog(ingest: Ingest, send: Callable[[str], None]) -> None:
    send("posthog")

    events = by_name(ingest)
    assert set(events) == {"$pageview", "a paid", "$identify", "b seen", "$pageleave"}
    paid, seen, person = events["a paid"], events["b seen"], events["$identify"]
    assert paid["properties"]["für"] == 12.5
    assert paid["context"]["library"]["name"] == "web"
    assert (seen["distinct_id"], person["distinct_id"]) == ("u1", "u1")
    assert person["properties"]["$set"] == {"plan": "pro"}
    assert person["properties"]["$anon_distinct_id"] == paid["distinct_id"] != "u1"
    assert len({event["session_id"] for event in events.values()}) == 1


def test_segment(ingest: Ingest, send: Callable[[str], None]) -> None:
    send("segment")

    events = by_name(ingest)
    paid, seen = events["a paid"], events["b seen"]
    assert paid["properties"]["für"] == 12.5
    assert paid["context"]["library"]["name"] == "analytics.js"
    assert seen["distinct_id"] == "u1"
    assert seen["anonymous_id"] == paid["anonymous_id"] == paid["distinct_id"]
    assert events["$identify"]["properties"] == {"$set": {"plan": "pro"}}
    assert events["$pageview"]["properties"]["name"] == "home"
