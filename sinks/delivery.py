"""The loop that carries the event store to a sink, each record exactly once.

    fetch ─▶ plan ─▶ persist the plan ─▶ write ─▶ commit the end ─▶ fetch

For each partition, the group's committed offset is where the next cut starts, and its metadata is
the plan of that cut, once there is one (`sinks.chunks`). Why that is enough:

**Killed between two steps.** Before the plan is persisted nothing was written: whoever comes next
plans as it likes. After it, whoever comes next finds the plan, reads the same records, and tells
the sink that the batch may stand already. After the end is committed the cut is history.

**Reading a cut again** gives the same rows: it ends with a record that was committed, and below
that every transaction is decided, so gaps stay gaps. The checksum proves it.

**Another owner, and a zombie.** Only one member owns a partition at a time, except one that was
stopped for longer than the session timeout and does not know yet that it was replaced. Its commits
carry its old generation and are refused, so it can persist no plan, and it writes nothing whose
plan is not persisted. What it had persisted before it was replaced, the new owner found: the
coordinator took the commit before it let the new generation begin. So the zombie can only write
what the new owner writes too, and the sink sees that it is the same batch, if need be because it
comes too late (`sinks.clickhouse`). A new generation cannot reach the zombie behind its back: it
rejoins only from within a poll, after it was told there that the partition is lost.

**A commit whose outcome is not known** is repeated as it is until it is known or the partition
lost; when that takes too long or anything else goes wrong with Kafka, the consumer is made anew
and begins with what is committed. A sink that does not answer is asked again, for ever and ever
less often; meanwhile the partitions are paused and the membership kept alive.

A record that is no event (the Tracker writes none) goes to the rejected topic before its cut is
committed, with the reason and its position, and is logged. A crash in between can put it there
twice, under the same position; the record itself stays in the event store.
"""

import contextlib
import itertools
import queue
import threading
import time
from typing import Final

import structlog
from confluent_kafka import KafkaException

from schemas.avro.codec import Codec
from schemas.errors import Unavailable
from sinks.base import Batch, Sink, boot_clock_s
from sinks.rejects import Rejects
from sinks.rows import decode
from sinks.source import Cut, Source, SourceSettings
from sinks.telemetry import Metrics

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S: Final = 4.0
_SERVE_EVERY_S: Final = 0.5
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


class Delivery:
    """One process' share of the event store, on its way to one sink."""

    def __init__(
        self,
        settings: SourceSettings,
        sink: Sink,
        codec: Codec,
        rejects: Rejects,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._codec = codec
        self._rejects = rejects
        self._metrics = metrics
        self._not_before_s = 0.0
        self._stop = threading.Event()
        self._stop_by_s = float("inf")

    def stop(self) -> None:
        """Make `run` return within `STOP_TIMEOUT_S` if Kafka answers; from any thread or signal."""
        self._stop_by_s = min(self._stop_by_s, time.monotonic() + STOP_TIMEOUT_S)
        self._stop.set()

    def run(self) -> None:
        """Deliver until `stop`; the cut at hand is finished, or left to be replayed.

        Raises:
            Misconfigured: going on is of no use.
        """
        if not self._set_up():
            return
        writer = _Writer(self._sink, self._metrics)
        with contextlib.closing(writer), contextlib.closing(Source(self._settings)) as source:
            while not self._stop.is_set():
                try:
                    self._deliver(source, writer)
                except (KafkaException, Unavailable) as error:
                    log.warning("reading begins anew from what is committed", error=str(error))
                    if not self._stop.wait(_pause_s(1)):
                        source.reopen()

    def _deliver(self, source: Source, writer: "_Writer") -> None:
        source.fetch(self._not_before_s)
        self._metrics.behind(source.lag())
        # Step 2. Plan.
        cuts = source.cuts()
        if not cuts:
            return
        self._not_before_s = time.monotonic() + self._settings.cut_interval_ms / 1_000
        # Step 3. Persist. The clock is read before: nobody can have written the cut earlier.
        planned_at_s = boot_clock_s()
        plans = {cut.partition: (cut.first, cut.plan.text) for cut in cuts if not cut.replayed}
        source.commit(plans, self._is_late)
        # Step 4. Write.
        tasks = [writer.submit(self._batch(cut, planned_at_s), cut) for cut in cuts if cut.owned]
        for task in tasks:
            while not task.wait(_SERVE_EVERY_S):
                source.serve(0)
                if self._is_late():
                    raise Unavailable("stopped before the sink answered")
        # Step 5. Commit.
        self._rejects.flush()
        ends = {task.cut.partition: (task.cut.plan.last + 1, "") for task in tasks if task.written}
        source.commit(ends, self._is_late)
        self._metrics.delivered(task.cut.replayed for task in tasks if task.written)

    def _batch(self, cut: Cut, planned_at_s: float) -> Batch:
        rows, failures = decode(self._codec, cut.partition.number, cut.messages)
        for failure in failures:
            self._rejects.add(cut.messages[failure.row], failure)
            self._metrics.rejected(failure.reason)
        return Batch(
            self._settings.topic,
            cut.partition.number,
            cut.first,
            cut.plan.last,
            cut.plan.checksum,
            rows,
            planned_at_s,
            cut.replayed,
        )

    def _set_up(self) -> bool:
        for attempt in itertools.count():
            try:
                self._sink.setup()
            except Unavailable as error:
                log.warning("the sink is not ready", error=str(error))
                if self._stop.wait(_pause_s(attempt)):
                    break
            else:
                return True
        return False

    def _is_late(self) -> bool:
        return time.monotonic() > self._stop_by_s


class _Task:
    """A batch on its way; `written` is final once `wait` has returned True."""

    def __init__(self, batch: Batch, cut: Cut) -> None:
        self.batch = batch
        self.cut = cut
        self.written = False
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended: written, or its partition lost. Raises what the sink raised."""
        if not self.ended.wait(timeout_s):
            return False
        if self.error is not None:
            raise self.error
        return True


class _Writer:
    """The thread that calls the sink, one batch at a time, until it has taken it.

    It is a daemon: a process that has to end does not wait for a sink that hangs.
    """

    def __init__(self, sink: Sink, metrics: Metrics) -> None:
        self._sink = sink
        self._metrics = metrics
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        threading.Thread(target=self._run, name="sink-writer", daemon=True).start()

    def submit(self, batch: Batch, cut: Cut) -> _Task:
        """Put the batch in line."""
        task = _Task(batch, cut)
        self._tasks.put(task)
        return task

    def close(self) -> None:
        """Let the thread end after the call it is in; the sink is closed by then."""
        self._closing.set()
        self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._write(task)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                task.error = error
            task.ended.set()
        self._sink.close()

    def _write(self, task: _Task) -> None:
        batch = task.batch
        for attempt in itertools.count():
            if self._closing.is_set() or not task.cut.owned:
                return
            began_s = time.monotonic()
            try:
                if batch.rows.num_rows:
                    self._sink.write(batch)
            except Unavailable as error:
                batch = batch._replace(again=True)
                self._metrics.retried()
                log.warning("the sink did not take a batch", batch=batch.name, error=str(error))
                self._closing.wait(_pause_s(attempt))
            else:
                task.written = True
                self._metrics.wrote(batch.rows.num_rows, time.monotonic() - began_s)
                return


def _pause_s(attempt: int) -> float:
    return min(_FIRST_PAUSE_S * 2.0 ** min(attempt, 10), _LONGEST_PAUSE_S)
