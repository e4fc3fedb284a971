"""The loop that delivers a topic to a sink, each record exactly once.

    fetch ─▶ plan ─▶ persist the plan ─▶ write ─▶ commit the end ─▶ fetch

For each partition, the group's committed offset is where the next chunk begins, and its metadata is
the plan of that chunk, once there is one (`sinks.chunks`). This is sufficient:

**A crash between two steps.** Before the plan is persisted, nothing has been written, and the next
owner plans as it likes. Afterwards the next owner finds the plan, reads the same records, and tells
the sink that the batch may have been written. Once the end is committed, the chunk is complete.

**Reading a chunk again** gives the same rows: it ends with a committed record, all transactions
before that are decided, and so gaps remain gaps. The checksum proves it.

**A zombie.** Only one member owns a partition at a time, apart from one that was stopped for longer
than the session timeout and does not know yet that it has been replaced. Its commits have an old
generation and are refused, so it cannot persist plans, and it writes only batches whose plan is
persisted. The new owner has found the plans that the zombie persisted before it was replaced, since
the coordinator accepted those commits before the new generation began. The zombie can therefore
write only what the new owner writes, too, and the sink recognises the same batch, or refuses one
that comes too late (`sinks.clickhouse`). The zombie cannot join a new generation unnoticed: it
rejoins only within a poll, which first reports that the partition is lost.

**Without a committed offset**, which Kafka may forget, what the sink has says where to continue
(`sinks.resume`).

**A commit with an unknown outcome** is repeated unchanged until it succeeds or the partition is
lost. If that takes too long, or another Kafka call fails, the consumer is replaced and starts from
the committed offsets. Writes to a sink that does not answer are repeated with growing pauses;
meanwhile the partitions are paused and the membership is kept alive.

**A repeatable sink** (`sinks.base.Sink.repeatable`) gets no plans: what is written again, by the
next owner or by a zombie, changes nothing for its readers.

A record that cannot be decoded (the workers write none) is logged and sent to the rejected topic,
with the reason and its position, before its chunk is committed. After a crash in between it can be
there twice with the same position. The record itself remains on its topic.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from confluent_kafka import KafkaException, Message

from schemas.errors import Unavailable
from sinks.base import Batch, Sink, boot_clock_s
from sinks.partitions import Begin, Chunk
from sinks.rejects import Rejects
from sinks.rows import Decoded
from sinks.source import Source, SourceSettings
from sinks.telemetry import Metrics
from sinks.writer import Writer, pause_s

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S: Final = 4.0
_SERVE_EVERY_S: Final = 0.5


class Decode(Protocol):
    """Decodes records of a partition into rows; equal records give equal rows."""

    def __call__(self, partition: int, messages: Sequence[Message]) -> Decoded:
        """Return the rows, and which records are none. May block, and raise; it can be repeated."""


class Delivery:
    """Delivers a process' share of a topic to one sink.

    `decode` makes the sink's rows of records, and `begin` says where to begin to read a partition.
    """

    def __init__(
        self,
        settings: SourceSettings,
        sink: Sink,
        decode: Decode,
        begin: Begin,
        rejects: Rejects,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._decode = decode
        self._begin = begin
        self._rejects = rejects
        self._metrics = metrics
        self._not_before_s = 0.0
        self._stop = threading.Event()
        self._stop_by_s = float("inf")

    def stop(self) -> None:
        """Let `run` return within `STOP_TIMEOUT_S` if Kafka answers; for any thread or signal."""
        self._stop_by_s = min(self._stop_by_s, time.monotonic() + STOP_TIMEOUT_S)
        self._stop.set()

    def run(self) -> None:
        """Deliver until `stop`; the current chunk is completed, or left for replay.

        Raises:
            Misconfigured: nothing can be delivered until the configuration is corrected.
        """
        if not self._set_up():
            return
        writer = Writer(self._sink, self._metrics)
        source = Source(self._settings, self._metrics.skipped, self._begin)
        with contextlib.closing(writer), contextlib.closing(source):
            while not self._stop.is_set():
                try:
                    self._deliver(source, writer)
                except (KafkaException, Unavailable) as error:
                    log.warning("starting again from the committed offsets", error=str(error))
                    if not self._stop.wait(pause_s(1)):
                        source.reopen()

    def _deliver(self, source: Source, writer: Writer) -> None:
        source.fetch(self._not_before_s)
        self._metrics.behind(source.lag())
        # Step 2. Plan.
        chunks = source.chunks()
        if not chunks:
            return
        self._not_before_s = time.monotonic() + self._settings.chunk_interval_ms / 1_000
        # Step 3. Persist. The clock is read before: nobody can have written the chunk earlier.
        planned_at_s = boot_clock_s()
        if not self._sink.repeatable:
            plans = {
                one.partition: (one.first, one.plan.text) for one in chunks if not one.replayed
            }
            source.commit(plans, self._is_late)
        # Step 4. Write.
        tasks = [writer.submit(self._batch(one, planned_at_s), one) for one in chunks if one.owned]
        for task in tasks:
            while not task.wait(_SERVE_EVERY_S):
                source.serve(0)
                if self._is_late():
                    raise Unavailable("stopped before the sink answered")
        # Step 5. Commit.
        self._rejects.flush()
        written = [task.chunk for task in tasks if task.written]
        source.commit({one.partition: (one.plan.last + 1, "") for one in written}, self._is_late)
        self._metrics.delivered(one.replayed for one in written)

    def _batch(self, chunk: Chunk, planned_at_s: float) -> Batch:
        rows, failures = self._decode(chunk.partition.number, chunk.messages)
        for failure in failures:
            self._rejects.add(chunk.messages[failure.row], failure)
            self._metrics.rejected(failure.reason)
        return Batch(
            self._settings.topic,
            chunk.partition.number,
            chunk.first,
            chunk.plan.last,
            chunk.plan.checksum,
            rows,
            planned_at_s,
            chunk.replayed,
        )

    def _set_up(self) -> bool:
        for attempt in itertools.count():
            try:
                self._sink.setup()
            except Unavailable as error:
                log.warning("the sink is not ready", error=str(error))
                if self._stop.wait(pause_s(attempt)):
                    break
            else:
                return True
        return False

    def _is_late(self) -> bool:
        return time.monotonic() > self._stop_by_s
