"""The broker as a child process: started, awaited, stopped, and never left behind."""

import contextlib
import errno
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.cluster import Cluster, client_config
from schemas.errors import Misconfigured, Unavailable
from services.broker.configuration import Node
from services.broker.install import install_kafka, java_command
from services.broker.storage import (
    LOGGING_FILE,
    SERVER_FILE,
    prepare_storage,
    setup_errors_named,
)
from services.child_process import reap, spawn

_POLL_S: Final = 0.05
_NOTHING: Final[Mapping[str, str]] = {}
# Java decodes its command line and file names by the locale; this one decodes any name.
_LOCALE: Final = {"LC_ALL": "C.UTF-8"}
# By default each of Java's threads may have a part of the C library's heap of its own.
_MEMORY: Final = {"MALLOC_ARENA_MAX": "2"}


class Broker:
    """A running broker, in a session of its own: a Ctrl-C at the terminal does not reach it.

    It ends when this process ends, whatever ends it; the contents of its data directory stay.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", cluster: Cluster | str) -> None:
        self.process = process
        self.cluster = cluster

    @property
    def bootstrap(self) -> str:
        """Return the address of the broker."""
        return str(self.cluster)

    @classmethod
    def start(
        cls,
        data_dir: Path,
        host: str,
        port: int,
        controller_port: int,
        *,
        log_file: Path,
        heap_mb: int = 512,
        start_timeout_s: float = 240,
        number: int = 1,
        controller_ports: Sequence[int] = (),
        server: Mapping[str, str] = _NOTHING,
        client: Mapping[str, str] = _NOTHING,
    ) -> Self:
        """Start a broker on the data in `data_dir`; return when it answers.

        One of several brokers has a `number`, from 1 on, the `controller_ports` of all of them,
        and a `data_dir` that is a sibling of theirs; it answers when most of them run. `server`
        are more of Kafka's properties, and `client` the properties that clients then need.

        Blocks for seconds, after a `kill -9` of a large broker for longer, and the first time on
        the network too (`install_kafka`). The controller always listens on 127.0.0.1.

        Raises:
            Misconfigured: a port is taken, or `data_dir` cannot be used.
            Unavailable: Kafka cannot be installed, ended at once or did not answer in time.
        """
        jars = install_kafka()
        node = Node(host, port, tuple(controller_ports) or (controller_port,), number)
        _check_port(host, port)
        _check_port("127.0.0.1", node.controller_port)
        with setup_errors_named(data_dir):
            cluster_id = prepare_storage(jars, data_dir, node, server)
            log_file.parent.mkdir(parents=True, exist_ok=True)
            output_file = log_file.with_name(log_file.name + ".jvm")
            with output_file.open("wb") as output:
                process = spawn(
                    [
                        *java_command(jars),
                        f"-Xmx{heap_mb}m",
                        "-Djava.io.tmpdir=tmp",
                        f"-Dlog4j2.configurationFile={LOGGING_FILE}",
                        f"-Davila.log={os.path.relpath(log_file, data_dir)}",
                        "kafka.Kafka",
                        SERVER_FILE,
                    ],
                    output,
                    environment=_MEMORY | os.environ | _LOCALE,
                    directory=data_dir,
                )
        broker = cls(process, Cluster(node.address, client))
        try:
            broker._await_answer(node, cluster_id, start_timeout_s, log_file, output_file)
        except BaseException:
            broker.kill()
            raise
        return broker

    def stop(self, timeout_s: float = 10) -> None:
        """Shut the broker down, by force after `timeout_s`; it has ended when this returns.

        May be called again, and on a broker that has ended by itself.
        """
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        reap(self.process)

    def kill(self) -> None:
        """Kill the broker with SIGKILL; it has ended when this returns."""
        self.process.kill()
        reap(self.process)

    def _await_answer(
        self, node: Node, cluster_id: str, timeout_s: float, log_file: Path, output: Path
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Unavailable(f"Kafka ended at once: {_last_error(log_file, output)}")
            # librdkafka backs off between its attempts: it is asked only when something listens.
            with contextlib.suppress(OSError, KafkaException):
                socket.create_connection((node.host, node.port), timeout=1).close()
                admin = AdminClient(client_config(self.cluster, {"log_level": 0}))
                # If another broker has taken the port meanwhile, ours is about to end.
                if str(admin.list_topics(timeout=5).cluster_id) == cluster_id:
                    return
            time.sleep(_POLL_S)
        raise Unavailable(f"Kafka did not answer within {timeout_s:.0f} s: see {log_file}")


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As Kafka binds: the lingering connections of a broker that has just ended do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Misconfigured(
                    f"port {port} on {host} is taken: stop the program that listens there, or move "
                    "all ports with AVILA_PORT_BASE"
                ) from error
            raise Misconfigured(
                f"the embedded Kafka cannot listen on {host}:{port}: {error.strerror}; "
                "change AVILA_HOST or AVILA_PORT_BASE"
            ) from error


def _last_error(*files: Path) -> str:
    """Return the last line that says what went wrong, for an error of one line."""
    for file in files:
        lines = file.read_text("utf-8", "replace").splitlines() if file.exists() else []
        for line in reversed(lines):
            if "ERROR" in line or "FATAL" in line or file.suffix == ".jvm":
                return f"{line.strip()} (see {file})"
    return "it left no message"
