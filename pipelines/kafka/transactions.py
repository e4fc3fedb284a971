"""What a worker writes: one transaction after another, each committed while work goes on.

To commit is mostly to wait for the broker. So it is done on a thread of its own, and the worker
reads and processes meanwhile; what it has to write waits in memory until the commit is settled, for
a producer has one transaction at a time:

    write ─▶ write ─▶ commit ┄┄┄┄┄┄┄┄┄┄▶ settle ─▶ write ─▶ …
                         the worker goes on
"""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from pipelines.kafka.records import Outgoing
from pipelines.kafka.retry import CALL_TIMEOUT_S, QUIET, log_client_error, retrying
from pipelines.kafka.transactional_producer import TransactionalProducer

log = structlog.get_logger(__name__)

_TRANSACTION_TIMEOUT_S: Final = 10.0
_HANGS_AFTER_S: Final = 15.0

# librdkafka's own codes have no other names.
_TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001
FENCED: Final = {
    KafkaError._FENCED,  # noqa: SLF001
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
}


class Transactions:
    """The worker's one producer. Every method may block, and belongs on the same thread."""

    def __init__(
        self, bootstrap: str, transactional_id: str, client_id: str, *, timeout_ms: int
    ) -> None:
        self._config: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            "client.id": client_id,
            # The time for which a dead worker's open transaction can hold readers up.
            "transaction.timeout.ms": timeout_ms,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            # A commit sends what is buffered at once, so that lingering costs no freshness.
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "message.max.bytes": 4_000_000,
            **QUIET,
        }
        self.begin_anew()

    def begin_anew(self) -> None:
        """Replace the producer: the new one fences the old one and settles its transaction.

        Which way it was settled is told by the offsets that are committed after this returns.

        Raises:
            KafkaException: the broker was away for two minutes.
        """
        self._producer = TransactionalProducer(self._config, log_client_error)
        self._commit: _Commit | None = None
        self._open = False
        retrying(self._producer.init_transactions, CALL_TIMEOUT_S)

    @property
    def open(self) -> bool:
        """Whether something is written that no commit was asked for yet."""
        return self._open

    @property
    def committing(self) -> bool:
        """Whether a commit is under way that may still need time; nothing can be written then."""
        return self._commit is not None and not self._commit.done

    @property
    def unsettled(self) -> bool:
        """Whether there is a commit whose outcome was not asked for."""
        return self._commit is not None

    def write(self, outgoing: Iterable[Outgoing]) -> None:
        """Write records into the open transaction, which is begun if there is none.

        All that was committed must be settled.
        """
        for records in outgoing:
            self._begin()
            self._producer.produce(*records)

    def commit(self, offsets: list[KafkaPartition], group: bytes) -> None:
        """Begin to commit what is written, together with a group's offsets; returns at once."""
        self._begin()
        self._open = False
        self._commit = _Commit(self._producer, offsets, group)

    def settle(self) -> None:
        """Wait for the commit that was begun: when this returns, all of it counts.

        Raises:
            KafkaException: whether it counts is not known: `begin_anew`.
        """
        commit, self._commit = self._commit, None
        if commit is not None:
            commit.wait()

    def _begin(self) -> None:
        assert self._commit is None, "a producer has one transaction at a time"
        if not self._open:
            self._producer.begin_transaction()
            self._open = True


class _Commit:
    """A commit under way.

    A broker that goes away can leave librdkafka waiting for a coordinator for ever, whatever the
    time-out of the call (confluentinc/librdkafka#5456, #5511). So whoever waits gives up after a
    while. The thread that hangs keeps its producer, which is harmless: it will be fenced.
    """

    def __init__(
        self, producer: TransactionalProducer, offsets: list[KafkaPartition], group: bytes
    ) -> None:
        self._producer = producer
        self._outcome: Future[None] = Future()
        self._called_at = time.monotonic()
        thread = threading.Thread(
            target=self._run, args=(offsets, group), name="commit", daemon=True
        )
        thread.start()

    @property
    def done(self) -> bool:
        return self._outcome.done()

    def wait(self) -> None:
        while True:
            left_s = self._called_at + _HANGS_AFTER_S - time.monotonic()
            if left_s <= 0 and not self.done:
                reason = f"a commit has not gone on for {_HANGS_AFTER_S:.0f} s"
                raise KafkaException(KafkaError(_TIMED_OUT, reason))
            try:
                return self._outcome.result(max(left_s, 0))
            except TimeoutError:
                continue  # there may have been another call meanwhile

    def _run(self, offsets: list[KafkaPartition], group: bytes) -> None:
        try:
            if offsets:
                self._insist(self._producer.send_offsets_to_transaction, offsets, group)
            self._insist(self._producer.commit_transaction)
        except BaseException as error:  # noqa: BLE001 (raised by who waits)
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(None)

    def _insist(self, call: Callable[..., object], *args: object) -> None:
        """Make a call again for as long as librdkafka says that this is the remedy."""
        while True:
            self._called_at = time.monotonic()
            try:
                call(*args, _TRANSACTION_TIMEOUT_S)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                log.warning("trying again", call=call.__name__, error=str(error))
            else:
                return
