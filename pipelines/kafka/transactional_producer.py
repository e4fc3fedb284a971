"""A transactional producer that takes records in columns.

Its methods bear the names of librdkafka's Python library, which makes some objects and two calls
for every record: that was a tenth of a worker's CPU time.
"""

import ctypes
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from numpy.typing import NDArray

from pipelines.columnar.string_column import ArrowColumn
from pipelines.kafka import librdkafka as c
from pipelines.kafka.librdkafka import Pointer
from pipelines.kafka.partition_lists import listed
from pipelines.kafka.records import Headers

_Spans: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

# Enforced here: if a batch finds the queue full, librdkafka refuses some of its records and takes
# later ones, and the records of a key lose their order.
_QUEUED_BYTES: Final = 128 << 20
_QUEUE: Final = {"queue.buffering.max.messages": 0, "queue.buffering.max.kbytes": 2_097_151}
_RECORD_BYTES: Final = 200  # that librdkafka needs for one, besides key and value
_EMPTY_S: Final = 0.005
_EMPTY_TIMEOUT_S: Final = 120.0

# rd_kafka_vu_t: the meaning of the numbers depends on the kind.
_FIELD: Final = np.dtype(
    {
        "names": ["kind", "first", "second", "third"],
        "formats": [np.int32, np.int64, np.int64, np.int64],
        "offsets": [0, 8, 16, 24],
        "itemsize": 72,
    }
)
_TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _HEADER = 2, 3, 4, 5, 7, 9  # RD_KAFKA_VTYPE_…


class TransactionalProducer:
    """A producer for one thread at a time.

    The commit reports records that could not be delivered. The producer is destroyed when nothing
    refers to it any more.
    """

    def __init__(
        self, config: Mapping[str, object], on_error: Callable[[KafkaError], None]
    ) -> None:
        """Begin to connect; does not wait for the connection. `produce` calls `on_error`.

        Raises:
            KafkaException: a property in `config` is unknown to librdkafka, or its value wrong.
        """
        self._kafka = c.create({**config, **_QUEUE}, c.ERROR)
        self._queue = c.queue_get_main(self._kafka)
        self._topics: dict[str, Pointer] = {}
        self._on_error = on_error
        self._queued_bytes = 0  # since the queue was last empty: an upper bound
        # Not at exit: a thread may hang in a call of this producer.
        weakref.finalize(self, _destroy, self._kafka, self._queue, self._topics).atexit = False

    def init_transactions(self, timeout_s: float) -> None:
        """Fence producers of the same transactional id, and settle their open transactions.

        Raises:
            KafkaException: it failed; repeat the call if the error is retriable.
        """
        c.check(c.init_transactions(self._kafka, _ms(timeout_s)))

    def begin_transaction(self) -> None:
        """Begin a transaction; does not block.

        Raises:
            KafkaException: a transaction is open, or the producer was fenced.
        """
        c.check(c.begin_transaction(self._kafka))

    def produce(
        self,
        topic: str,
        partition: int,
        keys: ArrowColumn,
        values: ArrowColumn,
        headers: Sequence[Headers] | None = None,
    ) -> None:
        """Copy records, as Arrow binary arrays, into the queue, in order.

        Blocks while the queue is full, for two minutes at most.

        Raises:
            KafkaException: a record is too large, there is no such partition, no transaction is
                open, or the queue stayed full. Some records may be queued, so the transaction must
                be aborted.
        """
        self._poll_errors()
        size = keys.nbytes + values.nbytes + _RECORD_BYTES * len(keys)
        if size > _QUEUED_BYTES and len(keys) > 1:
            half = len(keys) // 2
            for part in (slice(half), slice(half, None)):
                some = None if headers is None else headers[part]
                self.produce(topic, partition, keys[part], values[part], some)
            return
        if self._queued_bytes + size > _QUEUED_BYTES:
            self._wait_until_empty()
        self._queued_bytes += size
        spans = _spans(keys), _spans(values)
        if headers is None:
            self._produce_all(self._topic(topic), partition, *spans)
        else:
            for row, own in enumerate(headers):
                key, value = ((int(at[row]), int(sizes[row])) for at, sizes in spans)
                self._produce_one(self._topic(topic), partition, key, value, own)

    def _wait_until_empty(self) -> None:
        deadline = time.monotonic() + _EMPTY_TIMEOUT_S
        while c.outq_len(self._kafka):
            self._poll_errors()  # an unread event counts as queued
            if time.monotonic() > deadline:
                reason = f"the broker has taken no records for {_EMPTY_TIMEOUT_S:.0f} s"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, reason))  # noqa: SLF001 (its public name)
            time.sleep(_EMPTY_S)
        self._queued_bytes = 0

    def send_offsets_to_transaction(
        self, offsets: Sequence[TopicPartition], group: bytes, timeout_s: float
    ) -> None:
        """Add a group's offsets to the transaction; `group` is the group's metadata.

        Raises:
            KafkaException: it failed; repeat the call if the error is retriable.
        """
        metadata = ctypes.c_void_p()
        c.check(c.consumer_group_metadata_read(ctypes.byref(metadata), group, len(group)))
        try:
            with listed(offsets) as partitions:
                c.check(
                    c.send_offsets_to_transaction(self._kafka, partitions, metadata, _ms(timeout_s))
                )
        finally:
            c.consumer_group_metadata_destroy(metadata)

    def commit_transaction(self, timeout_s: float) -> None:
        """Deliver what is queued, and commit the transaction. Does not call `on_error`.

        Raises:
            KafkaException: the outcome is unknown; repeat the call if the error is retriable.
        """
        c.check(c.commit_transaction(self._kafka, _ms(timeout_s)))

    def _produce_all(self, topic: Pointer, partition: int, keys: _Spans, values: _Spans) -> None:
        count = len(keys[0])
        messages = np.zeros(count, c.MESSAGE)
        messages["key"], messages["key_size"] = keys
        messages["value"], messages["size"] = values
        taken = c.produce_batch(topic, partition, c.COPIED, messages.ctypes.data, count)
        if taken < count:
            codes = messages["code"]
            raise KafkaException(KafkaError(int(codes[np.flatnonzero(codes)[0]])))

    def _produce_one(
        self,
        topic: Pointer,
        partition: int,
        key: tuple[int, int],
        value: tuple[int, int],
        headers: Headers,
    ) -> None:
        kept: list[bytes | None] = []  # alive until the call returns: the fields point at it
        fields: list[tuple[int, Pointer, int, int]] = [
            (_TOPIC, topic, 0, 0),
            (_PARTITION, partition, 0, 0),
            (_FLAGS, c.COPIED, 0, 0),
            (_KEY, *key, 0),
            (_VALUE, *value, 0),
        ]
        for name, content in headers:
            data = content.encode() if isinstance(content, str) else content
            kept += [encoded := name.encode(), data]
            fields.append((_HEADER, _address(encoded), _address(data), len(data or b"")))
        given = np.array(fields, _FIELD)
        c.check(c.produceva(self._kafka, given.ctypes.data, len(given)))

    def _topic(self, name: str) -> Pointer:
        if name not in self._topics:
            self._topics[name] = c.topic_new(self._kafka, name.encode(), None)
        return self._topics[name]

    def _poll_errors(self) -> None:
        while event := c.queue_poll(self._queue, 0):
            if c.event_type(event) == c.ERROR:
                text = (c.event_error_string(event) or b"").decode()
                self._on_error(KafkaError(c.event_error(event), text))
            c.event_destroy(event)


def _destroy(kafka: Pointer, queue: Pointer, topics: dict[str, Pointer]) -> None:
    c.queue_destroy(queue)
    for topic in topics.values():
        c.topic_destroy(topic)
    c.destroy(kafka)


def _spans(column: ArrowColumn) -> _Spans:
    """Return the address and the length of each value of an Arrow binary array; 0 for a null."""
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4).astype(np.int64)
    sizes = np.diff(starts)
    # An empty value has an address, which distinguishes it from a null.
    addresses = starts[:-1] + (data.address if data and data.size else offsets.address)
    if column.null_count:
        null = column.is_null().to_numpy(zero_copy_only=False)
        addresses[null] = sizes[null] = 0
    return addresses, sizes


def _address(data: bytes | None) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
