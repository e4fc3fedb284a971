"""Nothing is lost and nothing counts twice, whatever is killed, paused or restarted meanwhile."""

import contextlib
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from schemas.settings import Settings
from services.broker import Broker
from sinks.connection import connect
from tests.conftest import HELD_PARTITIONS, deployment, free_ports
from tests.events import Results, Sent, await_equal
from tests.faults.load import FUNNEL, LATER, Load, define_funnels, judge
from tests.processes import eventually
from tests.sinks.processes import SinkProcess
from tests.stores import StoreProcess
from tests.workers import WorkerProcess

SESSION_TIMEOUT_MS = 6_000


class Plan(NamedTuple):
    """How much is sent, and what happens meanwhile, in an order drawn at random."""

    events: int
    rate: int
    faults: list[str]


SHORT = Plan(16_000, 1_000, ["kill the worker", "zombie", "kill the sink"])
LONG = Plan(
    1_000_000,
    5_000,
    ["kill the worker"] * 8
    + ["kill the sink"] * 3
    + ["zombie"] * 2
    + ["a second worker comes and goes"] * 2
    + ["restart the broker"] * 2,
)


def settings_of(settings: Settings, store: StoreProcess) -> Settings:
    return replace(
        settings,
        clickhouse_dsn=store.dsn,
        clickhouse_database=f"test_{uuid.uuid4().hex}",
        session_timeout_ms=SESSION_TIMEOUT_MS,
        checkpoint_interval_ms=2_000,
        snapshot_interval_s=5,
    )


class Scene:
    """Everything that runs, and what can happen to it."""

    def __init__(self, settings: Settings, log: Path, restart_broker: object = None) -> None:
        self.settings = settings
        self.one = WorkerProcess(settings, "one")
        self.two = WorkerProcess(settings, "two")
        self.sink = SinkProcess(settings, log)
        self.restart_broker = restart_broker

    def happen(self, fault: str) -> None:
        """Let one thing go wrong, and be mended."""
        everything = HELD_PARTITIONS
        match fault:
            case "kill the worker":
                self.one.kill()
                self.one.start()
            case "kill the sink":
                self.sink.kill()
                self.sink.__enter__()
            case "zombie":
                self.two.start()
                self.two.await_partitions(everything // 2)
                self.two.pause()
                self.one.await_partitions(everything)
                before = len(self.two.output)
                self.two.resume()
                # It is awake once it says something, and that it has been replaced.
                assert eventually(lambda: len(self.two.output) > before, 120)
                self.two.kill()
            case "a second worker comes and goes":
                self.two.start()
                self.two.await_partitions(everything // 2)
                assert self.two.stop() == 0
            case "restart the broker":
                assert callable(self.restart_broker)
                self.restart_broker()
        self.one.await_partitions(everything)


def run(plan: Plan, scene: Scene) -> None:
    settings = scene.settings
    define_funnels(settings)
    faults = random.Random(plan.events).sample(plan.faults, len(plan.faults))
    with contextlib.ExitStack() as stack:
        stack.enter_context(scene.one)
        stack.enter_context(scene.sink)
        scene.one.await_partitions(HELD_PARTITIONS)
        results = Results(settings)
        stack.callback(results.close)
        client = connect(settings, timeout_s=60, name="judge")
        stack.callback(client.close)
        stack.callback(scene.two.kill)
        sent: list[Sent] = []
        count = plan.events // (len(faults) + 1)
        for seed, fault in enumerate([*faults, ""]):
            if seed == len(faults) // 2:
                define_funnels(settings, LATER)
            load = Load(settings, count=count, rate=plan.rate, persons=count // 10, seed=seed)
            with load:
                await_more(results)  # so that it happens in the midst of work
                scene.happen(fault)
                load.finish()
            sent += load.sent
        judge(settings, sent, results, client, FUNNEL | LATER)
        client.command(f"DROP DATABASE {settings.clickhouse_database} SYNC")
    assert "Traceback" not in scene.one.output


def await_more(results: Results) -> None:
    """Wait until events have come through that were not there before."""
    before = len(results.read(results.topics.events))
    await_equal(True, lambda: len(results.read(results.topics.events)) > before, 300)


def test_every_event_counts_once_through_kills_and_zombies(
    settings: Settings, store: StoreProcess, tmp_path: Path
) -> None:
    run(SHORT, Scene(settings_of(settings, store), tmp_path / "sink.log"))


@pytest.mark.faults
def test_every_event_counts_once_though_the_broker_is_killed(
    store: StoreProcess, tmp_path: Path
) -> None:
    with restartable_broker(tmp_path) as (broker, restart), deployment(broker, tmp_path) as base:
        scene = Scene(settings_of(base, store), tmp_path / "sink.log", restart)
        run(Plan(20_000, 1_000, ["restart the broker"] * 2), scene)


@pytest.mark.faults
@pytest.mark.timeout(3_600)
def test_a_million_events_count_once_through_everything(
    store: StoreProcess, tmp_path: Path
) -> None:
    with restartable_broker(tmp_path) as (broker, restart), deployment(broker, tmp_path) as base:
        run(LONG, Scene(settings_of(base, store), tmp_path / "sink.log", restart))


@contextlib.contextmanager
def restartable_broker(directory: Path) -> Iterator[tuple[Broker, object]]:
    port, controller_port = free_ports(2)
    running: list[Broker] = []

    def start() -> None:
        running[:] = [
            Broker.start(
                directory / "kafka", "127.0.0.1", port, controller_port, log_file=directory / "log"
            )
        ]

    def restart() -> None:
        running[0].kill()
        start()

    start()
    try:
        yield running[0], restart
    finally:
        running[0].stop()
