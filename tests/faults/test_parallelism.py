"""State built by one worker is restored by two, and by one again, with the same figures."""

import contextlib

import pytest
from msgspec.structs import replace

from schemas.settings import Settings
from tests.conftest import HELD_PARTITIONS
from tests.events import Results, Sent
from tests.faults.load import Load, define_funnels, judge
from tests.workers import WorkerProcess

EVERYTHING = HELD_PARTITIONS


@pytest.mark.faults
def test_one_worker_then_two_then_one_give_the_same_figures(settings: Settings) -> None:
    settings = replace(settings, checkpoint_interval_ms=1_000)
    define_funnels(settings)
    one, two = WorkerProcess(settings, "one"), WorkerProcess(settings, "two")
    sent: list[Sent] = []
    with contextlib.ExitStack() as stack:
        results = Results(settings)
        stack.callback(results.close)

        def send_and_judge() -> None:
            with Load(settings, count=2_000, rate=2_000, persons=150, seed=len(sent)) as load:
                load.finish()
            sent.extend(load.sent)
            judge(settings, sent, results)

        with one:
            one.await_partitions(EVERYTHING)
            send_and_judge()
            assert one.stop() == 0
        with one, two:
            one.await_partitions(EVERYTHING // 2)
            two.await_partitions(EVERYTHING // 2)
            send_and_judge()
            assert one.stop() == 0
            two.await_partitions(EVERYTHING)
            send_and_judge()
