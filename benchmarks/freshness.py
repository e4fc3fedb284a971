"""The time from an event's acknowledgement to its figure: `python -m benchmarks.freshness`.

The whole system runs, with 8 funnels or with the 60 definitions of `benchmarks.operators`
(`--all`). Beside a steady load, probes are sent through the ingest service, each the first step of
a new person in a project of its own. Their latency is the time from the acknowledgement to the
first answer of the REST API, and to the first record of the result topic, that counts them. The
load is open-loop: it keeps its rate whatever the system does. A probe is sent when the one before
it is seen.
"""

import json
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.bench import (
    Filler,
    answers,
    console,
    define,
    define_funnels,
    environment_of,
    process,
    system,
    until,
)
from benchmarks.definitions import sixty
from benchmarks.history import benchmark_parser, publish
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.operators.funnel import FUNNEL
from schemas.registry.log import Registry
from schemas.settings import INGEST_PORT, QUERY_PORT, Settings
from services.keys.admin import run_with_key_admin
from services.keys.first import read_token
from services.worker import partitions_held

PROBES = "probes"
FUNNEL_ID = "probe"
RATES = (1_000, 20_000)
_OWN = f"{PROBES}/".encode()
# Polling more often would take CPU time from the system, which runs on the same cores.
_ASK_EVERY_S = 0.02


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--all", action="store_true", help="60 definitions instead of 8 funnels")
    given = parser.parse_args()
    figures: dict[str, Any] = {"p50_ms": {}, "p99_ms": {}}
    with system() as settings:
        if given.all:
            define(settings, [one for kind in sixty().values() for one in kind])
        else:
            define_funnels(settings, 8)
        environment = environment_of(settings, AVILA_KAFKA_BOOTSTRAP=settings.bootstrap)
        with process([sys.executable, "-m", "services", "up"], environment):
            probe = Probe(settings)
            for rate in RATES:
                with load(settings, rate):
                    rest, topic = probe.run(given.seconds)
                for name, latencies in (("rest", rest), ("topic", topic)):
                    p50, p99 = np.percentile(latencies, [50, 99]).round().astype(int).tolist()
                    console.print(f"{rate:>7,} events/s  {name:<6} p50 {p50} ms  p99 {p99} ms")
                    # The slower of the two, and each by itself.
                    for figure, found in (("p50_ms", p50), ("p99_ms", p99)):
                        slower = max(figures[figure].get(str(rate), 0), found)
                        figures[figure][str(rate)] = slower
                        figures.setdefault(f"{name}_{figure}", {})[str(rate)] = found
            probe.close()
    publish(figures)


@contextmanager
def load(settings: Settings, rate: int) -> Iterator[None]:
    """Write `rate` events a second to the inbox."""
    over = threading.Event()

    def send() -> None:
        filler = Filler(settings, settings.topics.inbox.name, persons=50_000)
        begun, sent = time.monotonic(), 0
        while not over.is_set():
            due = int((time.monotonic() - begun) * rate) - sent
            if due > 0:
                filler.write(due)
                sent += due
            over.wait(0.02)
        filler.close()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    time.sleep(5)  # until the load is steady
    try:
        yield
    finally:
        over.set()
        sender.join()


class Probe:
    """Sends one person at a time, and waits until both readers have seen them."""

    def __init__(self, settings: Settings) -> None:
        host = settings.host
        self._ingest = f"http://{host}:{settings.port(INGEST_PORT)}/v1/events"
        self._api = f"http://{host}:{settings.port(QUERY_PORT)}"
        self._funnel = f"{self._api}/api/projects/{PROBES}/funnels"
        until(lambda: partitions_held(settings) == settings.partitions, 300)
        until(lambda: answers(f"{self._api}/readyz"), 300)
        self._key = run_with_key_admin(settings, lambda admin: admin.create_write_key(PROBES)).id
        self._token = read_token(settings)
        steps = [{"event": "first"}, {"event": "second"}]
        _post(self._funnel, {"id": FUNNEL_ID, "steps": steps, "window_s": 60}, self._token)
        topic = FUNNEL.aggregates.topic(settings.topics).name
        self._decode = Codec(files.load("funnel-result"), Registry(settings.bootstrap).find).decode
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "group.id": "probe",
                "isolation.level": "read_committed",
            }
        )
        self._consumer.assign([TopicPartition(topic, p, 0) for p in range(settings.partitions)])
        self._reached: dict[int, int] = {}
        self._sent = 0
        time.sleep(2)  # until the worker runs the funnel

    def run(self, seconds: int) -> tuple[list[float], list[float]]:
        """Probe for `seconds`; return the latencies in ms over REST and on the topic."""
        rest, topic = [], []
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            self._sent += 1
            event = {"event": "first", "distinct_id": f"probe {self._sent}"}
            _post(self._ingest, {"events": [event]}, self._key)
            acknowledged = time.monotonic()
            seen: dict[str, float] = {}
            other = threading.Thread(target=self._follow, args=(seen, acknowledged))
            other.start()
            until(lambda: self._on_rest() >= self._sent, 30, pause_s=_ASK_EVERY_S)
            rest.append(1_000 * (time.monotonic() - acknowledged))
            other.join()
            topic.append(seen["ms"])
            time.sleep(0.05)  # probes fall into different phases of an epoch
        return rest, topic

    def _on_rest(self) -> int:
        results = _get(f"{self._funnel}/{FUNNEL_ID}/results", self._token)
        return int(results["totals"]["steps"][0]["reached"])

    def _follow(self, seen: dict[str, float], since: float) -> None:
        while sum(self._reached.values()) < self._sent:
            message = self._consumer.poll(1)
            if message is None or message.error() or message.value() is None:
                continue
            if not (message.key() or b"").startswith(_OWN):
                continue  # decoding the records of others would take CPU time from them
            (row,) = self._decode([message.value()]).batch.to_pylist()
            if row["project_id"] == PROBES and row["day"] is None:
                self._reached[row["partition"]] = row["reached"][0]
        seen["ms"] = 1_000 * (time.monotonic() - since)

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


def _get(url: str, token: str = "") -> Any:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _post(url: str, body: Any, key: str) -> None:
    data = json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


if __name__ == "__main__":
    main()
