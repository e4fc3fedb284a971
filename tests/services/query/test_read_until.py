"""`complete_until` waits for what the worker and the sink have yet to read."""

from collections.abc import Mapping
from typing import Final

from schemas.settings import Settings
from services.query.log.offsets import Next, Offsets
from services.query.log.read_until import ReadUntil, Sample
from services.query.operators.context import earlier
from services.query.operators.metric.aggregates import MetricQuery
from tests.oracles.events import Event
from tests.services.query.recorded import Recorded
from tests.warehouse import Warehouse

ALL: Final = {0: 10, 1: 10}


def sample(
    at: int,
    inbox: int,
    inbox_read: int,
    events: int,
    worker: int,
    sink: int | None = None,
) -> Sample:
    """A sample of two partitions; the second is read to its end, and quiet."""

    def both(end: int) -> Mapping[int, int]:
        return {0: end, 1: 7}

    read = {"stream": both(worker), "store": both(worker if sink is None else sink)}
    return Sample(at, both(inbox), both(inbox_read), both(events), read)  # type: ignore[arg-type]  # of two literals


def test_what_was_acknowledged_before_a_moment_is_read_once_both_topics_are_read_up_to_it() -> None:
    until = ReadUntil()
    assert until.of("stream") is None
    until.add(sample(1_000, inbox=5, inbox_read=0, events=3, worker=3))
    assert until.of("stream") is None  # the worker has yet to track them
    until.add(sample(2_000, inbox=9, inbox_read=5, events=8, worker=3))
    assert until.of("stream") is None  # tracked up to the first moment, and not counted yet
    until.add(sample(3_000, inbox=12, inbox_read=6, events=9, worker=8, sink=7))
    assert (until.of("stream"), until.of("store")) == (1_000, None)
    until.add(sample(4_000, inbox=12, inbox_read=12, events=15, worker=15, sink=9))
    assert (until.of("stream"), until.of("store")) == (4_000, 1_000)


def test_a_lagging_partition_holds_the_moment_and_it_never_goes_back() -> None:
    until = ReadUntil()
    until.add(sample(1_000, inbox=5, inbox_read=5, events=5, worker=5))
    for at in range(2_000, 9_000, 1_000):
        until.add(sample(at, inbox=5 + at, inbox_read=5, events=5, worker=5))
        assert until.of("stream") == 1_000
    until.add(sample(9_000, inbox=20_000, inbox_read=0, events=9, worker=0))
    assert until.of("stream") == 1_000


def test_figures_are_complete_up_to_the_earlier_of_clock_and_reading() -> None:
    assert earlier(5, 3) == earlier(3, 5) == 3
    assert earlier(None, 3) is None
    assert earlier(3, None) is None
    query = MetricQuery(9_000, clock=8_000, lateness_ms=1_000)
    assert query.complete_until == 7_000
    assert query._replace(read_until=5_000).complete_until == 4_000
    assert query._replace(read_until=None).complete_until is None


def test_offsets_are_those_of_records_and_not_of_markers(
    settings: Settings, warehouse: Warehouse
) -> None:
    recorded = Recorded(settings, warehouse)
    offsets = Offsets(settings.cluster, settings.topics.events.name, settings.partitions)
    recorded.write([Event("ann", "home", 1), Event("ann", "home", 2)])
    recorded.end_transaction()
    assert offsets.ends()[0] == offsets.kept()[0].end == 4
    found = offsets.next_records({0: 1, 1: 0})
    assert isinstance(found[0], Next)
    assert (found[0].offset, found[1]) == (1, None)
    assert offsets.next_records({0: 2})[0] is None
    until, records = offsets.records(0, 0, 4, 100)
    assert (until, len(records)) == (4, 2)
    assert offsets.records(0, 0, 1, 100)[0] == 1
    assert offsets.committed("nobody") == {}
