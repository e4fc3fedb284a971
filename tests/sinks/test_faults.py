"""Real processes, killed, stopped and restarted; afterwards each event is in ClickHouse once."""

import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import msgspec
import pytest

from schemas.settings import Settings
from services.broker import Broker
from services.topics import ensure_topics
from tests.conftest import free_ports
from tests.sinks.conftest import in_store
from tests.sinks.deliveries import wait_for
from tests.sinks.events import EventStore
from tests.sinks.processes import SinkProcess
from tests.sinks.tables import assert_each_event_once, await_rows, count
from tests.stores import StoreProcess, new_store, remove_store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

COUNT = 20_000


@pytest.fixture
def own_store(settings: Settings) -> Iterator[tuple[Settings, StoreProcess]]:
    """A store that the test may kill."""
    process = new_store()
    process.start()
    try:
        yield in_store(settings, process), process
    finally:
        remove_store(process)


class Appending:
    """Appends to the event store in a thread, inside the block; all is there after it."""

    def __init__(self, settings: Settings, count: int = COUNT) -> None:
        store = EventStore(settings)
        self._thread = threading.Thread(target=store.append, args=(count,))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def test_a_sink_process_delivers_and_ends_in_time(deployment: Settings, tmp_path: Path) -> None:
    with SinkProcess(deployment, tmp_path / "log") as sink:
        with Appending(deployment):
            await_rows(deployment, 1)
        assert_each_event_once(deployment)
        with urlopen(f"http://127.0.0.1:{sink.port}/metrics", timeout=60) as answer:
            assert b"avila_sink_rows_total" in answer.read()
        with urlopen(f"http://127.0.0.1:{sink.port}/healthz", timeout=60) as answer:
            assert answer.read() == b"ok\n"
        assert sink.stop(timeout_s=120) == 0, sink.output


def test_killed_at_any_time_it_goes_on_where_it_was(deployment: Settings, tmp_path: Path) -> None:
    kills, chance = 4, random.Random(7)
    with Appending(deployment):
        for _ in range(kills):
            more = count(deployment) + 1
            with SinkProcess(deployment, tmp_path / "log") as sink:
                # Sometimes before it has begun, sometimes in the midst of its work.
                await_rows(deployment, more, or_else=lambda: chance.random() < 0.005)
                sink.kill()
    with SinkProcess(deployment, tmp_path / "log"):
        assert_each_event_once(deployment)


def test_a_store_that_is_killed_and_comes_back_has_everything_once(
    own_store: tuple[Settings, StoreProcess], tmp_path: Path
) -> None:
    deployment, store = own_store
    with SinkProcess(deployment, tmp_path / "log"):
        with Appending(deployment):
            await_rows(deployment, 1)
            store.kill()
            store.start()
        assert_each_event_once(deployment)


def test_sinks_that_join_and_leave_deliver_everything_once(
    deployment: Settings, tmp_path: Path
) -> None:
    with SinkProcess(deployment, tmp_path / "log"):
        with Appending(deployment), SinkProcess(deployment, tmp_path / "other") as other:
            await_rows(deployment, count(deployment) + 1)
            assert other.stop(timeout_s=120) == 0
        assert_each_event_once(deployment)


def partitions_assigned(sink: SinkProcess) -> set[int]:
    """All partitions that have ever been assigned to a process, by its log."""
    assigned = re.findall(r"partitions assigned +offsets=\{(.*?)\}", sink.output)
    return {int(number) for offsets in assigned for number in re.findall(r"(\d+):", offsets)}


def test_a_zombie_adds_nothing(deployment: Settings, tmp_path: Path) -> None:
    # Stopped for longer than the session timeout, while it works, and replaced meanwhile.
    deployment = msgspec.structs.replace(deployment, session_timeout_ms=6_000)
    with SinkProcess(deployment, tmp_path / "log") as zombie:

        def times_assigned() -> int:
            return zombie.output.count("partitions assigned")

        wait_for(lambda: times_assigned() > 0, "joining")
        with SinkProcess(deployment, tmp_path / "other") as other:
            with Appending(deployment):
                await_rows(deployment, 1_000)
                zombie.pause()
                before = times_assigned()
            # What it had delivered before must not hide that it has been replaced.
            everything = set(range(deployment.partitions))
            wait_for(lambda: partitions_assigned(other) == everything, "taking over")
            assert_each_event_once(deployment)
            zombie.resume()
            with Appending(deployment, 1_000):
                wait_for(lambda: times_assigned() > before, "joining again")
            assert_each_event_once(deployment)


def test_a_broker_restart_loses_and_doubles_nothing(store: StoreProcess, tmp_path: Path) -> None:
    port, controller_port = free_ports(2)

    def start() -> Broker:
        return Broker.start(
            tmp_path / "kafka", "127.0.0.1", port, controller_port, log_file=tmp_path / "kafka.log"
        )

    broker = start()
    try:
        settings = Settings(kafka_bootstrap=broker.bootstrap, partitions=2, data_dir=tmp_path)
        ensure_topics(broker.bootstrap, settings.topics, partitions=2, replication_factor=1)
        deployment = in_store(settings, store)
        EventStore(deployment).append(COUNT)
        with SinkProcess(deployment, tmp_path / "log"):
            await_rows(deployment, 1)
            broker.kill()
            broker = start()
            EventStore(deployment).append(1_000, abort_every=0)
            assert_each_event_once(deployment)
    finally:
        broker.kill()
