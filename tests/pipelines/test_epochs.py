"""Epochs on a real broker, with state that keeps nothing."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from pipelines.worker.epoch_settings import EpochSettings
from pipelines.worker.epochs import Epochs
from pipelines.worker.latency import LATENCY
from pipelines.worker.telemetry import COMMITS, SKIPPED
from schemas.settings import Settings
from tests.kafka import Record, produce

TIMEOUT_S = 120.0


class NoState:
    """State for which nothing has to be restored, flushed or backfilled."""

    backfilling = False
    snapshot_due = False

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    def restore(self, *_: object) -> Iterator[None]:
        yield from ()

    def missing_offset(self, source: TopicPartition) -> int:
        with closing(Reader(self._bootstrap)) as reader:
            return reader.bounds(source)[0]

    def drop(self, source: TopicPartition) -> None: ...

    def flush(self, positions: dict[TopicPartition, int]) -> None: ...

    @property
    def live_per_past(self) -> float:
        return 0.0

    def catch_up(self) -> None: ...

    def snapshot(self, positions: dict[TopicPartition, int]) -> None: ...


@pytest.fixture
def topic(settings: Settings) -> str:
    return settings.topics.inbox.name


def open_epochs(settings: Settings, commit_interval_ms: int = 200) -> Epochs:
    name = f"{settings.app_id}.one"
    state = NoState(settings.bootstrap)
    how = EpochSettings(
        settings.bootstrap, settings.app_id, name, commit_interval_ms=commit_interval_ms
    )
    epochs = Epochs(how, state, Outbox())
    epochs.subscribe([settings.topics.inbox.name])
    return epochs


def fetch(epochs: Epochs, count: int) -> list[bytes | None]:
    """The values of the next `count` records."""
    values: list[bytes | None] = []
    deadline = time.monotonic() + TIMEOUT_S
    while len(values) < count:
        assert time.monotonic() < deadline, values
        for records in epochs.fetch():
            values += records.values
        if epochs.must_restore:
            epochs.restore()
    return values


def delete_records(settings: Settings, topic: str, before: int) -> None:
    """Delete partition 0's records below an offset, as retention does."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    (done,) = admin.delete_records([KafkaPartition(topic, 0, before)]).values()
    done.result()


def send(settings: Settings, topic: str, *values: bytes) -> None:
    produce(settings.bootstrap, topic, [Record(value, partition=0) for value in values])


def skipped(topic: str) -> float:
    value: float = SKIPPED.labels(topic)._value.get()
    return value


def events(logs: list[Any]) -> list[tuple[int, int, int]]:
    """What was logged of skipped offsets: the first, the last, how many."""
    return [
        (line["first_skipped"], line["last_skipped"], line["skipped"])
        for line in logs
        if line["event"].startswith("offsets skipped")
    ]


def test_offsets_that_are_deleted_while_no_worker_runs_are_counted_and_logged(
    settings: Settings, topic: str
) -> None:
    send(settings, topic, b"0", b"1")
    epochs = open_epochs(settings)
    assert fetch(epochs, 2) == [b"0", b"1"]
    epochs.close(commit=True)
    send(settings, topic, b"2", b"3", b"4", b"5")
    delete_records(settings, topic, 5)
    epochs = open_epochs(settings)
    with capture_logs() as logs:
        assert fetch(epochs, 1) == [b"5"]
    epochs.close(commit=True)
    assert events(logs) == [(2, 4, 3)]
    assert skipped(topic) == 3


def test_offsets_that_are_deleted_before_a_running_worker_has_read_them_are_counted_and_logged(
    settings: Settings, topic: str
) -> None:
    send(settings, topic, b"0", b"1")
    epochs = open_epochs(settings)
    assert fetch(epochs, 2) == [b"0", b"1"]
    source = KafkaPartition(topic, 0)
    epochs._consumer.pause([source])
    send(settings, topic, b"2", b"3", b"4", b"5")
    delete_records(settings, topic, 4)
    epochs._consumer.resume([source])
    with capture_logs() as logs:
        assert fetch(epochs, 2) == [b"4", b"5"]
    epochs.close(commit=True)
    assert events(logs) == [(2, 3, 2)]
    assert skipped(topic) == 2


def test_a_first_start_skips_nothing(settings: Settings, topic: str) -> None:
    send(settings, topic, b"0", b"1", b"2")
    delete_records(settings, topic, 1)
    epochs = open_epochs(settings)
    with capture_logs() as logs:
        assert fetch(epochs, 2) == [b"1", b"2"]
    epochs.close(commit=True)
    assert events(logs) == []


def test_a_record_of_drained_input_is_committed_without_waiting_for_the_interval(
    settings: Settings, topic: str
) -> None:
    epochs = open_epochs(settings, commit_interval_ms=60_000)
    source = KafkaPartition(topic, 0)
    for count in (1, 2, 3):
        send(settings, topic, b"one")
        begun = time.monotonic()
        assert fetch(epochs, 1) == [b"one"]
        while epochs._consumer.committed([source], timeout=TIMEOUT_S)[0].offset < count:
            assert time.monotonic() - begun < 30
            assert epochs.fetch() == []
    epochs.close(commit=True)


def test_an_idle_worker_commits_nothing(settings: Settings, topic: str) -> None:
    send(settings, topic, b"one")
    epochs = open_epochs(settings)
    assert fetch(epochs, 1) == [b"one"]
    assert epochs.fetch() == []
    assert epochs.fetch() == []
    before = COMMITS._value.get()
    for _ in range(5):
        assert epochs.fetch() == []
    assert COMMITS._value.get() == before
    epochs.close(commit=True)


def test_each_stage_of_a_record_on_its_way_to_the_commit_is_measured(
    settings: Settings, topic: str
) -> None:
    send(settings, topic, b"one", b"two")
    epochs = open_epochs(settings)
    fetch(epochs, 2)
    epochs.close(commit=True)
    counts = {
        sample.labels["stage"]: sample.value
        for metric in LATENCY.collect()
        for sample in metric.samples
        if sample.name.endswith("_count") and sample.labels["topic"] == topic
    }
    assert counts.keys() == {"read", "process", "wait", "commit"}
    assert min(counts.values()) >= 1
