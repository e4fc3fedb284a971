"""Somebody deletes the inbox: the worker says so, keeps the rest going, and reads the next one."""

import time

from schemas.settings import Settings
from services.topics import ensure_topics
from tests.conftest import HELD_PARTITIONS, PARTITIONS
from tests.events import (
    Results,
    Sent,
    await_equal,
    define,
    figures,
    send,
    stored_events,
)
from tests.kafka import delete_topics
from tests.workers import WorkerProcess

NOW_MS = time.time_ns() // 1_000_000
WITHIN_S = 300.0


def test_a_worker_outlives_a_deleted_topic_and_reads_the_one_made_anew(settings: Settings) -> None:
    inbox = settings.topics.inbox
    define(settings, "buy", ["home", "cart"], window_s=3_600)
    results = Results(settings)
    with WorkerProcess(settings) as worker:
        worker.await_partitions(HELD_PARTITIONS)
        send(settings, [Sent("ann", "home", NOW_MS)])
        await_equal(1, lambda: len(stored_events(results)))

        complaint = f"Subscribed topic not available: {inbox.name}"
        assert complaint not in worker.output
        delete_topics(settings.bootstrap, [inbox.name])
        await_equal(True, lambda: complaint in worker.output, WITHIN_S)
        define(settings, "look", ["home", "cart"], window_s=3_600)
        await_equal([1, 0], lambda: figures(results, "look").totals, WITHIN_S)

        worker.await_partitions(HELD_PARTITIONS - PARTITIONS)  # it has let go of the inbox
        ensure_topics(settings.bootstrap, [inbox], partitions=PARTITIONS, replication_factor=1)
        worker.await_partitions(HELD_PARTITIONS)
        send(settings, [Sent("ben", "home", NOW_MS)])
        await_equal([2, 0], lambda: figures(results, "buy").totals, WITHIN_S)
        assert "Traceback" not in worker.output
        assert worker.stop() == 0
    results.close()
