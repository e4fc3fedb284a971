"""The Kafka side of a delivery when partitions are assigned and revoked."""

import contextlib
import time

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from schemas.settings import Settings
from sinks.chunks import Plan
from sinks.partitions import Chunk
from sinks.source import Source, SourceSettings
from tests.sinks.deliveries import GROUP, wait_for
from tests.sinks.events import EventStore


def join(settings: Settings, skipped: list[int] | None = None) -> Source:
    source = SourceSettings(settings.bootstrap, settings.topics.events.name, GROUP, 6_000)
    return Source(source, skipped.append if skipped is not None else lambda _: None)


def owns_all(source: Source, settings: Settings) -> bool:
    """Serve the membership; return whether all partitions are assigned."""
    source.serve(0.05)
    return len(source.lag()) == settings.partitions


def test_a_partition_that_was_revoked_while_paused_is_read_when_it_is_assigned_again(
    settings: Settings,
) -> None:
    store, read = EventStore(settings), set[int]()

    def one_is_with_the_other() -> bool:
        source.serve(0.05)
        other.serve(0.05)
        return len(source.lag()) < settings.partitions and bool(other.lag())

    def all_read() -> bool:
        source.fetch(time.monotonic())
        read.update(chunk.partition.number for chunk in source.chunks())
        return len(read) == settings.partitions

    with contextlib.closing(join(settings)) as source:
        wait_for(lambda: owns_all(source, settings))
        with contextlib.closing(join(settings)) as other:
            wait_for(one_is_with_the_other)
        source.fetch(time.monotonic())
        store.append(10 * settings.partitions)
        wait_for(all_read)


def delete_before(settings: Settings, partition: int, offset: int) -> None:
    """Delete the records of the event store below an offset, as retention does."""
    place = TopicPartition(settings.topics.events.name, partition, offset)
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})
    (done,) = admin.delete_records([place]).values()
    done.result()


def first_chunk(source: Source, partition: int) -> Chunk:
    """Return the first chunk of a partition."""
    found: list[Chunk] = []

    def is_read() -> bool:
        source.fetch(time.monotonic())
        found.extend(chunk for chunk in source.chunks() if chunk.partition.number == partition)
        return bool(found)

    wait_for(is_read)
    return found[0]


@pytest.mark.parametrize(
    ("planned", "committed", "deleted", "again"),
    [(None, None, 3, False), (None, 2, 4, False), (2, 1, 4, False), (6, 1, 4, True)],
    ids=["new group", "committed", "plan that is gone", "plan of which a part is left"],
)
def test_offsets_that_were_deleted_before_they_were_read_are_counted_and_logged(
    settings: Settings, planned: int | None, committed: int | None, deleted: int, again: bool
) -> None:
    EventStore(settings).append(50 * settings.partitions, abort_every=0)
    if committed is not None:
        plan = "" if planned is None else Plan(planned, 1).text
        with contextlib.closing(join(settings)) as source:
            wait_for(lambda: owns_all(source, settings))
            source.commit({source._partitions[0]: (committed, plan)}, lambda: False)
    delete_before(settings, 0, deleted)
    skipped: list[int] = []
    with capture_logs() as logs, contextlib.closing(join(settings, skipped)) as source:
        chunk = first_chunk(source, 0)
    begin = committed or 0
    assert skipped == [deleted - begin]
    (line,) = (line for line in logs if line["event"].startswith("offsets skipped"))
    assert (line["partition"], line["first_skipped"], line["last_skipped"]) == (
        0,
        begin,
        deleted - 1,
    )
    assert (chunk.first, chunk.replayed) == (deleted, again)
    assert not again or chunk.plan.last == planned
