"""A worker whose committed offsets were forgotten counts nothing twice."""

import time
import uuid

from confluent_kafka.admin import AdminClient

from schemas.settings import Settings
from services.topics import ensure_topics
from tests.conftest import HELD_PARTITIONS, PARTITIONS
from tests.events import Results, Sent, await_equal, define, figures, send, stored_events
from tests.kafka import delete_topics
from tests.workers import WorkerProcess

NOW_MS = time.time_ns() // 1_000_000
STEPS = ["home", "cart"]


def events(name: str, count: int) -> list[Sent]:
    """Both steps of as many persons, in order."""
    return [
        Sent(f"{name}{n}", step, NOW_MS - 10_000 + at)
        for n in range(count)
        for at, step in enumerate(STEPS)
    ]


def forget_offsets(settings: Settings) -> None:
    """What Kafka does with the offsets of a group that is empty for long."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    (done,) = admin.delete_consumer_groups([settings.app_id]).values()
    done.result()


def forget_positions(settings: Settings) -> None:
    """What a deployment of an earlier version has: no record of the positions."""
    delete_topics(settings.bootstrap, [settings.topics.positions.name])
    ensure_topics(settings.bootstrap, settings.topics, partitions=PARTITIONS, replication_factor=1)


def assert_counted(settings: Settings, persons: int) -> None:
    """As many persons have done both steps, and their events are in the store once."""
    results = Results(settings)
    await_equal([persons, persons], lambda: figures(results, "buy").totals)
    assert len(stored_events(results)) == 2 * persons
    results.close()


def test_a_worker_continues_from_its_own_record_when_kafka_has_forgotten_its_offsets(
    settings: Settings,
) -> None:
    define(settings, "buy", STEPS, window_s=3_600)
    send(settings, events("a", 50))
    with WorkerProcess(settings) as worker:
        worker.await_partitions(HELD_PARTITIONS)
        assert_counted(settings, 50)
        assert worker.stop() == 0
        assert "forgotten" not in worker.output  # the first one reads from the beginning
        forget_offsets(settings)
        send(settings, events("b", 10))
        worker.start()
        assert_counted(settings, 60)
        assert "Kafka has forgotten the offset: continuing from our own" in worker.output
        assert worker.stop() == 0


def test_a_worker_that_cannot_know_where_to_continue_refuses_and_names_the_command_that_decides(
    settings: Settings,
) -> None:
    define(settings, "buy", STEPS, window_s=3_600)
    send(settings, events("a", 50))
    with WorkerProcess(settings) as worker:
        worker.await_partitions(HELD_PARTITIONS)
        assert_counted(settings, 50)
        assert worker.stop() == 0
    forget_offsets(settings)
    forget_positions(settings)
    with WorkerProcess(settings, "refused") as worker:
        assert worker.process.wait(120) != 0
        assert "AVILA_MISSING_OFFSETS=end avila worker" in worker.output
        assert settings.topics.events.name in worker.output
    with WorkerProcess(settings, "decided", AVILA_MISSING_OFFSETS="end") as worker:
        restored = HELD_PARTITIONS
        await_equal(restored, lambda: worker.output.count("partition restored"))
        send(settings, events(uuid.uuid4().hex, 10))
        assert_counted(settings, 60)
        assert worker.stop() == 0
