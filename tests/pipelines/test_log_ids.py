"""The same data directory on another cluster: nothing of the first one's log is believed there."""

import uuid
from contextlib import closing
from pathlib import Path

from msgspec.structs import replace

from pipelines.kafka.reader import Reader
from pipelines.worker.snapshots import Snapshots
from schemas.settings import Settings
from services.broker import Broker
from services.topics import ensure_topics
from tests.conftest import HELD_PARTITIONS, PARTITIONS, free_ports
from tests.events import (
    Results,
    Sent,
    await_equal,
    event_schema_id,
    record,
    send,
    stored_events,
)
from tests.kafka import delete_topics, produce
from tests.workers import WorkerProcess

NOW_MS = 1_790_000_000_000


def make_topics(settings: Settings) -> None:
    ensure_topics(settings.bootstrap, settings.topics, partitions=PARTITIONS, replication_factor=1)


def test_a_topic_that_is_made_again_is_another_log(settings: Settings) -> None:
    topic = settings.topics.rejected.name
    with closing(Reader(settings.bootstrap)) as reader:
        first = reader.log_id(topic)
        assert reader.log_id(topic) == first
        assert reader.log_id(settings.topics.inbox.name) != first
        delete_topics(settings.bootstrap, [topic])
        make_topics(settings)
    with closing(Reader(settings.bootstrap)) as reader:
        assert reader.log_id(topic) != first


def test_events_on_another_cluster_are_not_taken_for_duplicates(
    settings: Settings, tmp_path: Path
) -> None:
    events = [Sent(f"p{n}", "home", NOW_MS, event_id=f"event {n}") for n in range(200)]
    once = replace(settings, snapshot_interval_s=1, worker_id="one")
    assert counted(once, events) == 200
    kept = Snapshots(once.snapshot_dir, "dedup")
    await_equal(True, lambda: bool(list((once.snapshot_dir / "dedup").glob("*.npz"))))
    assert kept.load(0) is None
    ports = free_ports(2)
    other = Broker.start(tmp_path / "kafka", "127.0.0.1", *ports, log_file=tmp_path / "kafka.log")
    try:
        there = replace(once, kafka_bootstrap=other.bootstrap, snapshot_interval_s=86_400)
        make_topics(there)
        # With these, the offsets that the snapshots stand for are committed there, too.
        assert counted(there, [event._replace(event_id="") for event in events]) == 200
        assert counted(there, events) == 400
    finally:
        other.stop()


def counted(settings: Settings, events: list[Sent]) -> int:
    """How many events there are when a worker has taken these, and one that comes last."""
    last = Sent("last", str(len(events)), NOW_MS, project=uuid.uuid4().hex)
    with WorkerProcess(settings) as worker:
        worker.await_partitions(HELD_PARTITIONS)
        send(settings, events)
        results = Results(settings)
        for partition in range(PARTITIONS):
            mark = record(last, event_schema_id(settings))._replace(partition=partition)
            produce(settings.bootstrap, settings.topics.inbox.name, [mark])
        await_equal(
            PARTITIONS, lambda: sum(e["project_id"] == last.project for e in stored_events(results))
        )
        found: int = sum(event["project_id"] == "shop" for event in stored_events(results))
        results.close()
        assert worker.stop() == 0
    return found
