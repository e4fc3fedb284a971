"""Lockstep epochs: read, process, write and commit, one whole step after another, exactly once.

An epoch is what one fetch brought, of however many partitions. Its records are processed to the
last one before anything else is read; what they gave rise to, what the tables log and the offsets
to go on from are one Kafka transaction:

    fetch ─▶ process ─▶ produce ─▶ (interval over, or nothing more to fetch?) ─▶ commit ─▶ fetch

So nothing is in flight when offsets are committed or partitions are taken away, and a transaction
either holds all of an epoch or none of it. All calls of librdkafka are made on the one thread that
calls these methods: a rebalance can happen only inside a poll, that is, between two epochs.

**When a commit fails** and librdkafka does not ask to repeat the call, its outcome is not known.
Then nothing in memory is trusted: a new producer with the same transactional id fences the old one
and settles its transaction, the state of every partition is restored as of the offsets that are
committed by then, and reading goes on from there. What a worker promises is never more than that.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from pipelines.batch import Outbox, Outgoing, Records, TopicPartition
from pipelines.metrics import COMMITS, FAILURES, PARTITIONS, RECORDS, SECONDS, stage
from pipelines.reader import QUIETLY
from schemas.errors import Misconfigured

log = structlog.get_logger(__name__)
T = TypeVar("T")

_IDLE_S: Final = 0.5
_CALL_TIMEOUT_S: Final = 30.0
_TRANSACTION_TIMEOUT_S: Final = 10.0
_HANGS_AFTER_S: Final = 15.0
_PATIENCE_S: Final = 120.0
_AGAIN_AFTER_S: Final = 1.0
_NEWS_AFTER_S: Final = 10.0
_FENCED_AT_MOST: Final = 3
_FENCED_WITHIN_S: Final = 60.0


class EpochSettings(NamedTuple):
    """How a worker reads and commits."""

    bootstrap: str
    group: str
    transactional_id: str
    client_id: str = "avila"
    max_records: int = 20_000
    commit_interval_ms: int = 200
    session_timeout_ms: int = 10_000


class State(Protocol):
    """What the worker keeps in memory, as the epochs see it."""

    def restore(self, source: TopicPartition, committed: int) -> Iterator[None]:
        """Bring the partition's state to what it was at offset `committed`, in steps."""

    def drop(self, source: TopicPartition) -> None:
        """Forget the partition's state, in memory only."""

    def flush(self, positions: dict[TopicPartition, int]) -> None:
        """Put into the outbox what must be logged with a commit of `positions`."""

    def committed(self, positions: dict[TopicPartition, int]) -> None:
        """Take note that the state as it is now stands committed at `positions`."""


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
                # librdkafka's second of rest after a full queue would starve a fast worker.
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": 65_536,
                "max.partition.fetch.bytes": 4_194_304,
                "error_cb": _log_client_error,
                **QUIETLY,
            }
        )
        self._producer = self._new_producer()
        self._in_transaction = False
        self._committed_at = time.monotonic()
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
        give_up_at = time.monotonic() + _PATIENCE_S
        while self._unrestored and not self._closing.is_set():
            source = min(self._unrestored)
            try:
                self._restore(source)
                give_up_at = time.monotonic() + _PATIENCE_S
            except KafkaException as error:
                if time.monotonic() > give_up_at or error.args[0].fatal():
                    raise
                log.warning("restoring again", source=source, reason=str(error))
                self._poll(_AGAIN_AFTER_S)
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
        with stage("write"):
            self._write(self._outbox.take())
        if time.monotonic() - self._committed_at >= self._settings.commit_interval_ms / 1000:
            self._commit()
        with stage("read"):
            message = self._poll(0)
        if message is None:
            self._commit()
            with stage("idle"):
                message = self._poll(_IDLE_S)
        if message is None or self._failure:
            return []
        with stage("read"):
            more = self._consumer.consume(self._settings.max_records - 1, 0)
            return self._group([message, *more])

    def stop_soon(self) -> None:
        """Cut a restore short; the one method that any thread may call."""
        self._closing.set()

    def close(self, *, commit: bool) -> None:
        """Leave the group: the partitions go to others at once.

        `commit` says that all that `fetch` returned is processed; otherwise the open transaction
        is dropped, and its input is processed again by whoever comes next.
        """
        if commit:
            self._write(self._outbox.take())
            self._commit()
        self._failure = self._failure or "closing"
        self._consumer.close()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def _poll(self, timeout_s: float) -> Message | None:
        message = self._consumer.poll(timeout_s)
        if self._failure:
            self._start_over()
        return message

    def _group(self, messages: list[Message]) -> list[Records]:
        groups: dict[TopicPartition, list[Message]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                _log_client_error(error)
                continue
            source = (message.topic(), message.partition())
            group = groups.get(source)  # type: ignore[call-overload]
            if group is None:
                groups[TopicPartition(*source)] = [message]  # type: ignore[arg-type]
            else:
                group.append(message)
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
        (committed,) = patiently(self._consumer.committed, [partition], timeout=_CALL_TIMEOUT_S)
        if committed.error is not None:
            raise KafkaException(committed.error)
        first, _ = patiently(
            self._consumer.get_watermark_offsets, partition, timeout=_CALL_TIMEOUT_S
        )
        return max(committed.offset, first)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def _new_producer(self) -> Producer:
        producer = Producer(
            {
                "bootstrap.servers": self._settings.bootstrap,
                "transactional.id": self._settings.transactional_id,
                "client.id": self._settings.client_id,
                # The time for which a dead worker's open transaction can hold readers up.
                "transaction.timeout.ms": max(2 * self._settings.session_timeout_ms, 30_000),
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                # A commit sends what is buffered at once, so that lingering costs no freshness.
                "linger.ms": 20,
                "batch.size": 1_000_000,
                "message.max.bytes": 4_000_000,
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 262_144,
                "error_cb": _log_client_error,
                **QUIETLY,
            }
        )
        patiently(producer.init_transactions, _CALL_TIMEOUT_S)
        return producer

    def _write(self, outgoing: list[Outgoing]) -> None:
        if outgoing and not self._in_transaction:
            self._producer.begin_transaction()
            self._in_transaction = True
        for topic, partition, keys, values, headers in outgoing:
            produce = self._producer.produce
            for row, (key, value) in enumerate(zip(keys, values, strict=True)):
                while True:
                    try:
                        if headers is None:
                            produce(topic, value, key, partition)
                        else:
                            produce(topic, value, key, partition, headers=headers[row])
                        break
                    except BufferError:
                        self._producer.poll(0.05)

    def _commit(self) -> None:
        """Commit what has been processed and written so far, if there is any.

        1. The tables put what they log into the outbox, and it is written.
        2. The offsets to go on from join the transaction. All partitions' always: it is what a
           group checks before it lets a transaction through, so that a worker which slept through
           a rebalance can write nothing more.
        3. The transaction is committed: from here on all of it counts, before here nothing.
        4. The state takes note.
        """
        self._committed_at = time.monotonic()
        with stage("flush"):
            self._state.flush(self._positions)
        with stage("write"):
            self._write(self._outbox.take())
        if not self._moved and not self._in_transaction:
            return
        if not self._in_transaction:
            self._producer.begin_transaction()
        offsets = [KafkaPartition(*source, offset) for source, offset in self._positions.items()]
        try:
            with stage("commit"):
                if offsets:
                    group = self._consumer.consumer_group_metadata()
                    _insist(self._producer.send_offsets_to_transaction, offsets, group)
                _insist(self._producer.commit_transaction)
        except KafkaException as error:
            self._fail(error)
            return
        COMMITS.inc()
        self._in_transaction = False
        self._moved = False
        with stage("snapshot"):
            self._state.committed(self._positions)

    def _fail(self, error: KafkaException) -> None:
        self._failure = str(error)
        if error.args[0].code() in _FENCED:
            now = time.monotonic()
            self._fenced_at = [at for at in self._fenced_at if now - at < _FENCED_WITHIN_S] + [now]

    def _start_over(self) -> None:
        """Trust nothing in memory: settle the open transaction and restore what is assigned."""
        FAILURES.inc()
        log.warning("starting over from the committed offsets", reason=self._failure)
        if len(self._fenced_at) > _FENCED_AT_MOST:
            raise Misconfigured(
                f"the transactions of {self._settings.transactional_id!r} were fenced "
                f"{len(self._fenced_at)} times within {_FENCED_WITHIN_S:.0f} s: another worker "
                "runs under the same id; give each its own AVILA_WORKER_ID"
            )
        self._producer = self._new_producer()
        self._in_transaction = False
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
            self._write(self._outbox.take())
            self._commit()
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


def _sources(partitions: list[KafkaPartition]) -> set[TopicPartition]:
    return {TopicPartition(p.topic, p.partition) for p in partitions}


_FENCED: Final = {
    KafkaError._FENCED,  # noqa: SLF001
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
}


def _insist(call: Callable[..., object], *args: object) -> None:
    """Make a transactional call, again for as long as librdkafka says that this is the remedy.

    Raises:
        KafkaException: there is no remedy, or the call does not return at all.
    """
    while True:
        try:
            _in_time(call, *args, _TRANSACTION_TIMEOUT_S)
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            log.warning("trying again", call=call.__name__, error=str(error))
        else:
            return


def _in_time(call: Callable[..., object], *args: object) -> None:
    """Make a call that may hang, and give it up when it does.

    A broker that goes away can leave librdkafka waiting for a coordinator for ever, whatever the
    time-out (confluentinc/librdkafka#5456, #5511). The thread that hangs keeps its producer, which
    is harmless: the transactional id is fenced by the one that comes next.
    """
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            call(*args)
            outcome.append(None)
        except BaseException as error:  # noqa: BLE001 (raised below, by who waits)
            outcome.append(error)

    thread = threading.Thread(target=run, name=call.__name__, daemon=True)
    thread.start()
    thread.join(_HANGS_AFTER_S)
    if not outcome:
        reason = f"{call.__name__} has not returned within {_HANGS_AFTER_S:.0f} s"
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, reason))  # noqa: SLF001
    if outcome[0] is not None:
        raise outcome[0]


def patiently(call: Callable[..., T], *args: object, **options: object) -> T:
    """Make a call that changes nothing, again each second while the broker is away.

    Raises:
        KafkaException: it was away for two minutes.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return call(*args, **options)
        except KafkaException as error:
            if time.monotonic() > deadline or error.args[0].fatal():
                raise
            log.warning("trying again", call=call.__name__, error=str(error))
            time.sleep(_AGAIN_AFTER_S)


_said_at: dict[str, float] = {}


def _log_client_error(error: KafkaError) -> None:
    # That the broker is away is news once, not at every attempt to reach it.
    now = time.monotonic()
    last, _said_at[error.name()] = _said_at.get(error.name(), -_NEWS_AFTER_S), now
    if now - last >= _NEWS_AFTER_S:
        log.warning("kafka", error=error.str(), code=error.name())
