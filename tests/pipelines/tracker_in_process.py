"""The Tracker in this process, on a real broker: records in, events and rejections out."""

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaException

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Headers, Outbox, Outgoing, TopicPartition
from pipelines.tracker.tracker import Tracker
from schemas.avro import files
from schemas.avro.codec import Codec, Encoder
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import TIMEOUT_S, Record
from tests.pipelines.in_process import produce, registry_of

PARTITION = 0


class TrackerInProcess:
    """The Tracker of partition 0 of a deployment."""

    def __init__(self, settings: Settings, position: int = 0) -> None:
        self.settings = settings
        self.position = position
        self.rejections: list[Outgoing] = []  # of the last run
        self.outbox = Outbox()
        self.tracker = Tracker(settings, self.outbox)
        self.tracker.connect(registry_of(settings.bootstrap))
        self._reader = Reader(settings.bootstrap)
        self._await_topic()
        for _ in self.tracker.restore(PARTITION, position, self._reader):
            pass

    def _await_topic(self) -> None:
        """Wait until the new topic's partition has a leader."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                self._reader.bounds(TopicPartition(self.settings.topics.inbox.name, PARTITION))
                return
            except KafkaException:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def send(self, events: Iterable[dict[str, Any]]) -> None:
        """Write events to the inbox."""
        topic, schema = self.settings.topics.inbox.name, files.load("event")
        registry = registry_of(self.settings.bootstrap)
        encoder = Encoder(schema, registry.register(value_subject(topic), schema))
        values = encoder.encode_records(list(events))
        produce(self.settings, topic, [Record(value, b"k", PARTITION) for value in values])

    def run(self) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Track what is on the inbox; return the events, and the headers of the rejections."""
        source = TopicPartition(self.settings.topics.inbox.name, PARTITION)
        for records in self._reader.read(source, self.position):
            if records is not None:
                self.tracker.fold(records)
                self.position = records.next_offset
        codec = Codec(files.load("event"), registry_of(self.settings.bootstrap).find)
        events: list[dict[str, Any]] = []
        rejected: list[dict[str, str]] = []
        self.rejections = []
        for outgoing in self.outbox.take():
            if outgoing.topic == self.settings.topics.rejected.name:
                rejected += map(_texts, outgoing.headers or ())
                self.rejections.append(outgoing)
            else:
                events += codec.decode(outgoing.values.to_pylist()).batch.to_pylist()
        return events, rejected

    def track(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """Send events and return those that are new."""
        self.send(events)
        return self.run()[0]

    def snapshot(self) -> None:
        """Write a snapshot, and wait until it is on disk."""
        self.tracker.snapshot({PARTITION: self.position}, self._reader)
        self.tracker._snapshots.wait()

    def restarted(self) -> "TrackerInProcess":
        """End, and return another one, which goes on from here."""
        self.close()
        return TrackerInProcess(self.settings, self.position)

    def close(self) -> None:
        """Give back the connections."""
        self._reader.close()


def _texts(headers: Headers) -> dict[str, str]:
    return {
        name: text.decode() if isinstance(text, bytes) else text or "" for name, text in headers
    }


def event(**fields: Any) -> dict[str, Any]:
    """Return an event as it is on the inbox."""
    now = time.time_ns() // 1_000_000
    usual = {"project_id": "shop", "distinct_id": "ann", "event": "home", "timestamp": now}
    return usual | fields
