"""A producer of transactions that takes records in columns.

Its methods are named as those of librdkafka's library for Python, which makes some objects and two
calls of every record: that was a tenth of all that a worker did.
"""

import ctypes
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from numpy.typing import NDArray

from pipelines.columnar.string_column import ArrowColumn
from pipelines.kafka import librdkafka as c
from pipelines.kafka.records import Headers

_Places: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

# Ours to keep to: of a batch that finds the queue full, librdkafka would refuse some and take what
# follows, and the records of a key would lose their order.
_QUEUED_BYTES: Final = 128 << 20
_QUEUE: Final = {"queue.buffering.max.messages": 0, "queue.buffering.max.kbytes": 2_097_151}
_RECORD_BYTES: Final = 200  # what librdkafka keeps of one, besides key and value
_EMPTY_S: Final = 0.005
_EMPTY_TIMEOUT_S: Final = 120.0

# rd_kafka_vu_t: what a value says depends on its kind.
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
    """Not for two threads at once.

    What could not be delivered is told by the commit. It is destroyed when nothing refers to it.
    """

    def __init__(
        self, config: Mapping[str, object], on_error: Callable[[KafkaError], None]
    ) -> None:
        """Begin to connect; does not wait for it. `on_error` hears of troubles, from `produce`.

        Raises:
            KafkaException: `config`, of librdkafka's properties, is not right.
        """
        self._kafka = c.create({**config, **_QUEUE}, c.ERROR)
        self._queue = c.queue_get_main(self._kafka)
        self._topics: dict[str, Any] = {}
        self._on_error = on_error
        self._queued_bytes = 0  # at most, since it was last empty
        # Not when the process ends: a thread may hang in there.
        weakref.finalize(self, _destroy, self._kafka, self._queue, self._topics).atexit = False

    def init_transactions(self, timeout_s: float) -> None:
        """Fence those of the same transactional id, and have the broker settle what they left.

        Raises:
            KafkaException: it did not come to that; a retriable one may be tried again.
        """
        c.succeed(c.init_transactions(self._kafka, _ms(timeout_s)))

    def begin_transaction(self) -> None:
        """Begin a transaction; does not block.

        Raises:
            KafkaException: there is one, or the producer was fenced.
        """
        c.succeed(c.begin_transaction(self._kafka))

    def produce(
        self,
        topic: str,
        partition: int,
        keys: ArrowColumn,
        values: ArrowColumn,
        headers: Sequence[Headers] | None = None,
    ) -> None:
        """Copy records, as Arrow arrays of binaries, into the queue, in their order.

        Blocks while there is no room, for two minutes at most: what the broker does not take is
        dropped when the transaction times out.

        Raises:
            KafkaException: a record is too large, there is no such partition or no transaction, or
                there was no room: some may be in the queue, so that the transaction cannot be used
                any more.
        """
        self._hear()
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
        places = _places(keys), _places(values)
        if headers is None:
            self._produce_all(self._topic(topic), partition, *places)
        else:
            for row, own in enumerate(headers):
                key, value = ((int(at[row]), int(sizes[row])) for at, sizes in places)
                self._produce_one(self._topic(topic), partition, key, value, own)

    def _wait_until_empty(self) -> None:
        deadline = time.monotonic() + _EMPTY_TIMEOUT_S
        while c.outq_len(self._kafka):
            self._hear()  # what is to be heard counts as queued
            if time.monotonic() > deadline:
                reason = f"the broker has not taken what is queued for {_EMPTY_TIMEOUT_S:.0f} s"
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, reason))  # noqa: SLF001 (its name)
            time.sleep(_EMPTY_S)
        self._queued_bytes = 0

    def send_offsets_to_transaction(
        self, offsets: Sequence[TopicPartition], group: bytes, timeout_s: float
    ) -> None:
        """Have the transaction commit a group's offsets; `group` is its metadata.

        Raises:
            KafkaException: it did not come to that; a retriable one may be tried again.
        """
        metadata = ctypes.c_void_p()
        c.succeed(c.consumer_group_metadata_read(ctypes.byref(metadata), group, len(group)))
        partitions = c.topic_partition_list_new(len(offsets))
        try:
            for one in offsets:
                place = one.topic.encode(), one.partition
                c.topic_partition_list_add(partitions, *place)
                c.topic_partition_list_set_offset(partitions, *place, one.offset)
            c.succeed(
                c.send_offsets_to_transaction(self._kafka, partitions, metadata, _ms(timeout_s))
            )
        finally:
            c.topic_partition_list_destroy(partitions)
            c.consumer_group_metadata_destroy(metadata)

    def commit_transaction(self, timeout_s: float) -> None:
        """Deliver what is queued, and commit it. What troubles there are meanwhile nobody hears.

        Raises:
            KafkaException: it is not known to count; a retriable one may be tried again.
        """
        c.succeed(c.commit_transaction(self._kafka, _ms(timeout_s)))

    def _produce_all(self, topic: Any, partition: int, keys: _Places, values: _Places) -> None:
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
        topic: Any,
        partition: int,
        key: tuple[int, int],
        value: tuple[int, int],
        headers: Headers,
    ) -> None:
        kept: list[bytes | None] = []  # what is pointed at
        fields: list[tuple[int, int, int, int]] = [
            (_TOPIC, topic, 0, 0),
            (_PARTITION, partition, 0, 0),
            (_FLAGS, c.COPIED, 0, 0),
            (_KEY, *key, 0),
            (_VALUE, *value, 0),
        ]
        for name, content in headers:
            data = content.encode() if isinstance(content, str) else content
            kept += [called := name.encode(), data]
            fields.append((_HEADER, _address(called), _address(data), len(data or b"")))
        given = np.array(fields, _FIELD)
        c.succeed(c.produceva(self._kafka, given.ctypes.data, len(given)))

    def _topic(self, name: str) -> Any:
        if name not in self._topics:
            self._topics[name] = c.topic_new(self._kafka, name.encode(), None)
        return self._topics[name]

    def _hear(self) -> None:
        while event := c.queue_poll(self._queue, 0):
            if c.event_type(event) == c.ERROR:
                text = (c.event_error_string(event) or b"").decode()
                self._on_error(KafkaError(c.event_error(event), text))
            c.event_destroy(event)


def _destroy(kafka: Any, queue: Any, topics: dict[str, Any]) -> None:
    c.queue_destroy(queue)
    for topic in topics.values():
        c.topic_destroy(topic)
    c.destroy(kafka)


def _places(column: ArrowColumn) -> _Places:
    """Where each value of an Arrow array of binaries begins, and its length; 0 of a null."""
    _, offsets, data = column.buffers()
    starts = np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4).astype(np.int64)
    sizes = np.diff(starts)
    # That there is a value, if an empty one, is told by its place.
    places = starts[:-1] + (data.address if data and data.size else offsets.address)
    if column.null_count:
        null = column.is_null().to_numpy(zero_copy_only=False)
        places[null] = sizes[null] = 0
    return places, sizes


def _address(data: bytes | None) -> int:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
