"""`avila up`: one system per data directory and range of ports, and one line if it cannot run."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from schemas.errors import Misconfigured
from schemas.settings import (
    BROKER_PORT,
    BROKER_PORTS,
    CONTROLLER_PORTS,
    PORTS_PER_SYSTEM,
    QUERY_PORT,
    REGISTRY_PORT,
    Settings,
    read_settings,
)
from services.data_directory import locked_data_dir, prepare_data_dir
from services.supervisor.child import Child
from services.supervisor.ports import needed_ports
from tests.events import await_equal
from tests.kafka import produce
from tests.ports import free_port_base
from tests.processes import eventually
from tests.sinks.processes import environment

ROOT = Path(__file__).parents[2]
MISCONFIGURED = 78


@pytest.fixture
def alone(tmp_path: Path) -> Settings:
    """Settings of a system with everything embedded, which does not run."""
    return read_settings({}, data_dir=tmp_path / "data", port_base=free_port_base(), partitions=1)


def refused(settings: Settings) -> str:
    """Run `avila up`, which must end at once; return what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "services", "up"],
        env=environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert ended.returncode == MISCONFIGURED, ended.stderr
    assert not ended.stdout
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    return ended.stderr


@contextmanager
def listening(host: str, port: int) -> Iterator[None]:
    with closing(socket.create_server((host, port))):
        yield


def test_a_second_system_on_a_data_directory_is_refused_with_who_holds_it(alone: Settings) -> None:
    prepare_data_dir(alone.data_dir)
    with locked_data_dir(alone.data_dir):
        before = sorted(alone.data_dir.iterdir())
        text = refused(replace(alone, port_base=free_port_base()))
        assert f"process {os.getpid()}" in text
        assert "AVILA_DATA_DIR" in text
        assert sorted(alone.data_dir.iterdir()) == before


def test_a_lock_whose_holder_was_killed_does_not_count(alone: Settings) -> None:
    prepare_data_dir(alone.data_dir)
    with locked_data_dir(alone.data_dir) as abandoned:
        assert not abandoned
    script = (
        "import sys, time; from pathlib import Path\n"
        "from services.data_directory import locked_data_dir\n"
        "with locked_data_dir(Path(sys.argv[1])): print(flush=True); time.sleep(99)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, alone.data_dir], cwd=ROOT, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Misconfigured, match=f"process {holder.pid}"):
            locked_data_dir(alone.data_dir).__enter__()
        holder.kill()
    with locked_data_dir(alone.data_dir) as abandoned:
        assert abandoned


def test_taken_ports_are_named_all_at_once_with_who_holds_them(alone: Settings) -> None:
    taken = [alone.port(QUERY_PORT), alone.port(REGISTRY_PORT)]
    with listening("127.0.0.1", taken[0]), listening("0.0.0.0", taken[1]):
        text = refused(alone)
    for part, port in zip(("query", "registry"), taken, strict=True):
        assert re.search(rf"{part}: 127.0.0.1:{port} is taken by process {os.getpid()} \(", text)
    assert "AVILA_PORT_BASE" in text
    assert not (alone.data_dir / "kafka").exists()


def test_only_the_ports_of_embedded_parts_are_needed(alone: Settings) -> None:
    own = read_settings(
        {},
        port_base=alone.port_base,
        kafka_bootstrap="kafka:9092",
        clickhouse_dsn="http://clickhouse",
        schema_registry_url="http://registry",
    )
    further = len(BROKER_PORTS[1:]) + len(CONTROLLER_PORTS[1:])
    assert len({port.number for port in needed_ports(alone)}) == PORTS_PER_SYSTEM - further
    needed = {port.part for port in needed_ports(own)}
    assert not needed & {"broker", "broker (controller)", "store", "registry"}


def test_three_brokers_have_ports_of_their_own(alone: Settings) -> None:
    three = read_settings({}, port_base=alone.port_base, brokers=3)
    assert three.replication_factor == 3
    ports = needed_ports(three)
    assert len({port.number for port in ports}) == PORTS_PER_SYSTEM == len(ports)
    assert len(three.bootstrap.split(",")) == 3


@pytest.mark.parametrize(("made_with", "started_with"), [(1, 3), (3, 1)])
def test_data_of_another_number_of_brokers_is_left_alone(
    alone: Settings, made_with: int, started_with: int
) -> None:
    made = alone.data_dir / "kafka" / ("log" if made_with == 1 else "1")
    made.mkdir(parents=True)
    text = refused(replace(alone, brokers=started_with))
    assert f"set it to {made_with}" in text
    assert not list(made.iterdir())


def test_two_brokers_are_refused() -> None:
    with pytest.raises(Misconfigured, match="AVILA_BROKERS must be 1 or 3"):
        read_settings({"AVILA_BROKERS": "2"})


def test_a_file_where_the_data_directory_should_be_is_named(alone: Settings) -> None:
    alone.data_dir.write_text("a file")
    assert str(alone.data_dir) in refused(alone)
    assert "AVILA_DATA_DIR" in refused(replace(alone, data_dir=alone.data_dir / "below"))


def test_data_of_earlier_versions_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        (tmp_path / "data" / "store").mkdir(parents=True)
        prepare_data_dir(tmp_path / "data")
        (tmp_path / "data" / "new").write_text("")
    finally:
        os.umask(before)
    assert (tmp_path / "data" / "store").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "new").stat().st_mode & 0o777 == 0o600


def test_a_part_whose_port_is_taken_ends_the_system_with_the_reason(settings: Settings) -> None:
    settings = replace(settings, port_base=free_port_base())
    said: list[str] = []
    with listening("127.0.0.1", settings.port(REGISTRY_PORT)):
        child = Child("registry", settings)
        child.tend(said.append)
        try:
            assert eventually(lambda: child.ended, 180)
            with pytest.raises(Misconfigured, match=r"^registry: .*cannot listen.*AVILA_PORT_BASE"):
                child.tend(said.append)
        finally:
            child.reap(time.monotonic())
    assert not said


def test_a_part_that_ends_by_itself_is_restarted_after_a_pause(settings: Settings) -> None:
    settings = replace(settings, port_base=free_port_base())
    said: list[str] = []
    child = Child("registry", settings)
    runs: list[bool] = []
    try:
        child.tend(said.append)
        runs.append(child.runs)
        child.terminate()
        assert eventually(lambda: child.ended, 180)
        pause_s = child.tend(said.append)
        assert 0 < pause_s <= 1
        runs.append(child.runs)
        assert eventually(lambda: not child.tend(said.append), 60)
        runs.append(child.runs)
    finally:
        child.terminate()
        child.reap(time.monotonic() + 120)
    assert runs == [True, False, True]
    (line,) = said
    assert line.startswith(f"registry ended with {-signal.SIGTERM}; restart in 1 s")


@contextmanager
def up(settings: Settings) -> Iterator["subprocess.Popen[str]"]:
    """A system; it has ended after the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "services", "up"],
        env=environment(settings) | {"PYTHONUNBUFFERED": "1"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def await_ready(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("logs in"):
            return lines
    pytest.fail(f"the system ended:\n{''.join(lines)}")


@pytest.mark.faults
def test_a_system_says_when_it_is_ready_and_ends_whole_however_it_is_ended(alone: Settings) -> None:
    """All that needs a whole system, in one test: each start takes half a minute."""
    readyz = f"http://{alone.local_address(QUERY_PORT)}/readyz"
    with up(alone) as process:
        lines = await_ready(process)
        children = psutil.Process(process.pid).children(recursive=True)
        assert urllib.request.urlopen(readyz, timeout=60).status == 200
        assert any(re.match(r"waiting for .*worker \(", line) for line in lines)
        assert any(line.startswith("ready: events to") for line in lines)
        private = {
            *("avila.lock", "kafka", "logs", "query-token", "store", "store-password"),
            *("person-key", "webhook-key"),
        }
        for path in alone.data_dir.iterdir():
            assert path.name in private
            assert path.stat().st_mode & 0o077 == 0, path
        assert f"process {process.pid}" in refused(alone)
        process.kill()
    # A new system waits for what is left of the old one, instead of failing or racing with it.
    with up(alone) as process:
        await_ready(process)
        assert not any(child.is_running() for child in children)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
        assert eventually(lambda: not any(child.is_running() for child in children), 60)


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.faults
@pytest.mark.parametrize("host", ["0.0.0.0", *(["::1", "::"] if _has_ipv6() else [])])
def test_a_system_listens_where_it_is_told_and_finds_its_broker(alone: Settings, host: str) -> None:
    settings = replace(alone, host=host)
    with up(settings) as process:
        await_ready(process)
        for port in (QUERY_PORT, REGISTRY_PORT):
            url = f"http://{settings.local_address(port)}/readyz"
            assert urllib.request.urlopen(url, timeout=60).status == 200
        # The embedded broker lets anyone in, so it listens on an address of this machine alone.
        own = [listener.laddr.ip for listener in listeners(settings.port(BROKER_PORT))]
        assert [address.removeprefix("::ffff:") for address in own] == [settings.local_host]


def listeners(port: int) -> list[Any]:
    return [
        connection
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr
        and connection.laddr.port == port
    ]


@pytest.mark.faults
def test_three_brokers_go_on_while_one_is_restarted(alone: Settings) -> None:
    settings = read_settings(
        {}, data_dir=alone.data_dir, port_base=alone.port_base, partitions=1, brokers=3
    )
    with up(settings) as process:
        await_ready(process)
        admin = AdminClient({"bootstrap.servers": settings.bootstrap})
        topic = settings.topics.inbox.name
        (partition,) = admin.list_topics(topic, 30).topics[topic].partitions.values()
        assert sorted(partition.isrs) == [1, 2, 3]
        (listener,) = listeners(settings.port(BROKER_PORTS[partition.leader - 1]))
        psutil.Process(listener.pid).kill()
        produce(settings.cluster, topic, [b"not an event"])

        def in_sync() -> list[int]:
            found = admin.list_topics(topic, 30).topics[topic].partitions
            return sorted(found[0].isrs)

        await_equal([1, 2, 3], in_sync, 180)
