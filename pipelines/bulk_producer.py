"""Produces records by the hundred: librdkafka as it is, without Python objects of each record.

Its library for Python makes a dictionary and a call of every record, and a message and a call of
every delivery report; that is half of the CPU time a record takes. librdkafka itself takes and
reports records in arrays. Its functions are found through the library's extension module, so it is
the same librdkafka, wherever it came from.

What is called here, and how a message lies in memory, is part of its stable interface:
https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka.h
"""

import ctypes
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, KafkaException, cimpl
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pipelines.kernel import Bools, Bytes, Int, Int32s, Int64s, UInt64s, kernel


class Records(NamedTuple):
    """Records as columns: the key of record i is `data[begins[i]:splits[i]]`.

    Its value is `data[splits[i]:ends[i]]`. One that begins where it ends is missing.
    """

    data: Bytes
    begins: Int64s
    splits: Int64s
    ends: Int64s

    def there(self) -> Bools:
        """Which are not missing."""
        return self.ends > self.begins

    def completed(self, others: Mapping[int, tuple[bytes, bytes] | None]) -> "Records":
        """The same with `others`, keys and values by their place, and without those that are None.

        What is missing then is left out.
        """
        records = self
        if others:
            parts = [part for other in others.values() for part in other or (b"", b"")]
            data = np.concatenate([self.data, np.frombuffer(b"".join(parts), np.uint8)])
            sizes = np.fromiter(map(len, parts), np.int64, len(parts))
            ends = len(self.data) + np.cumsum(sizes)
            places = np.fromiter(others, np.int64, len(others))
            records = Records(data, self.begins.copy(), self.splits.copy(), self.ends.copy())
            records.begins[places] = (ends - sizes)[::2]
            records.splits[places] = ends[::2]
            records.ends[places] = ends[1::2]
        there = records.there()
        if there.all():
            return records
        return Records(
            records.data, records.begins[there], records.splits[there], records.ends[there]
        )


class Reports(NamedTuple):
    """What became of some records, by their tags: 0, or the code of an error."""

    tags: Int64s
    codes: Int32s


_NOTHING: Final = Reports(np.empty(0, np.int64), np.empty(0, np.int32))


class BulkProducer:
    """A producer onto one topic.

    One thread may produce while another one polls. Each record has a tag, any number, by which it
    is reported.
    """

    def __init__(self, config: Mapping[str, object], topic: str) -> None:
        """Begin to connect; does not wait for it.

        Raises:
            KafkaException: `config`, of librdkafka's properties, is not right.
        """
        self.fatal = ""  # why nothing can be delivered any more, once a poll has found it out
        self._closing = threading.Lock()
        self._topic_name = topic.encode()
        self._kafka = _create(config)
        self._topic = _topic_new(self._kafka, self._topic_name, None)
        self._queue = _queue_get_main(self._kafka)
        self._messages = np.zeros(0, _MESSAGE)

    def __len__(self) -> int:
        """How many records are on their way, or not yet reported."""
        return int(_outq_len(self._kafka)) if self._kafka else 0

    def produce(self, records: Records, tags: Int64s) -> Reports:
        """Copy `records` into the producer's queue, in their order; tells of those it refuses.

        It refuses what is larger than it may be, and what there is no room for. All others are
        reported by a later poll. Does not block.

        Raises:
            ValueError: the producer is closed.
        """
        if not self._kafka:
            raise ValueError("the producer is closed")
        count = len(tags)
        if len(self._messages) < count:
            self._messages = np.zeros(count, _MESSAGE)
        messages = self._messages[:count]
        at = records.data.ctypes.data
        messages["code"] = 0
        messages["key"] = records.begins + at
        messages["key_size"] = records.splits - records.begins
        messages["value"] = records.splits + at
        messages["size"] = records.ends - records.splits
        messages["tag"] = tags
        taken = _produce_batch(self._topic, _ANY_PARTITION, _COPIED, messages.ctypes.data, count)
        if taken == count:
            return _NOTHING
        refused = messages["code"] != 0
        return Reports(tags[refused], messages["code"][refused])

    def poll(self, timeout_ms: int) -> Reports:
        """Wait for reports, for so long at most. Not to be called once it is closed."""
        event = _queue_poll(self._queue, timeout_ms)
        if not event:
            return _NOTHING
        try:
            if _event_type(event) == _ERROR and _event_error_is_fatal(event):
                self.fatal = _event_error_string(event).decode()
            count = _event_message_count(event)
            messages = np.empty(count, np.uint64)
            _event_message_array(event, messages.ctypes.data, count)
            reports = Reports(np.empty(count, np.int64), np.empty(count, np.int32))
            _read_reports(messages, *reports)
            return reports
        finally:
            _event_destroy(event)

    def is_ready(self, timeout_ms: int) -> bool:
        """Tell whether the broker answers, and has the topic; waits for so long at most."""
        with self._closing:
            if not self._kafka:
                return False
            low, high = ctypes.c_int64(), ctypes.c_int64()
            code = _query_watermark_offsets(
                self._kafka, self._topic_name, 0, ctypes.byref(low), ctypes.byref(high), timeout_ms
            )
            return int(code) == 0

    def close(self) -> None:
        """End its threads and connections; what is not delivered by then is lost."""
        with self._closing:
            if self._kafka:
                _queue_destroy(self._queue)
                _topic_destroy(self._topic)
                _destroy(self._kafka)
                self._kafka = None


def _create(config: Mapping[str, object]) -> Any:
    reason = ctypes.create_string_buffer(512)
    properties = _conf_new()
    _conf_set_events(properties, _DELIVERIES | _ERROR)
    for name, value in config.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if _conf_set(properties, name.encode(), text.encode(), reason, len(reason)) != 0:
            break
    else:
        if kafka := _new(_PRODUCER, properties, reason, len(reason)):
            return kafka  # and `properties` are its own
    _conf_destroy(properties)
    raise KafkaException(KafkaError(KafkaError._INVALID_ARG, reason.value.decode()))  # noqa: SLF001 (its name)


# ── librdkafka ───────────────────────────────────────────────────────────────────────────────────

_PRODUCER: Final = 0  # RD_KAFKA_PRODUCER
_ANY_PARTITION: Final = -1  # RD_KAFKA_PARTITION_UA
_COPIED: Final = 2  # RD_KAFKA_MSG_F_COPY
_DELIVERIES: Final = 1  # RD_KAFKA_EVENT_DR
_ERROR: Final = 8  # RD_KAFKA_EVENT_ERROR
# rd_kafka_message_t
_MESSAGE: Final = np.dtype(
    [
        ("code", np.int32),
        ("topic", np.uint64),
        ("partition", np.int32),
        ("value", np.uint64),
        ("size", np.uint64),
        ("key", np.uint64),
        ("key_size", np.uint64),
        ("offset", np.int64),
        ("tag", np.int64),
    ],
    align=True,
)
_TAG: Final = _MESSAGE.fields["tag"][1] if _MESSAGE.fields else 0

_library: Final = ctypes.CDLL(cimpl.__file__)


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(_library, f"rd_kafka_{name}")
    function.restype = result
    function.argtypes = arguments
    return function


_int, _text, _pointer, _size = ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t
_conf_new = _function("conf_new", _pointer)
_conf_set = _function("conf_set", _int, _pointer, _text, _text, _text, _size)
_conf_set_events = _function("conf_set_events", None, _pointer, _int)
_conf_destroy = _function("conf_destroy", None, _pointer)
_new = _function("new", _pointer, _int, _pointer, _text, _size)
_topic_new = _function("topic_new", _pointer, _pointer, _text, _pointer)
_topic_destroy = _function("topic_destroy", None, _pointer)
_destroy = _function("destroy", None, _pointer)
_outq_len = _function("outq_len", _int, _pointer)
_produce_batch = _function("produce_batch", _int, _pointer, ctypes.c_int32, _int, _pointer, _int)
_queue_get_main = _function("queue_get_main", _pointer, _pointer)
_queue_poll = _function("queue_poll", _pointer, _pointer, _int)
_queue_destroy = _function("queue_destroy", None, _pointer)
_event_type = _function("event_type", _int, _pointer)
_event_error_string = _function("event_error_string", _text, _pointer)
_event_error_is_fatal = _function("event_error_is_fatal", _int, _pointer)
_event_message_count = _function("event_message_count", _size, _pointer)
_event_message_array = _function("event_message_array", _size, _pointer, _pointer, _size)
_event_destroy = _function("event_destroy", None, _pointer)
_query_watermark_offsets = _function(
    "query_watermark_offsets", _int, _pointer, _text, ctypes.c_int32, _pointer, _pointer, _int
)


@intrinsic  # type: ignore[untyped-decorator]
def _number_at(_: Any, address: Any) -> Any:
    """The eight bytes at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.load(builder.inttoptr(given[0], ir.IntType(64).as_pointer()))

    return types.int64(address), generate


@kernel
def _read_reports(messages: UInt64s, tags: Int64s, codes: Int32s) -> None:
    for i in range(len(messages)):
        message: Int = messages[i]
        codes[i] = np.int32(_number_at(message))
        tags[i] = _number_at(message + np.uint64(_TAG))
