"""Checks that librdkafka's messages lie in memory as kernels read them.

The layout belongs to librdkafka's stable interface, and a kernel that reads another one crashes the
process. So a message whose contents are known is read back before a consumer relies on it.
"""

import ctypes
from functools import cache
from typing import Final

import numpy as np
import structlog

from pipelines.kafka import librdkafka as c

log = structlog.get_logger(__name__)

# The versions whose interface is known: all of 2.x.
_FIRST, _END = 0x02_00_00_00, 0x03_00_00_00
_KEY: Final = np.frombuffer(b"a key", np.uint8)
_VALUE: Final = np.frombuffer(b"a longer value", np.uint8)
_PARTITION: Final = 7
_TAG: Final = 0x0123_4567_89AB_CDEF
_TIMEOUT_MS: Final = 5_000
_PURGED: Final = -152  # RD_KAFKA_RESP_ERR__PURGE_QUEUE


@cache
def reads_messages() -> bool:
    """Return whether this librdkafka's messages can be read; log why not. Blocks for milliseconds.

    Connects to no broker: the message is one that a producer gives back unsent.
    """
    version = int(c.version())
    if not _FIRST <= version < _END:
        log.warning("records are read one by one: unknown version", librdkafka=f"{version:08x}")
        return False
    found = _read_back()
    if found != _expected():
        log.warning("records are read one by one: unknown layout", librdkafka=f"{version:08x}")
        return False
    return True


def _expected() -> tuple[int, int, int, bytes, bytes]:
    return _PURGED, _PARTITION, _TAG, _KEY.tobytes(), _VALUE.tobytes()


def _read_back() -> tuple[int, int, int, bytes, bytes] | None:
    kafka = c.create({"log_level": 0}, c.DELIVERIES)
    topic = c.topic_new(kafka, b"layout", None)
    queue = c.queue_get_main(kafka)
    try:
        sent = np.zeros(1, c.MESSAGE)
        sent["key"], sent["key_size"] = _KEY.ctypes.data, len(_KEY)
        sent["value"], sent["size"] = _VALUE.ctypes.data, len(_VALUE)
        sent["tag"] = _TAG
        c.produce_batch(topic, _PARTITION, c.COPIED, sent.ctypes.data, 1)
        c.purge(kafka, c.PURGE_QUEUE)
        event = c.queue_poll(queue, _TIMEOUT_MS)
        if not event:
            return None
        try:
            return _message_of(event)
        finally:
            c.event_destroy(event)
    finally:
        c.queue_destroy(queue)
        c.topic_destroy(topic)
        c.destroy(kafka)


def _message_of(event: int) -> tuple[int, int, int, bytes, bytes] | None:
    address = np.zeros(1, np.uint64)
    if c.event_message_array(event, address.ctypes.data, 1) != 1:
        return None
    message = c.message_at(int(address[0]))
    lengths = int(message["key_size"]), int(message["size"])
    if lengths != (len(_KEY), len(_VALUE)):  # before memory of that length is read
        return None
    key, value = int(message["key"]), int(message["value"])
    return (
        int(message["code"]),
        int(message["partition"]),
        int(message["tag"]),
        ctypes.string_at(key, lengths[0]),
        ctypes.string_at(value, lengths[1]),
    )
