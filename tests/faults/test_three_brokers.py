"""Of three brokers any one may be killed: nothing is lost and nothing counts twice."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from schemas.settings import Settings
from services.broker import Broker
from sinks.connection import connect
from tests.brokers import ThreeBrokers
from tests.conftest import HELD_PARTITIONS, PARTITIONS, deployment
from tests.events import Results
from tests.faults.load import Load, define_funnels, judge
from tests.faults.test_crash import await_more, settings_of
from tests.sinks.processes import SinkProcess
from tests.stores import StoreProcess
from tests.workers import WorkerProcess


class Plan(NamedTuple):
    """How much is sent, and whose leaders are killed meanwhile: `topics`, in this order."""

    events: int
    rate: int
    topics: list[str]


@contextlib.contextmanager
def three_brokers(directory: Path) -> Iterator[tuple[ThreeBrokers, Settings]]:
    """A cluster, and a deployment whose topics are on all three of its brokers."""
    with ThreeBrokers(directory) as brokers:
        any_of_them = Broker(brokers.any.process, brokers.bootstrap)
        with deployment(any_of_them, directory, replication_factor=3) as settings:
            yield brokers, settings


def run(plan: Plan, brokers: ThreeBrokers, settings: Settings, log: Path) -> None:
    define_funnels(settings)
    with (
        WorkerProcess(settings) as worker,
        SinkProcess(settings, log),
        contextlib.closing(Results(settings)) as results,
        contextlib.closing(connect(settings, timeout_s=60, name="judge")) as client,
    ):
        worker.await_partitions(HELD_PARTITIONS)
        sent = []
        count = plan.events // len(plan.topics)
        draw = random.Random(plan.events)
        for seed, topic in enumerate(plan.topics):
            with Load(settings, count=count, rate=plan.rate, persons=500, seed=seed) as load:
                await_more(results)
                killed = brokers.leader(topic, draw.randrange(PARTITIONS))
                brokers.kill(killed)
                await_more(results)  # without it
                brokers.start(killed)
                load.finish()
            sent += load.sent
        judge(settings, sent, results, client)
        client.command(f"DROP DATABASE {settings.clickhouse_database} SYNC")
    assert "Traceback" not in worker.output


def test_every_event_counts_once_though_a_leader_is_killed(
    store: StoreProcess, tmp_path: Path
) -> None:
    with three_brokers(tmp_path) as (brokers, base):
        settings = settings_of(base, store)
        plan = Plan(8_000, 1_000, [settings.topics.inbox.name])
        run(plan, brokers, settings, tmp_path / "sink.log")


@pytest.mark.faults
@pytest.mark.timeout(1_800)
def test_240_000_events_count_once_though_every_kind_of_leader_is_killed(
    store: StoreProcess, tmp_path: Path
) -> None:
    with three_brokers(tmp_path) as (brokers, base):
        settings = settings_of(base, store)
        topics = settings.topics
        kinds = [topics.inbox, topics.events, topics.person_state]
        led = [*(topic.name for topic in kinds), "__transaction_state", "__consumer_offsets"]
        plan = Plan(240_000, 2_000, [*led, topics.events.name])
        run(plan, brokers, settings, tmp_path / "sink.log")
