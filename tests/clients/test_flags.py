"""PostHog's clients, unmodified, see the feature of a segment that a real worker keeps."""

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import posthog
import pytest

from schemas.flags import FlagDefinition, decode_flag
from schemas.operators.segment import SegmentDefinition, decode_segment
from schemas.settings import Settings
from services.broker import Broker
from tests.clients.conftest import HERE
from tests.conftest import HELD_PARTITIONS, deployment
from tests.credentials import KEY, put_keys
from tests.services.ingest.conftest import TIMEOUT_S, Ingest, eventually, serving
from tests.services.webhooks.publish import define
from tests.workers import WorkerProcess

HESITATING = {
    "rule": {"sequence": {"window_s": 3_600, "steps": [{"event": "cart"}, {"event": "help"}]}}
}
CHAT = {"key": "chat", "segment": "hesitating", "variants": [{"key": "large"}], "payload": {"w": 4}}
# From the acknowledged event to the flag; typically it is a tenth of this, on a machine of its own.
MAX_DELAY_S = 30.0


@pytest.fixture(scope="module")
def system(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """A worker and an ingest service, with the flag `chat` for those who ask for help."""
    with deployment(broker, tmp_path_factory.mktemp("flags")) as settings:
        put_keys(settings)
        define_both(settings)
        with WorkerProcess(settings) as worker:
            worker.await_partitions(HELD_PARTITIONS)
            with serving(settings, schema_id=schema_of(settings)) as ingest:
                yield ingest


def schema_of(settings: Settings) -> int:
    """Register the schema of events, as the service does when it starts."""
    from contextlib import closing

    from schemas.avro.files import load
    from schemas.registry.client import open_registry

    with closing(open_registry(settings)) as registry:
        return registry.register(f"{settings.topics.inbox.name}-value", load("event"))


def define_both(settings: Settings) -> None:
    now = time.time_ns() // 1_000_000
    common: dict[str, Any] = {
        "project_id": "default",
        "version": 1,
        "created_at": now,
        "updated_at": now,
    }
    segment = decode_segment(msgspec.json.encode(HESITATING))
    define(
        settings, SegmentDefinition(id="hesitating", segment=segment, rule=segment.rule, **common)
    )
    define(
        settings,
        FlagDefinition(id="chat", flag=decode_flag(msgspec.json.encode(CHAT)), **common),
    )


def send(system: Ingest, person: str, *events: str) -> None:
    """Send events of a person, one second after another; the last one is of now."""
    now = datetime.datetime.now(datetime.UTC)
    batch = [
        {
            "event": event,
            "distinct_id": person,
            "timestamp": (now - datetime.timedelta(seconds=ago)).isoformat(),
        }
        for ago, event in zip(reversed(range(len(events))), events, strict=True)
    ]
    answer = system.http.post("/batch/", json={"api_key": KEY, "batch": batch})
    assert answer.status_code == 200, answer.text


def flag_of(system: Ingest, person: str) -> Any:
    body = {"token": KEY, "distinct_id": person}
    return system.http.post("/flags/?v=2", json=body).json()["featureFlags"].get("chat")


def test_a_person_who_enters_a_segment_gets_the_flag_when_asking_next(system: Ingest) -> None:
    send(system, "ann", "cart")
    send(system, "bob", "help", "cart")
    eventually(lambda: flag_of(system, "ann") is False)
    send(system, "ann", "help")
    acknowledged = time.monotonic()
    eventually(lambda: flag_of(system, "ann") == "large")
    assert time.monotonic() - acknowledged < MAX_DELAY_S
    assert flag_of(system, "bob") is False


def test_the_python_client_sees_the_flag(system: Ingest) -> None:
    send(system, "pia", "cart", "help")
    eventually(lambda: flag_of(system, "pia") == "large")
    client = posthog.Posthog(KEY, host=f"http://127.0.0.1:{system.port}")
    try:
        assert client.get_all_flags("pia") == {"chat": "large"}
        found = client.evaluate_flags("pia")
        assert (found.get_flag("chat"), found.is_enabled("chat")) == ("large", True)
        assert found.get_flag_payload("chat") == {"w": 4}
        claimed = {"$segment": "hesitating"}
        stranger = client.evaluate_flags("stranger", person_properties=claimed)
        assert stranger.get_flag("chat") is False
    finally:
        client.shutdown()


def run(node_modules: Path, script: str, *arguments: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        ["node", HERE / script, *arguments],
        env=os.environ | {"NODE_PATH": str(node_modules)} | environment,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_node_client_sees_the_flag(system: Ingest, node_modules: Path) -> None:
    send(system, "nora", "cart", "help")
    eventually(lambda: flag_of(system, "nora") == "large")
    url = f"http://127.0.0.1:{system.port}"
    assert run(node_modules, "flags.cjs", url, KEY, "nora") == {
        "values": {"chat": "large"},
        "variant": "large",
        "enabled": True,
        "payload": {"w": 4},
        "missing": None,
    }
    stranger = run(node_modules, "flags.cjs", url, KEY, "stranger")
    assert (stranger["values"], stranger["enabled"]) == ({"chat": False}, False)


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="the browser that the tests bring is for Linux on x86-64",
)
def test_posthog_js_sees_the_flag_once_its_events_have_come(
    system: Ingest, node_modules: Path, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{system.port}"
    found = run(node_modules, "browser-flags.cjs", url, KEY, "jo", TMPDIR=str(tmp_path))
    assert found == {
        "before": False,
        "after": "large",
        "payload": {"w": 4},
        "all": {"chat": "large"},
    }
