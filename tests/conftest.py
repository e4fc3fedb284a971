"""One real broker for the whole run, and a deployment for every test that asks for `settings`."""

import contextlib
import os
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.settings import Settings, read_settings
from services import topic_view
from services.broker import Broker
from services.topics import ensure_topics
from tests.kafka import FETCH_WAIT_MS, delete_topics
from tests.stores import store
from tests.warehouse import warehouse

__all__ = ["store", "warehouse"]

# No test is judged by the time that it takes.
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    # The same examples in every run of CI, which judges a change; new ones wherever else it is run.
    derandomize=bool(os.environ.get("CI")),
)
hypothesis.settings.load_profile("patient")

PARTITIONS = 2


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nothing listens on.

    The kernel picks them at random and out of the range of outgoing connections it has in use; all
    are held until all are known. Another process may still take one before the caller does.
    """
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


@pytest.fixture(scope="session", autouse=True)
def quick_consumers() -> Iterator[None]:
    """Let services in this process find the end of a topic, and stop, within some milliseconds.

    By default each takes up to half a second, which saves requests that a test does not count.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONSUMER_DEFAULTS, "fetch.wait.max.ms", FETCH_WAIT_MS)
        patch.setattr(topic_view, "_POLL_S", 0.05)
        yield


@pytest.fixture(scope="session")
def broker_directory() -> Iterator[Path]:
    """Where the broker of this run keeps its data and its log; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="avila-kafka-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def broker(broker_directory: Path) -> Iterator[Broker]:
    """The broker of this run; a test that would stop it starts one of its own instead.

    The topics of deployments stay until the run ends: while a broker deletes some it creates no
    others, and each test would wait for a second.
    """
    if running := os.environ.get("AVILA_TEST_BOOTSTRAP"):  # saves the start, while at work
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stand_in:
            yield Broker(stand_in, running)
        delete_topics(running, left_topics)
        return
    port, controller_port = free_ports(2)
    broker = Broker.start(
        broker_directory / "data",
        "127.0.0.1",
        port,
        controller_port,
        log_file=broker_directory / "kafka.log",
    )
    try:
        yield broker
    finally:
        broker.kill()  # its directory is removed


left_topics: list[str] = []


@contextlib.contextmanager
def deployment(broker: Broker, directory: Path) -> Iterator[Settings]:
    """The settings of a deployment: its topics exist, and are empty."""
    settings = read_settings(
        {},
        kafka_bootstrap=broker.bootstrap,
        app_id=f"t{uuid.uuid4().hex[:8]}",
        topic_prefix=f"t{uuid.uuid4().hex[:8]}",
        partitions=PARTITIONS,
        data_dir=directory / "data",
    )
    ensure_topics(
        settings.bootstrap,
        settings.topics,
        partitions=settings.partitions,
        replication_factor=settings.replication_factor,
    )
    left_topics.extend(topic.name for topic in settings.topics if topic != settings.topics.schemas)
    yield settings


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Iterator[Settings]:
    """A deployment of the test's own."""
    with deployment(broker, tmp_path) as settings:
        yield settings
