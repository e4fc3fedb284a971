"""Produces records by the hundred: librdkafka as it is, without Python objects of each record.

Its library for Python makes a dictionary and a call of every record, and a message and a call of
every delivery report; that is half of the CPU time a record takes. librdkafka itself takes and
reports records in arrays (`pipelines.kafka.librdkafka`).
"""

import ctypes
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from pipelines.columnar.jit import Bools, Bytes, Int, Int32s, Int64s, UInt64s, kernel
from pipelines.kafka import librdkafka as c


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
        self._kafka = c.create(config, c.DELIVERIES | c.ERROR)
        self._topic = c.topic_new(self._kafka, self._topic_name, None)
        self._queue = c.queue_get_main(self._kafka)
        self._messages = np.zeros(0, c.MESSAGE)

    def __len__(self) -> int:
        """How many records are on their way, or not yet reported."""
        return int(c.outq_len(self._kafka)) if self._kafka else 0

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
            self._messages = np.zeros(count, c.MESSAGE)
        messages = self._messages[:count]
        at = records.data.ctypes.data
        messages["code"] = 0
        messages["key"] = records.begins + at
        messages["key_size"] = records.splits - records.begins
        messages["value"] = records.splits + at
        messages["size"] = records.ends - records.splits
        messages["tag"] = tags
        taken = c.produce_batch(self._topic, c.ANY_PARTITION, c.COPIED, messages.ctypes.data, count)
        if taken == count:
            return _NOTHING
        refused = messages["code"] != 0
        return Reports(tags[refused], messages["code"][refused])

    def poll(self, timeout_ms: int) -> Reports:
        """Wait for reports, for so long at most. Not to be called once it is closed."""
        event = c.queue_poll(self._queue, timeout_ms)
        if not event:
            return _NOTHING
        try:
            if c.event_type(event) == c.ERROR and c.event_error_is_fatal(event):
                self.fatal = c.event_error_string(event).decode()
            count = c.event_message_count(event)
            messages = np.empty(count, np.uint64)
            c.event_message_array(event, messages.ctypes.data, count)
            reports = Reports(np.empty(count, np.int64), np.empty(count, np.int32))
            _read_reports(messages, *reports)
            return reports
        finally:
            c.event_destroy(event)

    def is_ready(self, timeout_ms: int) -> bool:
        """Tell whether the broker answers, and has the topic; waits for so long at most."""
        with self._closing:
            if not self._kafka:
                return False
            low, high = ctypes.c_int64(), ctypes.c_int64()
            code = c.query_watermark_offsets(
                self._kafka, self._topic_name, 0, ctypes.byref(low), ctypes.byref(high), timeout_ms
            )
            return int(code) == 0

    def close(self) -> None:
        """End its threads and connections; what is not delivered by then is lost."""
        with self._closing:
            if self._kafka:
                c.queue_destroy(self._queue)
                c.topic_destroy(self._topic)
                c.destroy(self._kafka)
                self._kafka = None


_TAG: Final = c.MESSAGE.fields["tag"][1] if c.MESSAGE.fields else 0


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
