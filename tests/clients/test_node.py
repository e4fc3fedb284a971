"""The vendors' Node clients, unmodified: what they send stands on the inbox, and once."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import HERE, losing_one_answer, stored
from tests.credentials import KEY
from tests.services.ingest.conftest import TIMEOUT_S, Ingest

PAID_ID = "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d"
PAID_MS = 1_772_366_400_250


def send(node_modules: Path, client: str, url: str, mode: str = "v0") -> None:
    """Run `send.cjs` with a client; it must send without an error."""
    done = subprocess.run(
        ["node", HERE / "send.cjs", client, url, KEY],
        env=os.environ | {"NODE_PATH": str(node_modules), "POSTHOG_CAPTURE_MODE": mode},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mode", ["v0", "v1"])
def test_posthog(ingest: Ingest, node_modules: Path, mode: str) -> None:
    send(node_modules, "posthog", f"http://127.0.0.1:{ingest.port}", mode)

    alias, person, paid, seen = stored(ingest)
    assert paid["event_id"] == PAID_ID
    assert (paid["event"], paid["distinct_id"], paid["timestamp"]) == ("a paid", "u1", PAID_MS)
    assert paid["properties"]["für"] == 12.5
    assert paid["properties"]["$lib"] == paid["context"]["library"]["name"] == "posthog-node"
    assert (seen["event"], seen["distinct_id"], seen["session_id"]) == ("b seen", "u2", "s1")
    assert (person["event"], person["distinct_id"]) == ("$identify", "u1")
    assert person["properties"]["$set"] == {"plan": "pro"}
    assert (alias["event"], alias["properties"]["alias"]) == ("$create_alias", "old")


def test_segment(ingest: Ingest, node_modules: Path) -> None:
    send(node_modules, "segment", f"http://127.0.0.1:{ingest.port}")

    alias, group, person, page, screen, paid, seen = stored(ingest)
    assert (paid["event_id"], paid["timestamp"]) == (PAID_ID, PAID_MS)
    assert (paid["distinct_id"], paid["anonymous_id"]) == ("u1", "a1")
    assert paid["properties"] == {"für": 12.5}
    assert paid["context"]["library"]["name"] == "@segment/analytics-node"
    assert (seen["event"], seen["distinct_id"]) == ("b seen", "a2")
    assert person["properties"] == {"$set": {"plan": "pro"}}
    assert group["properties"] == {"$group_id": "g1", "$group_set": {"seats": 5}}
    assert page["properties"] == {"url": "/", "name": "home", "category": "docs"}
    assert screen["properties"] == {"name": "cart"}
    assert alias["properties"] == {"$previous_id": "old"}


@pytest.mark.parametrize("client", ["posthog", "segment"])
def test_what_is_sent_again_after_a_lost_answer_is_the_same_event(
    ingest: Ingest, node_modules: Path, client: str
) -> None:
    with losing_one_answer(ingest.port) as url:
        send(node_modules, client, url)

    ids = [event["event_id"] for event in stored(ingest)]
    assert len(ids) > len(set(ids)) == (4 if client == "posthog" else 7)
