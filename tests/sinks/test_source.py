"""The Kafka side of a delivery when partitions are assigned and revoked."""

import contextlib
import time

from schemas.settings import Settings
from sinks.source import Source, SourceSettings
from tests.sinks.deliveries import GROUP, wait_for
from tests.sinks.events import EventStore


def join(settings: Settings) -> Source:
    return Source(SourceSettings(settings.bootstrap, settings.topics.events.name, GROUP, 6_000))


def test_a_partition_that_was_revoked_while_paused_is_read_when_it_is_assigned_again(
    settings: Settings,
) -> None:
    store, read = EventStore(settings), set[int]()

    def all_owned() -> bool:
        source.serve(0.05)
        return len(source.lag()) == settings.partitions

    def one_is_with_the_other() -> bool:
        source.serve(0.05)
        other.serve(0.05)
        return len(source.lag()) < settings.partitions and bool(other.lag())

    def all_read() -> bool:
        source.fetch(time.monotonic())
        read.update(chunk.partition.number for chunk in source.chunks())
        return len(read) == settings.partitions

    with contextlib.closing(join(settings)) as source:
        wait_for(all_owned)
        with contextlib.closing(join(settings)) as other:
            wait_for(one_is_with_the_other)
        source.fetch(time.monotonic())
        store.append(10 * settings.partitions)
        wait_for(all_read)
