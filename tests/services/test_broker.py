"""The embedded broker keeps its data, ends with its parent, and names what is wrong."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import Misconfigured, Unavailable
from schemas.follower import TopicReader
from services.broker import JARS, KAFKA_VERSION, Broker, cache_home, install_kafka
from services.broker.identity import VERSION_FILE
from tests.conftest import free_ports
from tests.kafka import EphemeralTopic, create_topic, produce, read_all
from tests.processes import eventually, processes_of_session

ROOT = Path(__file__).parents[2]


def start(directory: Path, ports: list[int] | None = None) -> Broker:
    port, controller_port = ports or free_ports(2)
    return Broker.start(
        directory / "data", "127.0.0.1", port, controller_port, log_file=directory / "kafka.log"
    )


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Route Maven Central to a closed port of this machine."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield


@contextlib.contextmanager
def parent_of_a_broker(directory: Path, ports: list[int]) -> Iterator[int]:
    """Yield the session of a broker, and kill the broker's parent at the end of the block."""
    script = (
        "import json, sys, time; from pathlib import Path; from tests.services.test_broker import "
        "start\nbroker = start(Path(sys.argv[1]), json.loads(sys.argv[2]))\n"
        "print(broker.process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(directory), json.dumps(ports)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    ) as parent:
        try:
            assert parent.stdout is not None
            yield int(parent.stdout.readline())
        finally:
            parent.kill()


@pytest.mark.faults
def test_a_broker_comes_and_goes_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    """All that needs a broker which starts again, in one test: each start takes seconds.

    A follower of a topic waits for the broker. The broker ends with its parent, when it is killed
    and when it is stopped; it refuses a second broker on its data; and it comes back with its
    records, also on other ports.
    """
    ports = free_ports(2)

    def followed() -> list[bytes | None]:
        deadline = time.monotonic() + 120
        while not (messages := follower.poll(0.1)):
            assert time.monotonic() < deadline, "the follower has not found the broker again"
        return [message.value() for message in messages]

    with TopicReader(f"127.0.0.1:{ports[0]}", ["kept"]) as follower:
        assert follower.poll(0.1) == []
        with parent_of_a_broker(tmp_path, ports) as session:
            assert len(processes_of_session(session)) == 2
            create_topic(f"127.0.0.1:{ports[0]}", "kept", partitions=1)
            produce(f"127.0.0.1:{ports[0]}", "kept", [b"before its parent is killed"])
            assert followed() == [b"before its parent is killed"]
        assert eventually(lambda: not processes_of_session(session), 60)
        assert follower.poll(0.1) == []

        broker = start(tmp_path, ports)
        try:
            with pytest.raises(Misconfigured, match="a broker is running"):
                start(tmp_path)  # and the running one is not disturbed
            produce(broker.bootstrap, "kept", [b"before it is killed"])
            assert followed() == [b"before it is killed"]
        finally:
            broker.kill()
        assert broker.process.returncode == -signal.SIGKILL

    broker = start(tmp_path)
    try:
        values = [message.value() for message in read_all(broker.bootstrap, "kept")]
        assert values == [b"before its parent is killed", b"before it is killed"]
    finally:
        broker.stop()
    assert broker.process.returncode is not None
    assert eventually(lambda: not processes_of_session(broker.process.pid), 60)
    log = tmp_path / "kafka.log"
    logged = log.stat().st_size
    start(tmp_path).stop()
    # A broker that was shut down is not waited for as if it might still be running.
    assert b"DUPLICATE_BROKER_REGISTRATION" not in log.read_bytes()[logged:]


def test_a_signal_to_the_terminals_processes_does_not_reach_the_broker(broker: Broker) -> None:
    assert os.getsid(broker.process.pid) == broker.process.pid != os.getsid(0)


def test_a_topic_is_never_created_by_using_it(broker: Broker) -> None:
    with pytest.raises(AssertionError, match="UNKNOWN_TOPIC"):
        produce(
            broker.bootstrap, "misspelt", [b"lost"], **{"topic.metadata.propagation.max.ms": 500}
        )


def test_a_record_of_four_megabytes_is_taken(broker: Broker) -> None:
    with EphemeralTopic(broker.bootstrap) as topic:
        produce(
            broker.bootstrap, topic.name, [bytes(4_000_000)], **{"message.max.bytes": 5_000_000}
        )
        assert [len(message.value() or b"") for message in topic.read_all()] == [4_000_000]


@pytest.mark.parametrize("taken", ["port", "controller_port"])
def test_a_taken_port_is_named_with_the_setting_that_moves_it(taken: str, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (free,) = free_ports(1)
        ports = {"port": free, "controller_port": free, taken: other.getsockname()[1]}
        with pytest.raises(Misconfigured, match=rf"{ports[taken]} .*taken.*AVILA_PORT_BASE"):
            Broker.start(tmp_path / "data", "127.0.0.1", **ports, log_file=tmp_path / "kafka.log")
    assert not list(tmp_path.iterdir())


def test_a_host_that_is_not_of_this_machine_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"192\.0\.2\.1.*AVILA_HOST"):
        Broker.start(tmp_path / "data", "192.0.2.1", *free_ports(2), log_file=tmp_path / "log")


def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file is in the way")
    with pytest.raises(Misconfigured, match=r"data.*AVILA_DATA_DIR"):
        start(tmp_path)


def test_data_of_another_kafka_version_is_left_alone(tmp_path: Path) -> None:
    version = tmp_path / "data" / "log" / VERSION_FILE
    version.parent.mkdir(parents=True)
    version.write_text("3.9.0")
    with pytest.raises(Misconfigured, match=rf"3\.9\.0.*{KAFKA_VERSION}.*AVILA_DATA_DIR"):
        start(tmp_path)
    assert [path.name for path in version.parent.iterdir()] == [version.name]


def test_a_data_directory_may_have_any_name(tmp_path: Path) -> None:
    directory = tmp_path / "ä,b\\c%41 d#;$x{y}*'\""
    broker = start(directory)
    try:
        create_topic(broker.bootstrap, "t", partitions=1)
    finally:
        broker.stop()
    assert (directory / "data" / "log" / "t-0").is_dir()
    assert (directory / "kafka.log").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [directory.name]


def test_without_a_home_directory_the_setting_that_replaces_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)  # a user that no machine has
    with pytest.raises(Misconfigured, match=r"no home directory.*XDG_CACHE_HOME"):
        cache_home()


def test_a_broker_that_cannot_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"[Hh]eap.*kafka\.log\.jvm"):
        Broker.start(
            tmp_path / "data",
            "127.0.0.1",
            *free_ports(2),
            log_file=tmp_path / "kafka.log",
            heap_mb=1,
        )


@pytest.mark.usefixtures("offline")
def test_without_jars_and_network_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(Unavailable, match=r"Maven Central.*AVILA_KAFKA_BOOTSTRAP"):
        install_kafka()
    assert not list(tmp_path.rglob("*.jar"))


@pytest.mark.usefixtures("offline")
def test_with_jars_no_network_is_needed(broker: Broker) -> None:
    assert broker.process.poll() is None
    assert len(list(install_kafka().glob("*.jar"))) >= len(JARS)


@pytest.mark.usefixtures("offline", "broker")
def test_a_damaged_jar_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intact = install_kafka()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "avila" / intact.name
    cache.mkdir(parents=True)
    for jar in JARS[1:]:
        (cache / jar.file_name).symlink_to(intact / jar.file_name)
    (cache / JARS[0].file_name).write_bytes(b"half a jar")
    with pytest.raises(Unavailable, match=JARS[0].file_name):
        install_kafka()


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(Misconfigured, match="XDG_CACHE_HOME"):
        install_kafka()
