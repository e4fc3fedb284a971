"""The ports that a system needs: checked before anything starts."""

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from schemas.errors import Misconfigured
from schemas.settings import (
    BROKER_PORTS,
    CONTROLLER_PORTS,
    GRPC_PORT,
    INGEST_PORT,
    NOTIFIER_PORT,
    QUERY_GRPC_PORT,
    QUERY_PORT,
    REGISTRY_PORT,
    SINK_PORT,
    STORE_PORT,
    WORKER_PORT,
    Settings,
)

_LISTENING: Final = "0A"  # in /proc/net/tcp
_MAX_COMMAND: Final = 80


class Port(NamedTuple):
    """A port that a part of the system listens on."""

    part: str
    host: str
    number: int


def needed_ports(settings: Settings) -> list[Port]:
    """Return the ports of all parts that `avila up` runs with these settings."""
    parts = [
        ("ingest", INGEST_PORT),
        ("ingest (gRPC)", GRPC_PORT),
        ("query", QUERY_PORT),
        ("query (gRPC)", QUERY_GRPC_PORT),
        ("worker (metrics)", WORKER_PORT),
        ("sink (metrics)", SINK_PORT),
        ("notifier (metrics)", NOTIFIER_PORT),
    ]
    if not settings.schema_registry_url:
        parts.append(("registry", REGISTRY_PORT))
    if not settings.clickhouse_dsn:
        parts.append(("store", STORE_PORT))
    ports = [Port(part, settings.host, settings.port(default)) for part, default in parts]
    if not settings.kafka_bootstrap:
        pairs = list(zip(BROKER_PORTS, CONTROLLER_PORTS, strict=True))
        for broker, controller in pairs[: settings.brokers]:
            ports += [
                Port("broker", settings.local_host, settings.port(broker)),
                Port("broker (controller)", "127.0.0.1", settings.port(controller)),
            ]
    return ports


def check_ports(ports: Sequence[Port]) -> None:
    """Check that a listener can be opened on each of the `ports`.

    Raises:
        Misconfigured: some are taken, or the host is not an address of this machine. The text names
            every part and port, and the process that holds it as far as this user may know.
    """
    taken = [port for port in ports if not _is_free(port)]
    if taken:
        holders = _holders({port.number for port in taken})
        found = "; ".join(
            f"{port.part}: {port.host}:{port.number} is taken by "
            f"{holders.get(port.number, 'another program')}"
            for port in taken
        )
        raise Misconfigured(
            f"{found}: stop what listens there, or set AVILA_PORT_BASE (--port-base)"
        )


def _is_free(port: Port) -> bool:
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the parts bind: lingering connections of a process that has just ended do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.number))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise Misconfigured(
                f"{port.part} cannot listen on {port.host}:{port.number}: {error.strerror}; change "
                "AVILA_HOST or AVILA_PORT_BASE"
            ) from error
    return True


def _holders(ports: set[int]) -> dict[int, str]:
    """Return which process listens on each port, as far as Linux tells us."""
    sockets: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text("utf-8").splitlines()[1:]:
                fields = line.split()
                number = int(fields[1].rpartition(":")[2], 16)
                if fields[3] == _LISTENING and number in ports:
                    sockets[f"socket:[{fields[9]}]"] = number
    found: dict[int, str] = {}
    for process, target in _open_sockets() if sockets else ():
        if target in sockets:
            found.setdefault(sockets[target], _describe(process))
    return found


def _open_sockets() -> Iterator[tuple[Path, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is another user's, or has ended meanwhile
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    yield process, str(descriptor.readlink())


def _describe(process: Path) -> str:
    with contextlib.suppress(OSError):
        program, *words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        command = " ".join([Path(program).name, *words]).strip()
        return f"process {process.name} ({command[:_MAX_COMMAND]})"
    return f"process {process.name}"
