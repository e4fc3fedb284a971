"""The ingest service beside others: `python -m benchmarks.ingest`.

Broker, service and load generator share two cores. Every event is acknowledged by all replicas,
from idempotent producers, before its request is answered.

Latency is measured in open loop, at a constant rate: over HTTP by vegeta, over gRPC streams by a
client of our own (`benchmarks.load.stream_client` says why). First at the rates that we promise,
then at higher ones, up to the highest with a p99 below 10 ms. Each endpoint is warmed up for some
seconds, in which the broker's JVM compiles its code.

Throughput is measured in closed loop, with batches of 100 over 64 connections or 4 streams: events
a second that are acknowledged and found on the topic, and the CPU time of the service, of all its
threads. The rivals are a Starlette service on aiokafka, with its default batches and with batches
as large as ours, and a Go service on franz-go. They take the same requests as our native endpoint.

Without Go, and without a proxy to fetch Go modules from, the figures that need it are null.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import psutil
from rich.table import Table

from benchmarks.bench import (
    PROJECT,
    ROOT,
    Timed,
    answers,
    console,
    create_topics,
    environment_of,
    process,
    report,
    rival_environment,
    system,
    until,
)
from benchmarks.history import benchmark_parser
from benchmarks.load import golang, payloads
from benchmarks.load.closed_loop import http_command, saturate, streams_command
from benchmarks.load.open_loop import Latency, Paced, by_streams, by_vegeta, highest
from schemas.settings import GRPC_PORT, INGEST_PORT, Settings
from schemas.topics import Topic
from services.keys.admin import run_with_key_admin

BATCH: Final = 100
CORES: Final = 2
_WARM_UP_S: Final = 5.0
_SEARCH_S: Final = 5.0
_READY_TIMEOUT_S: Final = 120.0
_INGEST: Final = [sys.executable, "-m", "services", "ingest"]
_AS_OURS: Final = {"RIVAL_BATCH_BYTES": "1000000"}  # librdkafka's default
_AIOKAFKA: Final = [sys.executable, "-m", "benchmarks.rivals.aiokafka_service"]
_GO: Final = ROOT / "benchmarks" / "rivals" / "go_forwarder"


class EventFormat(NamedTuple):
    """A way in: the file with its requests, their size in events, and the rate to begin with."""

    targets: Path
    size: int
    rate: int
    is_grpc: bool = False


class Entry(NamedTuple):
    """What was found of a door: at the stated rate, and the highest one, both in requests."""

    latency: Latency
    highest: int


class Edge(NamedTuple):
    """A deployment to be measured."""

    settings: Settings
    key: str
    doors: Mapping[str, EventFormat]

    @property
    def grpc_address(self) -> str:
        """Where its gRPC is."""
        return f"{self.settings.host}:{self.settings.port(GRPC_PORT)}"


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    given = parser.parse_args()
    share_cores()
    unavailable: dict[str, str] = {}
    with system() as settings:
        edge = furnish(settings)
        with serving(settings, _INGEST, environment_of(settings)) as service:
            latencies = measure_latencies(edge, given.seconds, unavailable)
            ours = saturate_ours(edge, service, given.seconds)
        rivals = {
            "aiokafka": saturate_rival(edge, "aiokafka", _AIOKAFKA, given.seconds),
            "aiokafka, tuned": saturate_rival(edge, "tuned", _AIOKAFKA, given.seconds, _AS_OURS),
            **saturate_go(edge, given.seconds, unavailable),
        }
    show(edge, latencies, unavailable)
    report(
        f"Batches of {BATCH}, as fast as they are acknowledged",
        ours | rivals,
        figures(edge, latencies, ours, rivals),
    )


def share_cores() -> None:
    """Have this process and all it starts share two cores, where the system can say so."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def furnish(settings: Settings) -> Edge:
    """Make a write key, and the requests of all doors."""
    key = run_with_key_admin(settings, lambda admin: admin.create_write_key(PROJECT)).id
    directory = settings.data_dir / "targets"
    directory.mkdir(parents=True)
    host = f"{settings.host}:{settings.port(INGEST_PORT)}"
    loads = {
        "single": payloads.native(key, 1, 10 * BATCH),
        "batch": payloads.native(key, BATCH),
        "segment": payloads.segment(key, BATCH),
        "posthog": payloads.posthog(key, BATCH),
        "grpc": payloads.grpc(BATCH),
    }
    return Edge(
        settings,
        key,
        {
            name: EventFormat(
                load.save(directory / f"{name}.json", host),
                load.size,
                2_000 if load.size == 1 else 400,
                is_grpc=name == "grpc",
            )
            for name, load in loads.items()
        },
    )


@contextmanager
def serving(
    settings: Settings, command: list[str], environment: Mapping[str, str]
) -> Iterator[psutil.Process]:
    """An ingest service, ours or a rival, that is ready."""
    url = f"http://{settings.host}:{settings.port(INGEST_PORT)}/readyz"
    with process(command, environment) as service:

        def is_ready() -> bool:
            if service.status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError(f"{' '.join(command)} ended")
            return answers(url)

        until(is_ready, _READY_TIMEOUT_S)
        yield service


def measure_latencies(edge: Edge, seconds: float, unavailable: dict[str, str]) -> dict[str, Entry]:
    """Each door at its stated rate, and then up to the highest."""
    try:
        vegeta = golang.vegeta()
    except golang.Missing as error:
        vegeta = None
        unavailable["latency over HTTP"] = str(error)
    found = {}
    for name, door in edge.doors.items():
        measure: Paced
        if door.is_grpc:
            measure = by_streams(door.targets, edge.grpc_address, edge.key)
        elif vegeta:
            measure = by_vegeta(vegeta, door.targets)
        else:
            continue
        console.print(f"latency of {name}")
        measure(door.rate, _WARM_UP_S)
        latency = measure(door.rate, seconds)
        found[name] = Entry(latency, highest(measure, door.rate, min(seconds, _SEARCH_S)))
    return found


def saturate_ours(edge: Edge, service: psutil.Process, seconds: float) -> dict[str, Timed]:
    """Each door that takes batches."""
    found = {}
    for name, door in edge.doors.items():
        if door.size == BATCH:
            console.print(f"saturating {name}")
            command = http_command(door.targets)
            if door.is_grpc:
                command = streams_command(door.targets, edge.grpc_address, edge.key)
            topic = edge.settings.topics.inbox.name
            found[name] = saturate(
                edge.settings, service, topic, command, size=BATCH, seconds=seconds
            )
    return found


def saturate_rival(
    edge: Edge,
    name: str,
    command: list[str],
    seconds: float,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Timed:
    """Another service, in the place of ours and under the load of our native door."""
    settings, topic = edge.settings, f"rival-{name}"
    create_topics(settings, [Topic(topic, "delete")])
    environment = rival_environment(settings, topic) | {
        "RIVAL_PORT": str(settings.port(INGEST_PORT)),
        "RIVAL_PROJECT": PROJECT,
        "RIVAL_KEY": edge.key,
        **more,
    }
    console.print(f"saturating {name}")
    with serving(settings, command, environment) as service:
        load = http_command(edge.doors["batch"].targets)
        return saturate(settings, service, topic, load, size=BATCH, seconds=seconds)


def saturate_go(edge: Edge, seconds: float, unavailable: dict[str, str]) -> dict[str, Timed]:
    """The rival that is written in Go, if it can be built."""
    try:
        program = golang.build(_GO)
    except golang.Missing as error:
        unavailable["the service in Go"] = str(error)
        return {}
    return {"Go, franz-go": saturate_rival(edge, "go", [str(program)], seconds)}


def show(edge: Edge, found: Mapping[str, Entry], unavailable: Mapping[str, str]) -> None:
    """Print the latencies for people, and why what is missing is missing."""
    table = Table(title="Latency at a constant rate, and the highest rate with p99 < 10 ms")
    for column in ("", "events/s", "p50 ms", "p99 ms", "from when due", "highest events/s"):
        table.add_column(column, justify="left" if not column else "right")
    for name, (latency, most) in found.items():
        door = edge.doors[name]
        table.add_row(
            name,
            f"{door.rate * door.size:,}",
            *(f"{ms:.1f}" for ms in latency[:3]),
            f"{most * door.size:,}",
        )
    console.print(table)
    for name, (latency, _) in found.items():
        if latency.trouble:
            console.print(f"{name} does not count: {latency.trouble}")
    for what, why in unavailable.items():
        console.print(f"{what} is left out: {why}")


def figures(
    edge: Edge,
    latencies: Mapping[str, Entry],
    ours: Mapping[str, Timed],
    rivals: Mapping[str, Timed],
) -> dict[str, object]:
    """What is compared over time; null is what could not be measured."""

    def p99(name: str, of: Callable[[Latency], float]) -> float | None:
        found = latencies.get(name)
        return round(of(found.latency), 2) if found and not found.latency.trouble else None

    batch, go = ours["batch"], rivals.get("Go, franz-go")
    return {
        **{f"{name}_p99_ms": p99(name, lambda it: it.p99_ms) for name in edge.doors},
        "due_p99_ms": {name: p99(name, lambda it: it.due_p99_ms) for name in edge.doors},
        "saturation_events_per_s": round(batch.events_per_s),
        "cpu_us_per_event": round(batch.cpu_us_per_event, 2),
        "grpc_saturation_events_per_s": round(ours["grpc"].events_per_s),
        "segment_ratio": round(ours["segment"].events_per_s / batch.events_per_s, 2),
        "posthog_ratio": round(ours["posthog"].events_per_s / batch.events_per_s, 2),
        "aiokafka_ratio": round(batch.events_per_s / rivals["aiokafka"].events_per_s, 2),
        "aiokafka_tuned_ratio": round(
            batch.events_per_s / rivals["aiokafka, tuned"].events_per_s, 2
        ),
        "go_ratio": go and round(go.cpu_us_per_event / batch.cpu_us_per_event, 2),
        "highest": {
            name: latencies[name].highest * door.size if name in latencies else None
            for name, door in edge.doors.items()
        },
    }


if __name__ == "__main__":
    main()
