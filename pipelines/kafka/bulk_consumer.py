"""Consumes records in bulk: calls librdkafka directly, without a Python object for each record.

Its Python library makes an object of every record, which takes longer than the rest of a fetch.
librdkafka itself hands out arrays of messages, which kernels copy into columns without the GIL
(`pipelines.kafka.fetched`).

    librdkafka's queue ─▶ messages[n] ─▶ columns of each partition; the messages are given back
"""

import ctypes
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as KafkaPartition

from pipelines.kafka import librdkafka as c
from pipelines.kafka.fetched import Fetched, take
from pipelines.kafka.librdkafka import Pointer
from pipelines.kafka.partition_lists import Listed, listed, partitions_of

OnRebalance: TypeAlias = Callable[[Any, list[KafkaPartition]], None]

_ASSIGN: Final = KafkaError._ASSIGN_PARTITIONS  # noqa: SLF001 (its public name)
_NOTHING: Final = Fetched([], [])
_CLOSED: Final = "the consumer is closed"


class BulkConsumer:
    """A consumer that returns columns. Not thread-safe: call every method on the same thread.

    Methods that confluent-kafka's `Consumer` has too do what they do there, as far as a worker uses
    them. Callbacks are called inside `wait`, `fetch` and `close`, and what they raise is raised
    there. After `close`, every other method raises `RuntimeError`.
    """

    def __init__(
        self, config: Mapping[str, object], on_error: Callable[[KafkaError], None]
    ) -> None:
        """Begin to connect; does not wait for the connection.

        Raises:
            KafkaException: a property in `config` is unknown to librdkafka, or its value is wrong.
        """
        self._on_error = on_error
        self._on_assign: OnRebalance | None = None
        self._on_revoke: OnRebalance | None = None
        self._on_lost: OnRebalance | None = None
        self._has_assigned = False  # in the callback that is running
        self._raised: BaseException | None = None  # by a callback
        self._first = 0  # the message that `wait` has found
        self._messages = np.zeros(0, np.uint64)
        # They live as long as the consumer.
        self._rebalanced = c.REBALANCE_CALLBACK(self._call_rebalanced)
        self._failed = c.ERROR_CALLBACK(self._call_failed)
        self._kafka: Pointer = c.create_consumer(config, self._rebalanced, self._failed)
        self._queue = c.queue_get_consumer(self._kafka)
        callbacks = self._rebalanced, self._failed
        # Not at exit: a thread may hang in a call of this consumer.
        self._end = weakref.finalize(self, _destroy, self._kafka, self._queue, callbacks)
        self._end.atexit = False

    # ── the assignment ───────────────────────────────────────────────────────────────────────────

    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: OnRebalance,
        on_revoke: OnRebalance,
        on_lost: OnRebalance,
    ) -> None:
        """Join the group, or change the topics; later polls call back with partitions.

        Raises:
            KafkaException: a topic's name is not valid.
        """
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost
        with listed([KafkaPartition(topic, c.ANY_PARTITION) for topic in topics]) as some:
            c.check_code(c.subscribe(self._handle, some))

    def assign(self, partitions: Sequence[KafkaPartition]) -> None:
        """Read these partitions, without a group."""
        with listed(partitions) as some:
            c.check_code(c.assign(self._handle, some))

    def unassign(self) -> None:
        """Read nothing."""
        c.check_code(c.assign(self._handle, None))

    def incremental_assign(self, partitions: Sequence[KafkaPartition]) -> None:
        """Read these partitions as well, each from its offset on."""
        self._has_assigned = True
        with listed(partitions) as some:
            c.check(c.incremental_assign(self._handle, some))

    def incremental_unassign(self, partitions: Sequence[KafkaPartition]) -> None:
        """Read these partitions no longer."""
        self._has_assigned = True
        with listed(partitions) as some:
            c.check(c.incremental_unassign(self._handle, some))

    def pause(self, partitions: Sequence[KafkaPartition]) -> None:
        """Return no records of these partitions until they are resumed."""
        with listed(partitions) as some:
            c.check_code(c.pause_partitions(self._handle, some))

    def resume(self, partitions: Sequence[KafkaPartition]) -> None:
        """Return records of these partitions again."""
        with listed(partitions) as some:
            c.check_code(c.resume_partitions(self._handle, some))

    # ── questions to the broker ──────────────────────────────────────────────────────────────────

    def committed(
        self, partitions: Sequence[KafkaPartition], timeout: float
    ) -> list[KafkaPartition]:
        """Return the partitions with the group's offsets, negative where it has none. Blocks.

        Raises:
            KafkaException: the broker does not answer, or has an error for a partition.
        """
        with listed(partitions) as some:
            c.check_code(c.committed(self._handle, some, _ms(timeout)))
            return partitions_of(some)

    def get_watermark_offsets(self, partition: KafkaPartition, timeout: float) -> tuple[int, int]:
        """Return the first offset of a partition, and the one after its last. Blocks.

        Raises:
            KafkaException: the broker does not answer.
        """
        low, high = ctypes.c_int64(), ctypes.c_int64()
        place = partition.topic.encode(), partition.partition
        bounds = ctypes.byref(low), ctypes.byref(high)
        c.check_code(c.query_watermark_offsets(self._handle, *place, *bounds, _ms(timeout)))
        return low.value, high.value

    def consumer_group_metadata(self) -> bytes:
        """Return what identifies this member of the group, for the commit of a transaction."""
        buffer, size = ctypes.c_void_p(), ctypes.c_size_t()
        metadata = c.consumer_group_metadata(self._handle)
        try:
            c.check(
                c.consumer_group_metadata_write(metadata, ctypes.byref(buffer), ctypes.byref(size))
            )
        finally:
            c.consumer_group_metadata_destroy(metadata)
        try:
            return ctypes.string_at(buffer.value or 0, size.value)
        finally:
            c.mem_free(self._handle, buffer)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    def wait(self, timeout_s: float) -> bool:
        """Wait for a record or an error, at most for the time given; return whether there is one.

        The next `fetch` returns it; another `wait` instead drops it.
        """
        self._drop_first()
        self._first = c.consumer_poll(self._handle, _ms(timeout_s)) or 0
        self._raise_raised()
        return self._first != 0

    def fetch(self, max_records: int, timeout_s: float = 0) -> Fetched:
        """Return what `wait` has found and what follows, `max_records` together at most.

        Waits until there are so many, at most for the time given.
        """
        if self._kafka is None:
            raise RuntimeError(_CLOSED)
        if len(self._messages) < max_records:
            self._messages = np.zeros(max_records, np.uint64)
        self._messages[0], count = self._first, int(self._first != 0)
        self._first = 0
        rest = self._messages[count:max_records]
        if len(rest):
            place = rest.ctypes.data, len(rest)
            count += max(c.consume_batch_queue(self._queue, _ms(timeout_s), *place), 0)
        fetched = take(self._messages[:count]) if count else _NOTHING
        self._raise_raised()
        return fetched

    def close(self) -> None:
        """Leave the group, which revokes all partitions; end threads and connections."""
        if self._kafka is None:
            return
        self._drop_first()
        c.consumer_close(self._kafka)
        self._end()
        self._kafka = None
        self._raise_raised()

    @property
    def _handle(self) -> Pointer:
        """What librdkafka knows the consumer by; its functions crash without one.

        Raises:
            RuntimeError: the consumer is closed.
        """
        if self._kafka is None:
            raise RuntimeError(_CLOSED)
        return self._kafka

    def _drop_first(self) -> None:
        if self._first:
            c.message_destroy(self._first)
            self._first = 0

    # ── callbacks: librdkafka calls them on the thread that polls ────────────────────────────────

    def _call_rebalanced(self, _kafka: int, code: int, some: Listed, _opaque: int | None) -> None:
        self._has_assigned = False
        assigns = code == _ASSIGN
        try:
            partitions = partitions_of(some)
            if assigns:
                callback = self._on_assign
            elif c.assignment_lost(self._kafka):
                callback = self._on_lost
            else:
                callback = self._on_revoke
            if callback is not None:
                callback(self, partitions)
        except BaseException as error:  # noqa: BLE001 (raised by the call that polls)
            self._raised = self._raised or error
        if not self._has_assigned:  # librdkafka waits for it
            change = c.incremental_assign if assigns else c.incremental_unassign
            if failed := change(self._kafka, some):
                c.error_destroy(failed)

    def _call_failed(self, _kafka: int, code: int, reason: bytes, _opaque: int | None) -> None:
        try:
            self._on_error(KafkaError(code, (reason or b"").decode(errors="replace")))
        except BaseException as error:  # noqa: BLE001 (raised by the call that polls)
            self._raised = self._raised or error

    def _raise_raised(self) -> None:
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised


def _destroy(kafka: Pointer, queue: Pointer, _callbacks: tuple[object, ...]) -> None:
    c.queue_destroy(queue)
    c.destroy_flags(kafka, c.NO_CONSUMER_CLOSE)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
