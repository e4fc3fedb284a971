"""Many timers that are due at once: `python -m benchmarks.timers`.

100,000 persons enter a segment within one second, so that all of them leave it within one second,
without an event. Meanwhile a probe takes the first step of a funnel every 10 ms. The latency from
its event to the result topic, before persons leave and while they do, shows how long the worker is
held up.
"""

import argparse
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.bench import (
    WORKER,
    Filler,
    console,
    define,
    environment_of,
    parts_of,
    process,
    system,
    until,
)
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.operators.funnel import FUNNEL, Funnel, FunnelDefinition
from schemas.operators.segment import SEGMENT, Segment, SegmentDefinition
from schemas.registry.log import Registry
from schemas.settings import Settings
from services.worker import partitions_held

_WITHIN_S = 40
_QUIET_S = 15  # before persons leave; the usual latency
_EVERY_S = 0.01
_SEGMENT = msgspec.convert(
    {"rule": {"last_seen": {"event": "visit", "within_s": _WITHIN_S}}}, Segment
)
_FUNNEL = msgspec.convert(
    {"steps": [{"event": "first"}, {"event": "second"}], "window_s": 3_600}, Funnel
)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=100_000)
    persons = parser.parse_args().persons
    with system() as settings:
        define(
            settings,
            [
                SegmentDefinition(**parts_of("segment", 0), segment=_SEGMENT, rule=_SEGMENT.rule),
                FunnelDefinition(**parts_of("funnel", 0), funnel=_FUNNEL),
            ],
        )
        filler = Filler(settings, settings.topics.events.name, persons=persons)
        with process(WORKER, environment_of(settings)):
            filler.send(["nobody"], ["visit"], time.time_ns() // 1_000_000)
            until(lambda: partitions_held(settings) == settings.partitions, 300)
            names = [f"person-{n}" for n in range(persons)]
            began = time.time() - 1  # events ahead of the time of day would advance the event clock
            filler.send(names, ["visit"] * persons, int(1_000 * began))
            due = began + _WITHIN_S
            probe = Probe(settings, filler)
            left = Left(settings, persons)
            left.join()
            probe.stop()
            filler.close()
    at, latency = np.array(probe.seen).T
    before = latency[(at > due - _QUIET_S) & (at < due - 1)]
    meanwhile = latency[(at > due - 0.2) & (at < left.last)]
    print(
        json.dumps(
            {
                "persons": persons,
                "steps_before": len(before),
                "steps_meanwhile": len(meanwhile),
                "latency_before_ms": _of(before),
                "latency_meanwhile_ms": _of(meanwhile),
                "stall_ms": round(float(meanwhile.max() - before.max())),
                "all_left_after_ms": round(1_000 * (left.last - due - 1)),
            }
        )
    )


def _of(latency: Any) -> dict[str, int]:
    p50, p99, worst = np.percentile(latency, [50, 99, 100]).round().astype(int).tolist()
    return {"p50": p50, "p99": p99, "max": worst}


def records(settings: Settings, topic: str, schema: str) -> Iterator[dict[str, Any] | None]:
    """Yield the committed records of a topic from its beginning; None when there are no more."""
    decode = Codec(files.load(schema), Registry(settings.bootstrap).find).decode
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap,
            "group.id": "timers",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(settings.partitions)])
    while True:
        messages = [message for message in consumer.consume(10_000, 0.01) if not message.error()]
        yield from decode([message.value() for message in messages]).batch.to_pylist()
        yield None


class Probe:
    """Takes a first step every 10 ms; `seen` has when each was sent, and its latency in ms."""

    def __init__(self, settings: Settings, filler: Filler) -> None:
        self.seen: list[tuple[float, float]] = []
        self._settings = settings
        self._filler = filler
        self._sent: dict[str, float] = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=run) for run in (self._send, self._follow)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._over.wait(_EVERY_S):
            name = f"probe-{len(self._sent)}"
            self._sent[name] = time.time()
            self._filler.send([name], ["first"], int(1_000 * time.time()))

    def _follow(self) -> None:
        for record in records(
            self._settings, FUNNEL.changes[0].topic(self._settings.topics).name, "funnel-step"
        ):
            if record is not None:
                sent = self._sent[record["person_id"]]
                self.seen.append((sent, 1_000 * (time.time() - sent)))
            elif self._over.is_set() and len(self.seen) == len(self._sent):
                return

    def stop(self) -> None:
        """Stop sending, and wait until all steps are seen."""
        self._over.set()
        for thread in self._threads:
            thread.join()


class Left(threading.Thread):
    """Waits until all persons have left; `last` is when the last one was seen."""

    def __init__(self, settings: Settings, persons: int) -> None:
        super().__init__()
        self._settings, self._persons = settings, persons
        self.last = 0.0
        self.start()

    def run(self) -> None:
        """Count persons who left."""
        left = 0
        topic = SEGMENT.changes[0].topic(self._settings.topics).name
        for record in records(self._settings, topic, "segment-change"):
            if record is not None:
                left += record["change"] == "left"
            elif left >= self._persons:
                self.last = time.time()
                return


if __name__ == "__main__":
    console.print("some 50 s")
    main()
