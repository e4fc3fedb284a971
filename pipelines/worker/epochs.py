"""Lockstep epochs: read, process, write and commit, one step after another, exactly once.

An epoch is what one fetch returns, of any number of partitions. All of its records are processed
before anything else is read. Their output, the rows that the tables log and the next offsets join
one Kafka transaction:

    fetch ─▶ process ─▶ write ─▶ (interval over, or nothing more to fetch?) ─▶ commit ─▶ fetch

A transaction holds all of an epoch or none of it. While it is being committed, the next epochs are
read and processed in memory (`pipelines.kafka.transactions`). A rebalance happens only inside a
poll, that is, between two epochs. A revoked partition is given up only after everything that was
processed of it is committed.

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
from pipelines.worker.epoch_settings import EpochSettings, group_consumer
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
from schemas.errors import Misconfigured

log = structlog.get_logger(__name__)

_IDLE_S: Final = 0.5
_OUT_OF_RANGE: Final = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 (its public name)
_MAX_FENCED: Final = 3
_FENCED_TIMEOUT_S: Final = 60.0


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
        self._committed_at = time.monotonic()
        self._catch_up_at = 0.0
        self._fenced_at: list[float] = []
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

        Call it only when all that the last call returned is processed: its output is written, and
        committed if the interval is over or nothing more can be read. Returns no records after
        500 ms without any, and whenever the assignment has changed: see `must_restore`.

        Raises:
            Misconfigured: another worker runs under the same id.
        """
        if time.monotonic() - self._committed_at >= self._settings.commit_interval_ms / 1000:
            self._commit()
        elif not self._transactions.committing:
            self._write()
        self._return_to_range()
        with stage("read"):
            found = self._poll(0)
        if self._state.backfilling:
            self._catch_up(nothing_else=not found)
        elif not found:
            self._commit()
            with stage("idle"):
                found = self._poll(_IDLE_S)
        if not found or self._failure:
            return []
        with stage("read"):
            return self._read()

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
        self._advanced = self._advanced or bool(epoch)
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
                self._attempt(self._transactions.write, self._outbox.take())

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
        self._committed_at = time.monotonic()
        with stage("flush"):
            self._state.flush(self._positions)
        self._write()
        if self._failure or not (self._advanced or self._transactions.open):
            return
        self._advanced = False
        offsets = [KafkaPartition(*source, offset) for source, offset in self._positions.items()]
        group = self._consumer.consumer_group_metadata()
        self._attempt(self._transactions.commit, offsets, group)
        if self._state.snapshot_due:
            self._settle()
            if not self._failure:
                with stage("snapshot"):
                    self._state.snapshot(self._positions)

    def _settle(self) -> None:
        """Wait for the commit that is under way, if any."""
        if self._transactions.unsettled:
            with stage("commit"):
                if self._attempt(self._transactions.settle):
                    COMMITS.inc()

    def _attempt(self, call: Callable[..., None], *args: object) -> bool:
        """Call the producer; if the call fails, the next poll starts over."""
        try:
            call(*args)
        except KafkaException as error:
            self._failure = str(error)
            code = error.args[0].code()
            if code == TOO_LARGE:  # again and again, unless the record is found
                self._outbox.check_all()
                self._transactions.use_small_batches()
            if code in FENCED:
                now = time.monotonic()
                recent = [at for at in self._fenced_at if now - at < _FENCED_TIMEOUT_S]
                self._fenced_at = [*recent, now]
            return False
        return True

    def _start_over(self) -> None:
        """Discard memory and the open transaction, and restore all assigned partitions."""
        FAILURES.inc()
        log.warning("starting over from the committed offsets", reason=self._failure)
        if len(self._fenced_at) > _MAX_FENCED:
            raise Misconfigured(
                f"the transactions of {self._settings.transactional_id!r} were fenced "
                f"{len(self._fenced_at)} times within {_FENCED_TIMEOUT_S:.0f} s: another worker "
                "runs under the same id; give each its own AVILA_WORKER_ID"
            )
        self._transactions.replace_producer()
        self._outbox.take()
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
