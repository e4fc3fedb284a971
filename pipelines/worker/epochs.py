"""Lockstep epochs: read, process, write and commit, one step after another, exactly once.

An epoch is what one fetch returns, of any number of partitions. All of its records are processed
before anything else is read. Their output, the rows that the tables log and the next offsets join
one Kafka transaction:

    fetch ─▶ process ─▶ write ─▶ (time to commit? `CommitPace` decides) ─▶ commit ─▶ fetch

A transaction holds all of an epoch or none of it. While it is being committed, the next epochs are
read and processed in memory (`pipelines.kafka.transactions`); the next commit takes all of them. A
rebalance happens only inside a poll, that is, between two epochs. A revoked partition is given up
only after everything that was processed of it is committed.

**When a commit fails** with an error that is not retriable, its outcome is unknown. The worker then
discards its memory: a new producer with the same transactional id fences the old one and settles
its transaction, the state of every partition is restored as of the offsets that are committed by
then, and reading continues from there. A worker promises no more than that.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from pipelines.kafka.fetched import FetchError
from pipelines.kafka.records import Outbox, Records, TopicPartition
from pipelines.kafka.retry import (
    RETRY_AFTER_S,
    RetryDeadline,
    log_client_error,
)
from pipelines.kafka.transactions import FENCED, TOO_LARGE, Transactions
from pipelines.worker.commit_pace import CommitPace
from pipelines.worker.epoch_settings import EpochSettings, group_consumer
from pipelines.worker.fencing import Fencing
from pipelines.worker.latency import LatencyTrace
from pipelines.worker.offsets import committed_offset, offset_in_range
from pipelines.worker.state import State
from pipelines.worker.telemetry import (
    COMMITS,
    FAILURES,
    PARTITIONS,
    RECORDS,
    SECONDS,
    stage,
)

log = structlog.get_logger(__name__)

_IDLE_S: Final = 0.5
# How often a worker that waits for records looks whether the commit under way is through.
_LOOK_S: Final = 0.002
_LEAST_POLL_S: Final = 0.001  # librdkafka counts in milliseconds
_OUT_OF_RANGE: Final = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 (its public name)


class Epochs:
    """The Kafka side of a worker. Call every method on the same thread; each may block."""

    def __init__(self, settings: EpochSettings, state: State, outbox: Outbox) -> None:
        self._settings = settings
        self._state = state
        self._outbox = outbox
        self._consumer = group_consumer(settings)
        self._transactions = Transactions(
            settings.cluster,
            settings.transactional_id,
            settings.client_id,
            timeout_ms=settings.transaction_timeout_ms,
        )
        self._pace = CommitPace(settings.commit_interval_ms / 1000, time.monotonic())
        self._trace = LatencyTrace()
        self._catch_up_at = 0.0
        self._fencing = Fencing(settings.transactional_id)
        # The next offset of every partition that is assigned and restored.
        self._positions: dict[TopicPartition, int] = {}
        PARTITIONS.set_function(lambda: len(self._positions))
        self._advanced = False  # since the last commit
        # Assigned, without state; a partition that is lost and gained again has another marker.
        self._unrestored: dict[TopicPartition, object] = {}
        self._out_of_range: set[TopicPartition] = set()
        self._failure = ""
        self._closing = threading.Event()
        self.assignment: set[TopicPartition] = set()

    # ── the life of a worker, in order ───────────────────────────────────────────────────────────

    def subscribe(self, topics: list[str]) -> None:
        """Join the group; later calls of `fetch` assign partitions."""
        self._pace.subscribe(topics)
        self._consumer.subscribe(
            topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def must_restore(self) -> bool:
        """Whether partitions are assigned whose state is not restored yet."""
        return bool(self._unrestored)

    def restore(self) -> None:
        """Restore the state of every partition that has none, then fetch from all.

        Meanwhile nothing is fetched, but the consumer is polled, so that the group keeps the worker
        as a member. A partition that is revoked before it is restored is skipped. Blocks until all
        are restored.

        Raises:
            KafkaException: the broker was away for two minutes.
        """
        if self._positions:
            self._consumer.pause([KafkaPartition(*source) for source in self._positions])
        deadline = RetryDeadline()
        while self._unrestored and not self._closing.is_set():
            source = min(self._unrestored)
            try:
                self._restore(source)
                deadline.renew()
            except KafkaException as error:
                if deadline.ends_with(error):
                    raise
                log.warning("restoring again", source=source, reason=str(error))
                self._stay_in_group(RETRY_AFTER_S)
        if self._positions:
            self._consumer.resume([KafkaPartition(*source) for source in self._positions])

    def _restore(self, source: TopicPartition) -> None:
        marker = self._unrestored[source]
        committed = committed_offset(self._consumer, source, self._state.missing_offset)
        self._state.drop(source)
        started = time.monotonic()
        for _ in self._state.restore(source, committed):
            self._stay_in_group(0)
            # If it was revoked, and even if it is assigned again, others may have written to it.
            if self._unrestored.get(source) is not marker or self._closing.is_set():
                return
        seconds = time.monotonic() - started
        SECONDS.labels("restore").inc(seconds)
        del self._unrestored[source]
        self._positions[source] = committed
        log.info("partition restored", source=source, position=committed, seconds=round(seconds, 1))
        self._consumer.pause(self._assign_at(source, committed))

    def fetch(self) -> list[Records]:
        """End the last epoch and begin the next; return its records, one batch a partition.

        Call it only when all that the last call returned is processed. It is committed as soon as
        that is worth it, and at the latest when the interval is over. Returns no records after
        500 ms without any, and whenever the assignment has changed: see `must_restore`.

        Raises:
            Misconfigured: another worker runs under the same id.
        """
        self._trace.processed()
        if not self._transactions.committing:
            self._settle()
        now = time.monotonic()
        drained = self._pace.drained and not self._state.backfilling
        due = self._uncommitted and not self._pace.due_in(now, drained=drained)
        if self._pace.overdue(now) or (due and not self._transactions.committing):
            self._commit()
        elif not self._transactions.committing:
            self._write()
        self._return_to_range()
        with stage("read"):
            found = self._poll(0)
        if self._state.backfilling:
            self._catch_up(nothing_else=not found)
        elif not found:
            found = self._await_records()
        if not found or self._failure:
            return []
        with stage("read"):
            return self._read()

    @property
    def _uncommitted(self) -> bool:
        return self._advanced or self._transactions.open or bool(self._outbox)

    def _await_records(self) -> bool:
        """Wait for records for up to 500 ms; commit what is processed as soon as that is due."""
        while self._uncommitted:
            committing, now = self._transactions.committing, time.monotonic()
            if not committing:
                self._settle()
            left_s = _LOOK_S if committing else self._pace.due_in(now, drained=True)
            if not left_s:
                break
            with stage("commit" if committing else "idle"):
                if self._poll(max(left_s, _LEAST_POLL_S)):
                    return True
        if self._uncommitted or self._pace.since_commit(time.monotonic()) >= _IDLE_S:
            self._commit()
        with stage("idle"):
            return self._poll(_IDLE_S)

    def _catch_up(self, *, nothing_else: bool) -> None:
        """Backfill, for a bounded share of the time while live events wait."""
        started = time.monotonic()
        if nothing_else or started >= self._catch_up_at:
            self._state.catch_up()
            ended = time.monotonic()
            self._catch_up_at = ended + self._state.live_per_past * (ended - started)

    def stop_soon(self) -> None:
        """Interrupt a restore; the one method that any thread may call."""
        self._closing.set()

    def close(self, *, commit: bool) -> None:
        """Leave the group, so that other workers get the partitions at once.

        Pass `commit` if all that `fetch` returned is processed. Otherwise the open transaction is
        dropped, and the next owners process its input again.
        """
        if commit:
            self._commit()
        self._settle()
        self._failure = self._failure or "closing"
        self._consumer.close()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def _poll(self, timeout_s: float) -> bool:
        """Wait for something to read; a record that is not read before the next poll is dropped."""
        found = self._consumer.wait(timeout_s)
        if self._failure:
            self._start_over()
        return found

    def _stay_in_group(self, timeout_s: float) -> None:
        """Poll while partitions are paused, so that nothing but an error can come."""
        if self._poll(timeout_s):
            for error in self._consumer.fetch(1).errors:
                self._on_error(error)

    def _read(self) -> list[Records]:
        fetched = self._consumer.fetch(self._settings.max_records)
        for error in fetched.errors:
            self._on_error(error)
        # A rebalance inside this fetch may have revoked a partition whose records it returned.
        epoch = [records for records in fetched.records if records.source in self._positions]
        for records in epoch:
            self._positions[records.source] = records.next_offset
            RECORDS.labels(records.source.topic).inc(len(records))
        self._trace.fetched(epoch)
        self._advanced = self._advanced or bool(epoch)
        self._pace.read(epoch)
        return epoch

    def _on_error(self, failed: FetchError) -> None:
        if failed.error.code() == _OUT_OF_RANGE:
            self._out_of_range.add(failed.source)
        else:
            log_client_error(failed.error)

    def _return_to_range(self) -> None:
        """Continue where there are records, in partitions whose next offset is gone."""
        for source in list(self._out_of_range):
            position = self._positions.get(source)
            if position is not None:
                try:
                    offset = offset_in_range(self._consumer, source, position)
                except KafkaException as error:
                    log.warning("asking again for the first offset", reason=str(error))
                    continue
                self._advanced = self._advanced or offset != position
                self._positions[source] = offset
                self._assign_at(source, offset)
            self._out_of_range.discard(source)

    def _assign_at(self, source: TopicPartition, offset: int) -> list[KafkaPartition]:
        """Read the partition from this offset on."""
        start = [KafkaPartition(*source, offset)]
        self._consumer.incremental_unassign(start)
        self._consumer.incremental_assign(start)
        return start

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def _write(self) -> None:
        self._settle()
        if not self._failure:
            with stage("write"):
                outgoing = self._outbox.take()
                self._pace.written(records.topic for records in outgoing)
                self._attempt(self._transactions.write, outgoing)

    def _commit(self) -> None:
        """Begin to commit what has been processed so far, if there is anything.

        1. The tables put the rows that they log into the outbox, which is written.
        2. The next offsets of all partitions join the transaction, also of those that have not
           advanced: the group checks its member before it accepts them, so that a worker which
           missed a rebalance can commit nothing more.
        3. The transaction is committed: all of it counts from then on, and nothing before.
        """
        self._settle()
        if self._failure:
            return
        self._pace.begin(time.monotonic())
        with stage("flush"):
            self._state.flush(self._positions)
        self._pace.flushed(time.monotonic())
        self._write()
        if self._failure or not (self._advanced or self._transactions.open):
            return
        self._advanced = False
        offsets = [KafkaPartition(*source, offset) for source, offset in self._positions.items()]
        group = self._consumer.consumer_group_metadata()
        self._trace.commit_begun()
        self._attempt(self._transactions.commit, offsets, group)
        if self._state.snapshot_due:
            self._settle()
            if not self._failure:
                with stage("snapshot"):
                    self._state.snapshot(self._positions)

    def _settle(self) -> None:
        """Wait for the commit that is under way, if any."""
        if not self._transactions.unsettled:
            return
        with stage("commit"):
            try:
                seconds = self._transactions.settle()
            except KafkaException as error:
                self._fail(error)
                return
        COMMITS.inc()
        self._pace.settled(seconds)
        self._trace.committed(seconds)

    def _attempt(self, call: Callable[..., None], *args: object) -> None:
        """Call the producer; if the call fails, the next poll starts over."""
        try:
            call(*args)
        except KafkaException as error:
            self._fail(error)

    def _fail(self, error: KafkaException) -> None:
        """Note that the producer is of no use any more: the next poll starts over."""
        self._failure = str(error)
        code = error.args[0].code()
        if code == TOO_LARGE:  # again and again, unless the record is found
            self._outbox.check_all()
            self._transactions.use_small_batches()
        if code in FENCED:
            self._fencing.note()

    def _start_over(self) -> None:
        """Discard memory and the open transaction, and restore all assigned partitions."""
        FAILURES.inc()
        log.warning("starting over from the committed offsets", reason=self._failure)
        self._fencing.check()
        self._transactions.replace_producer()
        self._outbox.take()
        self._trace.discard()
        self._positions.clear()
        self._advanced = False
        for source in self.assignment:
            self._state.drop(source)
        self._unrestored = {source: object() for source in self.assignment}
        self._failure = ""

    # ── rebalances: only inside a poll, so between two epochs ────────────────────────────────────

    def _on_assign(self, _: object, partitions: list[KafkaPartition]) -> None:
        self._consumer.incremental_assign(partitions)
        if partitions:
            self._consumer.pause(partitions)
        gained = _sources(partitions)
        self.assignment |= gained
        self._unrestored |= {source: object() for source in gained}
        log.info("partitions assigned", gained=len(gained), now=len(self.assignment))

    def _on_revoke(self, _: object, partitions: list[KafkaPartition]) -> None:
        if not self._failure:
            self._commit()
            self._settle()
        self._drop(_sources(partitions))
        self._consumer.incremental_unassign(partitions)

    def _on_lost(self, _: object, partitions: list[KafkaPartition]) -> None:
        # Other workers own them by now, and process again what was not committed.
        self._drop(_sources(partitions))
        self._failure = self._failure or "partitions were lost"

    def _drop(self, gone: set[TopicPartition]) -> None:
        self.assignment -= gone
        for source in gone:
            self._unrestored.pop(source, None)
            self._positions.pop(source, None)
            self._state.drop(source)
        log.info("partitions given up", gone=len(gone), now=len(self.assignment))


def _sources(partitions: list[KafkaPartition]) -> set[TopicPartition]:
    return {TopicPartition(p.topic, p.partition) for p in partitions}
