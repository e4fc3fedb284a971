"""Produces records in bulk: calls librdkafka directly, without a Python object for each record.

Its Python library makes a dictionary and a call for every record, and a message and a call for
every delivery report: half of the CPU time that a record takes. librdkafka itself takes records and
reports them in arrays (`pipelines.kafka.librdkafka`).
"""

import ctypes
import threading
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Bools, Bytes, Int, Int32s, Int64s, UInt64s, kernel
from pipelines.columnar.raw_memory import int32_at, int64_at
from pipelines.kafka import librdkafka as c


class RecordColumns(NamedTuple):
    """Records as columns: the key of record i is `data[begins[i]:splits[i]]`.

    Its value is `data[splits[i]:ends[i]]`. A record of no bytes is missing.
    """

    data: Bytes
    begins: Int64s
    splits: Int64s
    ends: Int64s

    def present(self) -> Bools:
        """Return which records are not missing."""
        return self.ends > self.begins

    def completed(self, others: Mapping[int, tuple[bytes, bytes] | None]) -> "RecordColumns":
        """Return these records with `others`, keys and values by row, put in their rows.

        Rows whose other is None, and rows that are still missing, are left out.
        """
        records = self
        if others:
            parts = [part for other in others.values() for part in other or (b"", b"")]
            data = np.concatenate([self.data, np.frombuffer(b"".join(parts), np.uint8)])
            sizes = np.fromiter(map(len, parts), np.int64, len(parts))
            ends = len(self.data) + np.cumsum(sizes)
            rows = np.fromiter(others, np.int64, len(others))
            records = RecordColumns(data, self.begins.copy(), self.splits.copy(), self.ends.copy())
            records.begins[rows] = (ends - sizes)[::2]
            records.splits[rows] = ends[::2]
            records.ends[rows] = ends[1::2]
        present = records.present()
        if present.all():
            return records
        return RecordColumns(
            records.data, records.begins[present], records.splits[present], records.ends[present]
        )


class Reports(NamedTuple):
    """The outcome of some records, by tag: 0, or librdkafka's error code."""

    tags: Int64s
    codes: Int32s


_NOTHING: Final = Reports(np.empty(0, np.int64), np.empty(0, np.int32))


class BulkProducer:
    """A producer for one topic.

    One thread may produce while another one polls. The caller gives each record a tag, any number,
    and its report bears that tag.
    """

    def __init__(self, config: Mapping[str, object], topic: str) -> None:
        """Begin to connect; does not wait for the connection.

        Raises:
            KafkaException: a property in `config` is unknown to librdkafka, or its value wrong.
        """
        self.fatal = ""  # why nothing more can be delivered; set by the poll that finds out
        self._closing = threading.Lock()
        self._topic_name = topic.encode()
        self._kafka = c.create(config, c.DELIVERIES | c.ERROR)
        self._topic = c.topic_new(self._kafka, self._topic_name, None)
        self._queue = c.queue_get_main(self._kafka)
        self._messages = np.zeros(0, c.MESSAGE)

    def __len__(self) -> int:
        """Return how many records are queued, under way or not reported yet."""
        return int(c.outq_len(self._kafka)) if self._kafka else 0

    def produce(self, records: RecordColumns, tags: Int64s) -> Reports:
        """Copy `records` into the producer's queue, in order; return reports of those it refuses.

        It refuses records that are too large and records for which the queue has no room. A later
        poll reports all others. Does not block.

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
        """Wait for reports, at most for the time given. Must not be called after `close`."""
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
        """Return whether the broker answers and has the topic; wait at most for the time given."""
        with self._closing:
            if not self._kafka:
                return False
            low, high = ctypes.c_int64(), ctypes.c_int64()
            code = c.query_watermark_offsets(
                self._kafka, self._topic_name, 0, ctypes.byref(low), ctypes.byref(high), timeout_ms
            )
            return int(code) == 0

    def close(self) -> None:
        """End its threads and connections; records that are not delivered yet are lost."""
        with self._closing:
            if self._kafka:
                c.queue_destroy(self._queue)
                c.topic_destroy(self._topic)
                c.destroy(self._kafka)
                self._kafka = None


_TAG: Final = c.MESSAGE.fields["tag"][1] if c.MESSAGE.fields else 0


@kernel
def _read_reports(messages: UInt64s, tags: Int64s, codes: Int32s) -> None:
    for i in range(len(messages)):
        message: Int = np.int64(messages[i])
        codes[i] = int32_at(message)
        tags[i] = int64_at(message + _TAG)
