"""What the Kafka end of a delivery does when partitions come and go."""

import contextlib
import time

from schemas.settings import Settings
from sinks.source import Source, SourceSettings
from tests.sinks.deliveries import GROUP, wait_for
from tests.sinks.events import EventStore


def join(settings: Settings) -> Source:
    return Source(SourceSettings(settings.bootstrap, settings.topics.events.name, GROUP, 6_000))


def test_a_partition_that_went_away_while_nothing_was_wanted_is_read_when_it_comes_back(
    settings: Settings,
) -> None:
    store, read = EventStore(settings), set[int]()

    def all_ours() -> bool:
        source.serve(0.05)
        return len(source.lag()) == settings.partitions

    def one_is_the_others() -> bool:
        source.serve(0.05)
        other.serve(0.05)
        return len(source.lag()) < settings.partitions and bool(other.lag())

    def all_read() -> bool:
        source.fetch(time.monotonic())
        read.update(cut.partition.number for cut in source.cuts())
        return len(read) == settings.partitions

    with contextlib.closing(join(settings)) as source:
        wait_for(all_ours)
        with contextlib.closing(join(settings)) as other:
            wait_for(one_is_the_others)
        source.fetch(time.monotonic())
        store.append(10 * settings.partitions)
        wait_for(all_read)
