"""One real broker for the whole run, and a deployment for every test that asks for `settings`."""

import contextlib
import os
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from schemas.cluster import Cluster
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.kafka_properties import KafkaProperties
from schemas.settings import Settings, read_settings
from services import topic_view
from services.broker import Broker
from services.topics import ensure_topics
from tests.kafka import delete_topics
from tests.ports import free_ports
from tests.stores import store
from tests.warehouse import warehouse

__all__ = ["free_ports", "store", "warehouse"]

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
# What all workers of a deployment hold: the inbox, the event store and the examples.
HELD_PARTITIONS = 3 * PARTITIONS


@pytest.fixture(scope="session", autouse=True)
def signals_of_a_terminal() -> Iterator[None]:
    """Let the processes of tests heed signals that this one ignores under nohup, or in a job."""
    ignored = {number for number in _FROM_TERMINALS if signal.getsignal(number) is signal.SIG_IGN}
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


_FROM_TERMINALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


@pytest.fixture(scope="session", autouse=True)
def quick_java() -> Iterator[None]:
    """Let Java compile quickly rather than well: brokers of tests end before the latter pays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_consumers() -> Iterator[None]:
    """Let services in this process find the end of a topic, and stop, within a tenth of a second.

    By default each takes up to half a second. Records arrive at once whatever the wait is, and a
    shorter one costs more than it saves: a query service that waits for 20 ms asks the broker 600
    times a second, for a quarter of a core.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONSUMER_DEFAULTS, "fetch.wait.max.ms", 100)
        patch.setattr(topic_view, "_POLL_S", 0.05)
        yield


@contextlib.contextmanager
def idle_consumers() -> Iterator[None]:
    """Let consumers that are created in the block wait as long as outside of tests.

    For services that run until the session ends: they start once, and are idle most of the time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(CONSUMER_DEFAULTS, "fetch.wait.max.ms")
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
def deployment(broker: Broker, directory: Path, **more: Any) -> Iterator[Settings]:
    """The settings of a deployment: its topics exist, and are empty."""
    cluster = broker.cluster
    properties = cluster.properties if isinstance(cluster, Cluster) else {}
    settings = read_settings(
        {},
        kafka_bootstrap=broker.bootstrap,
        kafka_properties=KafkaProperties(properties),
        app_id=f"t{uuid.uuid4().hex[:8]}",
        topic_prefix=f"t{uuid.uuid4().hex[:8]}",
        partitions=PARTITIONS,
        data_dir=directory / "data",
        **more,
    )
    ensure_topics(
        settings.cluster,
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """Keep the tests of the page in one process, where they share a system."""
    return Scopes(config, log) if config.getoption("dist") == "loadscope" else None


class Scopes(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """What stays in one process: the tests of a module, and all those of the page."""

    def _split_scope(self, nodeid: str) -> str:
        return _PAGE if nodeid.startswith(_PAGE) else super()._split_scope(nodeid)


_PAGE = "tests/services/page/"
