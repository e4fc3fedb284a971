"""What the whole system takes at rest: `python -m benchmarks.memory`.

The system runs as `avila up` starts it, with its own broker and store. Definitions of all kinds are
created, events go through the ingest service, and each definition's results are read once from the
stream and once from the store. After a pause, memory and CPU time of each process are measured
while nothing comes in. Memory is the proportional set size (PSS): a page that several processes
share counts once in their sum.
"""

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import psutil
from rich.table import Table

from benchmarks.bench import (
    EVENTS,
    PROJECT,
    PROPERTIES,
    answers,
    console,
    define,
    environment_of,
    process,
    scraped,
    until,
)
from benchmarks.definitions import cohorts, funnels, metrics, segments
from benchmarks.history import benchmark_parser, publish
from schemas.definitions import Definition
from schemas.operators import OPERATORS
from schemas.settings import INGEST_PORT, QUERY_PORT, Settings, read_settings
from services.broker import install_kafka
from services.keys.admin import run_with_key_admin
from services.keys.first import read_token
from services.worker import partitions_held

_PORT_BASE: Final = 21_500
_BATCH: Final = 500
_START_TIMEOUT_S: Final = 600.0
_FOLD_TIMEOUT_S: Final = 600.0


class AtRest(NamedTuple):
    """What a process takes while nothing comes in."""

    pss_mb: float
    cpu_percent: float  # of one core


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--persons", type=int, default=50_000)
    parser.add_argument("--settle", type=int, default=90, help="seconds of rest before measuring")
    parser.add_argument("--seconds", type=int, default=60, help="seconds of rest to measure")
    given = parser.parse_args()
    install_kafka()
    definitions = _twenty()
    with tempfile.TemporaryDirectory(prefix="avila-bench-") as directory:
        settings = read_settings({}, port_base=_PORT_BASE, data_dir=Path(directory) / "data")
        up = [sys.executable, "-m", "services", "up"]
        with process(up, environment_of(settings)) as whole:
            until(lambda: _processes_all(whole, settings), _START_TIMEOUT_S)
            until(lambda: answers(f"http://{_host(settings, QUERY_PORT)}/readyz"), 300)
            define(settings, definitions)
            _send(settings, given.events, given.persons)
            until(lambda: _folded(settings) >= 2 * given.events, _FOLD_TIMEOUT_S)
            _read_results(settings, definitions)
            time.sleep(given.settle)
            found = measure(whole, given.seconds)
    _report(found, given.events, len(definitions))
    total = _sum(found.values())
    publish(
        {
            "pss_mb": round(total.pss_mb),
            "cpu_percent": round(total.cpu_percent, 2),
            "pss_mb_by_process": {name: round(one.pss_mb) for name, one in found.items()},
            "cpu_percent_by_process": {
                name: round(one.cpu_percent, 2) for name, one in found.items()
            },
        }
    )


def _processes_all(whole: psutil.Process, settings: Settings) -> bool:
    """Return whether all partitions are processed; raises `RuntimeError` if the system ended."""
    if whole.status() == psutil.STATUS_ZOMBIE:
        raise RuntimeError("the system ended before it could be used")
    return partitions_held(settings) == settings.partitions


def _twenty() -> Sequence[Definition]:
    kinds: Iterable[Iterator[Definition]] = (
        funnels(EVENTS),
        segments(EVENTS),
        cohorts(EVENTS),
        metrics(EVENTS),
    )
    return [one for kind in kinds for one in islice(kind, 5)]


def _send(settings: Settings, events: int, persons: int) -> None:
    """Send events through the ingest service, in batches."""
    key = run_with_key_admin(settings, lambda admin: admin.create_write_key(PROJECT)).id
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    rng = np.random.default_rng(1)
    properties = [json.loads(text) for text in PROPERTIES]
    client = http.client.HTTPConnection(_host(settings, INGEST_PORT), timeout=600)
    for begin in range(0, events, _BATCH):
        count = min(_BATCH, events - begin)
        drawn = (rng.integers(0, most, count) for most in (persons, len(EVENTS), len(properties)))
        body = [
            {"event": EVENTS[e], "distinct_id": f"person-{p}", "properties": properties[q]}
            for p, e, q in zip(*drawn, strict=True)
        ]
        content = msgspec.json.encode({"events": body})
        while not _is_accepted(client, content, headers):
            time.sleep(1)
    client.close()


def _is_accepted(
    client: http.client.HTTPConnection, content: bytes, headers: Mapping[str, str]
) -> bool:
    """Send one batch; return whether it was accepted: the service may not have read the key yet."""
    client.request("POST", "/v1/events", content, headers)
    answer = client.getresponse()
    text = answer.read()
    if answer.status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.FORBIDDEN):
        raise RuntimeError(f"events were refused: {text.decode()}")
    return answer.status == HTTPStatus.OK


def _folded(settings: Settings) -> float:
    """Return how many records the worker has read: each event as a raw one and as a valid one."""
    try:
        metrics = scraped(settings)
    except OSError:
        return 0
    topics = settings.topics
    return sum(
        metrics.get(f"records_total {topic.name}", 0) for topic in (topics.inbox, topics.events)
    )


def _read_results(settings: Settings, definitions: Sequence[Definition]) -> None:
    """Read each definition's results, once from the stream and once from the store."""
    headers = {"authorization": f"Bearer {read_token(settings)}"}
    plurals = {spec.name: spec.plural for spec in OPERATORS}
    client = http.client.HTTPConnection(_host(settings, QUERY_PORT), timeout=60)
    for one in definitions:
        path = f"/api/projects/{PROJECT}/{plurals[one.KIND]}/{one.id}/results"
        for source in ("stream", "store"):
            client.request("GET", f"{path}?source={source}", headers=headers)
            answer = client.getresponse()
            text = answer.read()
            if answer.status != HTTPStatus.OK:
                console.print(f"{path} from the {source}: {text.decode()[:200]}")
    client.close()


def measure(whole: psutil.Process, seconds: int) -> dict[str, AtRest]:
    """Return what a process and its descendants take, by name; blocks for `seconds`."""
    running = [whole, *whole.children(recursive=True)]
    began, before = time.monotonic(), [one.cpu_times() for one in running]
    time.sleep(seconds)
    passed, after = time.monotonic() - began, [one.cpu_times() for one in running]
    found: dict[str, AtRest] = {}
    for one, then, now in zip(running, before, after, strict=True):
        cpu_s = now.user + now.system - then.user - then.system
        own = AtRest(one.memory_full_info().pss / 2**20, 100 * cpu_s / passed)
        name = _name(one.cmdline())
        found[name] = _sum([found.get(name, AtRest(0, 0)), own])
    return dict(sorted(found.items(), key=lambda item: -item[1].pss_mb))


def _name(command: Sequence[str]) -> str:
    """Return the part of the system that a command runs."""
    if "faust" in command:
        return "worker"
    if "kafka.Kafka" in command:
        return "kafka"
    if Path(command[0]).name == "sh":
        return "shells"
    return command[-1]


def _sum(several: Iterable[AtRest]) -> AtRest:
    return AtRest(*map(sum, zip(*several, strict=True)))


def _host(settings: Settings, port: int) -> str:
    return f"{settings.host}:{settings.port(port)}"


def _report(found: Mapping[str, AtRest], events: int, definitions: int) -> None:
    table = Table(title=f"At rest after {events:,} events and {definitions} definitions")
    for column in ("", "PSS, MB", "CPU, % of a core"):
        table.add_column(column, justify="left" if not column else "right")
    rows: dict[str, Any] = {**found, "together": _sum(found.values())}
    for name, one in rows.items():
        table.add_row(name, f"{one.pss_mb:.0f}", f"{one.cpu_percent:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
