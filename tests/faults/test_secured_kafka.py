"""Every part runs on a Kafka that asks for TLS and credentials."""

import functools
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.cluster import Cluster
from schemas.errors import Misconfigured
from schemas.settings import INGEST_PORT, QUERY_PORT, Settings, read_settings
from services.broker import Broker
from services.topics import ensure_topics
from tests.brokers import PASSWORD, secured_broker
from tests.conftest import deployment
from tests.events import await_equal
from tests.faults.test_crash import Plan, Scene, run, settings_of
from tests.ports import free_port_base
from tests.services.test_supervisor import await_ready, up
from tests.sinks.processes import environment
from tests.stores import StoreProcess

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


def properties_file(cluster: Cluster, file: Path) -> Path:
    """Write the properties as Java's clients take them."""
    own = dict(cluster.properties)
    user, password = own.pop("sasl.username"), own.pop("sasl.password")
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    own["sasl.jaas.config"] = (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="{user}" password="{quoted}";'
    ).replace("\\", "\\\\")
    own["bootstrap.servers"] = f"SASL_SSL://{cluster.bootstrap}"
    own["ssl.truststore.type"] = "PEM"
    own["ssl.truststore.location"] = own.pop("ssl.ca.location")
    file.write_text("".join(f"{name}={value}\n" for name, value in own.items()))
    return file


def avila(settings: Settings, *arguments: str) -> str:
    """Run a command of ours; return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        env=environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_whole_system_and_all_commands_run_with_a_properties_file(
    secured: Broker, tmp_path: Path
) -> None:
    assert isinstance(secured.cluster, Cluster)
    file = properties_file(secured.cluster, tmp_path / "client.properties")
    settings = read_settings(
        {"AVILA_KAFKA_PROPERTIES_FILE": str(file)},
        data_dir=tmp_path / "data",
        port_base=free_port_base(),
        partitions=1,
    )
    assert settings.kafka_properties["sasl.password"] == PASSWORD
    now_ms = time.time_ns() // 1_000_000 - 1_000
    rows = tmp_path / "events.ndjson"
    rows.write_text(
        "".join(
            json.dumps({"event": "in", "distinct_id": f"p{n}", "timestamp": now_ms + n}) + "\n"
            for n in range(100)
        )
    )
    with up(settings) as system:
        await_ready(system)
        both = "--scope", "read", "--scope", "write"
        key = avila(settings, "keys", "create", "--project", "shop").split()[-1]
        token = avila(settings, "tokens", "create", "--project", "shop", *both)
        metric = {"id": "in", "measure": "events", "filter": {"event": "in"}, "bucket_s": 86_400}
        api = f"http://{settings.local_address(QUERY_PORT)}/api/projects/shop"
        ask(f"{api}/metrics", token.split()[-1], metric)
        sent = {"events": [{"event": "in", "distinct_id": "ada"}]}
        ask(f"http://{settings.local_address(INGEST_PORT)}/v1/events", key, sent)
        assert "100 events imported" in avila(settings, "import", str(rows), "--project", "shop")
        assert "as declared" in avila(settings, "topics")
        for source in ("stream", "store"):
            url = f"{api}/metrics/in/results?source={source}"
            await_equal(101, functools.partial(total, url, token.split()[-1]), 60)
        assert "1 definitions replayed" in avila(settings, "replay", "--project", "shop")
        logs = (settings.data_dir / "logs").glob("*.log")
        assert not any(PASSWORD in log.read_text() for log in logs)


def ask(url: str, credential: str, body: object = None) -> Any:
    request = urllib.request.Request(
        url,
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {credential}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def total(url: str, token: str) -> int:
    return sum(bucket["events"] for bucket in ask(url, token)["buckets"])


@pytest.mark.parametrize("without", ["sasl.password", "ssl.ca.location"])
def test_refused_credentials_and_certificates_are_named(secured: Broker, without: str) -> None:
    assert isinstance(secured.cluster, Cluster)
    wrong = dict(secured.cluster.properties)
    del wrong[without]
    if without == "sasl.password":
        wrong[without] = "wrong"
    with pytest.raises(Misconfigured, match="AVILA_KAFKA_SASL"):
        ensure_topics(
            Cluster(secured.bootstrap, wrong), [], partitions=1, replication_factor=1, timeout_s=5
        )


@pytest.mark.faults
def test_every_event_counts_once_on_a_secured_kafka(
    secured: Broker, store: StoreProcess, tmp_path: Path
) -> None:
    with deployment(secured, tmp_path) as base:
        scene = Scene(settings_of(base, store), tmp_path / "sink.log")
        run(Plan(16_000, 1_000, ["kill the worker", "zombie", "kill the sink"]), scene)
