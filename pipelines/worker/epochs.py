"""Lockstep epochs: read, process, write and commit, one whole step after another, exactly once.

An epoch is what one fetch brought, of however many partitions. Its records are processed to the
last one before anything else is read; what they gave rise to, what the tables log and the offsets
to go on from are one Kafka transaction:

    fetch ─▶ process ─▶ write ─▶ (interval over, or nothing more to fetch?) ─▶ commit ─▶ fetch

A transaction either holds all of an epoch or none of it. While one is being committed the next
epochs are read and processed, in memory only (`pipelines.kafka.transactions`). A rebalance can
happen only inside a poll, that is, between two epochs, and partitions are given up only when all
that was processed of them is committed.

**When a commit fails** and librdkafka does not ask to repeat the call, its outcome is not known.
Then nothing in memory is trusted: a new producer with the same transactional id fences the old one
and settles its transaction, the state of every partition is restored as of the offsets that are
committed by then, and reading goes on from there. What a worker promises is never more than that.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

import structlog
from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from pipelines.kafka.records import Outbox, Records, TopicPartition
from pipelines.kafka.retry import (
    AGAIN_AFTER_S,
    CALL_TIMEOUT_S,
    QUIET,
    RetryDeadline,
    log_client_error,
)
from pipelines.kafka.transactions import FENCED, Transactions
from pipelines.worker.telemetry import COMMITS, FAILURES, PARTITIONS, RECORDS, SECONDS, stage
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import Misconfigured

log = structlog.get_logger(__name__)

MAX_RECORDS: Final = 40_000
_IDLE_S: Final = 0.5
_LIVE_FOR_PAST: Final = 3.0  # the work on live events for that on past ones
_FENCED_AT_MOST: Final = 3
_FENCED_TIMEOUT_S: Final = 60.0


class EpochSettings(NamedTuple):
    """How a worker reads and commits."""

    bootstrap: str
    group: str
    transactional_id: str
    client_id: str = "avila"
    max_records: int = MAX_RECORDS
    commit_interval_ms: int = 200
    session_timeout_ms: int = 10_000

    @property
    def transaction_timeout_ms(self) -> int:
        """For how long a dead worker's open transaction can hold readers up.

        A broker that was killed must be back before, with time to spare: see `services.broker`.
        """
        return max(2 * self.session_timeout_ms, 45_000)


class State(Protocol):
    """What the worker keeps in memory, as the epochs see it."""

    def restore(self, source: TopicPartition, committed: int) -> Iterator[None]:
        """Bring the partition's state to what it was at offset `committed`, in steps."""

    def drop(self, source: TopicPartition) -> None:
        """Forget the partition's state, in memory only."""

    def flush(self, positions: dict[TopicPartition, int]) -> None:
        """Put into the outbox what must be logged with a commit of `positions`."""

    @property
    def backfilling(self) -> bool:
        """Whether a part of the state has yet to catch up with history."""

    def catch_up(self) -> None:
        """Backfill one batch of past events; the output is in the outbox."""

    @property
    def snapshot_due(self) -> bool:
        """Whether the state wants to be written to disk."""

    def snapshot(self, positions: dict[TopicPartition, int]) -> None:
        """Write the state to disk: as it is now it is committed at `positions`."""


class Epochs:
    """The Kafka side of a worker. All methods belong on one and the same thread, and may block."""

    def __init__(self, settings: EpochSettings, state: State, outbox: Outbox) -> None:
        self._settings = settings
        self._state = state
        self._outbox = outbox
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "group.id": settings.group,
                "client.id": settings.client_id,
                "partition.assignment.strategy": "cooperative-sticky",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "session.timeout.ms": settings.session_timeout_ms,
                "heartbeat.interval.ms": settings.session_timeout_ms // 5,
                # Restoring polls, so this bounds the processing of one epoch.
                "max.poll.interval.ms": 300_000,
                # Within its refresh, a topic that is deleted or created again is noticed.
                **CONSUMER_DEFAULTS,
                # librdkafka's second of rest after a full queue would starve a fast worker.
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": 65_536,
                "max.partition.fetch.bytes": 4_194_304,
                "error_cb": log_client_error,
                **QUIET,
            }
        )
        self._transactions = Transactions(
            settings.bootstrap,
            settings.transactional_id,
            settings.client_id,
            timeout_ms=settings.transaction_timeout_ms,
        )
        self._committed_at = time.monotonic()
        self._catch_up_at = 0.0
        self._fenced_at: list[float] = []
        # The offset to go on from, of every partition that is assigned and restored.
        self._positions: dict[TopicPartition, int] = {}
        PARTITIONS.set_function(lambda: len(self._positions))
        self._moved = False
        self._unrestored: dict[TopicPartition, object] = {}  # and a mark of when it was gained
        self._failure = ""
        self._closing = threading.Event()
        self.assignment: set[TopicPartition] = set()

    # ── what the worker does, in the order it does it ────────────────────────────────────────────

    def subscribe(self, topics: list[str]) -> None:
        """Join the group; partitions come with later calls of `fetch`."""
        self._consumer.subscribe(
            topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def must_restore(self) -> bool:
        """Whether partitions are assigned whose state is not there yet."""
        return bool(self._unrestored)

    def restore(self) -> None:
        """Restore the state of every partition that has none, then let them be fetched.

        Nothing is fetched meanwhile, but the group is polled, so that it does not give the worker
        up; a partition that is revoked before it is restored is left. Blocks for as long as it
        takes.

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
                self._poll(AGAIN_AFTER_S)
        if self._positions:
            self._consumer.resume([KafkaPartition(*source) for source in self._positions])

    def _restore(self, source: TopicPartition) -> None:
        gained = self._unrestored[source]
        committed = self._committed_offset(source)
        self._state.drop(source)
        begun = time.monotonic()
        for _ in self._state.restore(source, committed):
            self._poll(0)
            # It may have been given up, and even have been gained again: then others wrote to it.
            if self._unrestored.get(source) is not gained or self._closing.is_set():
                return
        seconds = time.monotonic() - begun
        SECONDS.labels("restore").inc(seconds)
        del self._unrestored[source]
        self._positions[source] = committed
        log.info("partition restored", source=source, position=committed, seconds=round(seconds, 1))
        start = [KafkaPartition(*source, committed)]
        self._consumer.incremental_unassign(start)
        self._consumer.incremental_assign(start)
        self._consumer.pause(start)

    def fetch(self) -> list[Records]:
        """End the last epoch and begin the next: returns its records, one batch a partition.

        Everything that the last call returned counts as processed now: its output is written and,
        when the interval is over or nothing more is to be read, committed. Empty after 500 ms
        without records, and whenever the assignment has changed: see `must_restore`.

        Raises:
            Misconfigured: another worker runs under the same id.
        """
        if time.monotonic() - self._committed_at >= self._settings.commit_interval_ms / 1000:
            self._commit()
        elif not self._transactions.committing:
            self._write()
        with stage("read"):
            message = self._poll(0)
        if self._state.backfilling:
            self._catch_up(nothing_else=message is None)
        elif message is None:
            self._commit()
            with stage("idle"):
                message = self._poll(_IDLE_S)
        if message is None or self._failure:
            return []
        with stage("read"):
            more = self._consumer.consume(self._settings.max_records - 1, 0)
            return self._group([message, *more])

    def _catch_up(self, *, nothing_else: bool) -> None:
        """Backfill, for no more than a quarter of the time if events are waiting."""
        begun = time.monotonic()
        if nothing_else or begun >= self._catch_up_at:
            self._state.catch_up()
            ended = time.monotonic()
            self._catch_up_at = ended + _LIVE_FOR_PAST * (ended - begun)

    def stop_soon(self) -> None:
        """Cut a restore short; the one method that any thread may call."""
        self._closing.set()

    def close(self, *, commit: bool) -> None:
        """Leave the group: the partitions go to others at once.

        `commit` says that all that `fetch` returned is processed; otherwise the open transaction
        is dropped, and its input is processed again by whoever comes next.
        """
        if commit:
            self._commit()
        self._settle()
        self._failure = self._failure or "closing"
        self._consumer.close()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def _poll(self, timeout_s: float) -> Message | None:
        message = self._consumer.poll(timeout_s)
        if self._failure:
            self._start_over()
        return message

    def _group(self, messages: list[Message]) -> list[Records]:
        if any(errors := list(map(Message.error, messages))):
            for error in filter(None, errors):
                log_client_error(error)
            messages = [message for message in messages if message.error() is None]
        # They come in runs: what was fetched of one partition, then of the next.
        groups: defaultdict[TopicPartition, list[Message]] = defaultdict(list)
        for source, run in groupby(messages, _source_of):
            groups[TopicPartition(*source)] += run
        # A rebalance inside this very fetch may have taken a partition whose records it brought.
        epoch = [Records(s, group) for s, group in groups.items() if s in self._positions]
        for records in epoch:
            self._positions[records.source] = records.next_offset
            RECORDS.labels(records.source.topic).inc(len(records))
        self._moved = self._moved or bool(epoch)
        return epoch

    def _committed_offset(self, source: TopicPartition) -> int:
        """Where to go on; waits until a transaction that could still move it is decided."""
        partition = KafkaPartition(*source)
        (committed,) = self._consumer.committed([partition], timeout=CALL_TIMEOUT_S)
        if committed.error is not None:
            raise KafkaException(committed.error)
        first, _ = self._consumer.get_watermark_offsets(partition, timeout=CALL_TIMEOUT_S)
        return max(committed.offset, first)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def _write(self) -> None:
        self._settle()
        if not self._failure:
            with stage("write"):
                self._attempt(self._transactions.write, self._outbox.take())

    def _commit(self) -> None:
        """Begin to commit what has been processed and written so far, if there is any.

        1. The tables put what they log into the outbox, and it is written.
        2. The offsets to go on from join the transaction. All partitions' always: it is what a
           group checks before it lets a transaction through, so that a worker which slept through
           a rebalance can write nothing more.
        3. The transaction is committed: from then on all of it counts, before that nothing.
        """
        self._settle()
        if self._failure:
            return
        self._committed_at = time.monotonic()
        with stage("flush"):
            self._state.flush(self._positions)
        self._write()
        if self._failure or not (self._moved or self._transactions.open):
            return
        self._moved = False
        offsets = [KafkaPartition(*source, offset) for source, offset in self._positions.items()]
        group = self._consumer.consumer_group_metadata()
        self._attempt(self._transactions.commit, offsets, group)
        if self._state.snapshot_due:
            self._settle()
            if not self._failure:
                with stage("snapshot"):
                    self._state.snapshot(self._positions)

    def _settle(self) -> None:
        """Wait for the commit that is under way, if one is."""
        if self._transactions.unsettled:
            with stage("commit"):
                if self._attempt(self._transactions.settle):
                    COMMITS.inc()

    def _attempt(self, call: Callable[..., None], *args: object) -> bool:
        """Make a call of the producer's; one that fails has the next poll start over."""
        try:
            call(*args)
        except KafkaException as error:
            self._failure = str(error)
            if error.args[0].code() in FENCED:
                now = time.monotonic()
                recent = [at for at in self._fenced_at if now - at < _FENCED_TIMEOUT_S]
                self._fenced_at = [*recent, now]
            return False
        return True

    def _start_over(self) -> None:
        """Trust nothing in memory: settle the open transaction and restore what is assigned."""
        FAILURES.inc()
        log.warning("starting over from the committed offsets", reason=self._failure)
        if len(self._fenced_at) > _FENCED_AT_MOST:
            raise Misconfigured(
                f"the transactions of {self._settings.transactional_id!r} were fenced "
                f"{len(self._fenced_at)} times within {_FENCED_TIMEOUT_S:.0f} s: another worker "
                "runs under the same id; give each its own AVILA_WORKER_ID"
            )
        self._transactions.begin_anew()
        self._outbox.take()
        self._positions.clear()
        self._moved = False
        for source in self.assignment:
            self._state.drop(source)
        self._unrestored = {source: object() for source in self.assignment}
        self._failure = ""

    # ── rebalances: only ever inside a poll, so between two epochs ───────────────────────────────

    def _on_assign(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        consumer.incremental_assign(partitions)
        if partitions:
            consumer.pause(partitions)
        gained = _sources(partitions)
        self.assignment |= gained
        self._unrestored |= {source: object() for source in gained}
        log.info("partitions assigned", gained=len(gained), now=len(self.assignment))

    def _on_revoke(self, consumer: Consumer, partitions: list[KafkaPartition]) -> None:
        if not self._failure:
            self._commit()
            self._settle()
        self._forget(_sources(partitions))
        consumer.incremental_unassign(partitions)

    def _on_lost(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        # They have other owners by now: what was not committed is theirs to do again.
        self._forget(_sources(partitions))
        self._failure = self._failure or "partitions were lost"

    def _forget(self, gone: set[TopicPartition]) -> None:
        self.assignment -= gone
        for source in gone:
            self._unrestored.pop(source, None)
            self._positions.pop(source, None)
            self._state.drop(source)
        log.info("partitions given up", gone=len(gone), now=len(self.assignment))


def _source_of(message: Message) -> tuple[Any, Any]:
    return message.topic(), message.partition()


def _sources(partitions: list[KafkaPartition]) -> set[TopicPartition]:
    return {TopicPartition(p.topic, p.partition) for p in partitions}
