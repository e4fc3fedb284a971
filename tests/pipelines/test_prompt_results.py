"""A worker whose commit interval is long: what comes to an idle system does not wait for it."""

import time
from pathlib import Path

from msgspec.structs import replace

from services.broker import Broker
from tests.conftest import HELD_PARTITIONS, deployment
from tests.events import Results, Sent, await_equal, define, figures, send
from tests.ports import free_port_base
from tests.workers import WorkerProcess

INTERVAL_MS = 60_000
NOW_MS = time.time_ns() // 1_000_000


def test_an_event_is_counted_long_before_the_commit_interval_is_over(
    broker: Broker, tmp_path: Path
) -> None:
    with deployment(broker, tmp_path) as own:
        settings = replace(own, port_base=free_port_base(), commit_interval_ms=INTERVAL_MS)
        define(settings, "buy", ["home", "cart"], window_s=3_600)
        results = Results(settings)
        with WorkerProcess(settings) as worker:
            worker.await_partitions(HELD_PARTITIONS)
            send(settings, [Sent("ann", "home", NOW_MS)])
            await_equal([1, 0], lambda: figures(results, "buy").totals)
            begun = time.monotonic()
            send(settings, [Sent("ann", "cart", NOW_MS + 1), Sent("bob", "home", NOW_MS)])
            await_equal([2, 1], lambda: figures(results, "buy").totals)
            # Two commits: of the event store, and of the results.
            assert time.monotonic() - begun < INTERVAL_MS / 2_000
            assert worker.stop() == 0
        results.close()
