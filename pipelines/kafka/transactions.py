"""The transactions of a worker, each committed in the background while the worker goes on.

A commit mostly waits for the broker. So it runs on a thread of its own, and the worker reads and
processes meanwhile. A producer has one transaction at a time, so what the worker writes waits in
memory until the commit is settled:

    write ─▶ write ─▶ commit ┄┄┄┄┄┄┄┄┄┄▶ settle ─▶ write ─▶ …
                         the worker goes on
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from pipelines.kafka.records import Outgoing
from pipelines.kafka.retry import CALL_TIMEOUT_S, QUIET, log_client_error, retrying
from pipelines.kafka.topic_limits import MAX_REQUEST_BYTES
from pipelines.kafka.transactional_producer import TransactionalProducer
from schemas.cluster import Address, client_config

log = structlog.get_logger(__name__)

_TRANSACTION_TIMEOUT_S: Final = 10.0
_HANGS_AFTER_S: Final = 15.0
_SMALL_BATCH_BYTES: Final = 16_384
_RETRY_S: Final = 0.01
_LOGGED_AFTER_S: Final = 1.0

# The public names of librdkafka's own codes begin with an underscore.
_TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001
TOO_LARGE: Final = KafkaError.MSG_SIZE_TOO_LARGE
FENCED: Final = {
    KafkaError._FENCED,  # noqa: SLF001
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
}


class Transactions:
    """The worker's one producer. Call every method on the same thread; each may block."""

    def __init__(
        self, cluster: Address, transactional_id: str, client_id: str, *, timeout_ms: int
    ) -> None:
        self._config = client_config(
            cluster,
            {
                "transactional.id": transactional_id,
                "client.id": client_id,
                # For this long the open transaction of a dead worker can hold up readers.
                "transaction.timeout.ms": timeout_ms,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                # A commit sends what is buffered at once, but only after the offsets.
                "linger.ms": 5,
                # The coordinator refuses a transaction until the end markers of the one before are
                # written, which takes it milliseconds. By default librdkafka would then wait for a
                # tenth of a second.
                "retry.backoff.ms": 10,
                "batch.size": 1_000_000,
                "message.max.bytes": MAX_REQUEST_BYTES,
                **QUIET,
            },
        )
        self.replace_producer()

    def replace_producer(self) -> None:
        """Replace the producer: the new one fences the old one and settles its transaction.

        After this returns, the committed offsets show whether that transaction was committed.

        Raises:
            KafkaException: the broker was away for two minutes.
        """
        self._producer = TransactionalProducer(self._config, log_client_error)
        self._commit: _Commit | None = None
        self._open = False
        retrying(self._producer.init_transactions, CALL_TIMEOUT_S)

    def use_small_batches(self) -> None:
        """Write smaller batches, from the next `replace_producer` on: a topic's limit is lower.

        Topics limit the size of a batch, and a batch of many records may pass a limit that each
        of them keeps.
        """
        self._config["batch.size"] = _SMALL_BATCH_BYTES

    @property
    def open(self) -> bool:
        """Whether a transaction is open: something is written, and its commit has not begun."""
        return self._open

    @property
    def committing(self) -> bool:
        """Whether a commit is under way; until it is done, nothing can be written."""
        return self._commit is not None and not self._commit.done

    @property
    def unsettled(self) -> bool:
        """Whether a commit was begun that `settle` has not waited for."""
        return self._commit is not None

    def write(self, outgoing: Iterable[Outgoing]) -> None:
        """Write records into the open transaction, or begin one.

        Earlier commits must be settled.
        """
        for records in outgoing:
            self._begin()
            self._producer.produce(*records)

    def commit(self, offsets: list[KafkaPartition], group: bytes) -> None:
        """Begin to commit what is written, with a group's offsets; returns at once."""
        self._begin()
        self._open = False
        self._commit = _Commit(self._producer, offsets, group)

    def settle(self) -> float:
        """Wait for the commit that was begun; when this returns, the transaction is committed.

        Returns how long the commit took, in seconds; 0 if none was begun.

        Raises:
            KafkaException: the outcome is unknown; call `replace_producer`.
        """
        commit, self._commit = self._commit, None
        return 0.0 if commit is None else commit.wait()

    def _begin(self) -> None:
        assert self._commit is None, "a producer has one transaction at a time"
        if not self._open:
            self._producer.begin_transaction()
            self._open = True


class _Commit:
    """A commit under way.

    If a broker goes away, librdkafka may wait for a coordinator for ever, whatever the time-out of
    the call (confluentinc/librdkafka#5456, #5511). So `wait` gives up after a while. The hanging
    thread keeps its producer, which does no harm: the next producer fences it.
    """

    def __init__(
        self, producer: TransactionalProducer, offsets: list[KafkaPartition], group: bytes
    ) -> None:
        self._producer = producer
        self._outcome: Future[float] = Future()
        self._begun_at = self._called_at = time.monotonic()
        thread = threading.Thread(
            target=self._run, args=(offsets, group), name="commit", daemon=True
        )
        thread.start()

    @property
    def done(self) -> bool:
        return self._outcome.done()

    def wait(self) -> float:
        """Return when the commit is through, and how long that took in seconds."""
        while True:
            left_s = self._called_at + _HANGS_AFTER_S - time.monotonic()
            if left_s <= 0 and not self.done:
                reason = f"a commit has made no progress for {_HANGS_AFTER_S:.0f} s"
                raise KafkaException(KafkaError(_TIMED_OUT, reason))
            try:
                return self._outcome.result(max(left_s, 0))
            except TimeoutError:
                continue  # the thread may have made another call meanwhile

    def _run(self, offsets: list[KafkaPartition], group: bytes) -> None:
        try:
            if offsets:
                self._retry(self._producer.send_offsets_to_transaction, offsets, group)
            self._retry(self._producer.commit_transaction)
        except BaseException as error:  # noqa: BLE001 (raised in `wait`)
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(time.monotonic() - self._begun_at)

    def _retry(self, call: Callable[..., object], *args: object) -> None:
        """Make a call, and repeat it for as long as its error is retriable."""
        begun_at = time.monotonic()
        while True:
            self._called_at = time.monotonic()
            try:
                call(*args, _TRANSACTION_TIMEOUT_S)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                # Shorter ones are usual: the transaction before lacks its end markers.
                if time.monotonic() - begun_at > _LOGGED_AFTER_S:
                    log.warning("retrying", call=call.__name__, error=str(error))
                time.sleep(_RETRY_S)
            else:
                return
