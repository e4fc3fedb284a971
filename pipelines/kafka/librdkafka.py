"""The functions of librdkafka that are called directly: `rd_kafka_…` without the prefix.

Its Python library makes an object of every record. The functions are looked up in that library's
extension module, so both use the same librdkafka. Each call releases the GIL.

These functions and the memory layout of the structures belong to its stable interface:
https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka.h
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
from confluent_kafka import KafkaError, KafkaException, cimpl

ANY_PARTITION: Final = -1  # RD_KAFKA_PARTITION_UA
COPIED: Final = 2  # RD_KAFKA_MSG_F_COPY
DELIVERIES: Final = 1  # RD_KAFKA_EVENT_DR
ERROR: Final = 8  # RD_KAFKA_EVENT_ERROR
NO_OFFSET: Final = -1001  # RD_KAFKA_OFFSET_INVALID
PURGE_QUEUE: Final = 1  # RD_KAFKA_PURGE_F_QUEUE
NO_CONSUMER_CLOSE: Final = 8  # RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE
_PRODUCER: Final = 0  # RD_KAFKA_PRODUCER
_CONSUMER: Final = 1  # RD_KAFKA_CONSUMER
# rd_kafka_message_t
MESSAGE: Final = np.dtype(
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

_library: Final = ctypes.CDLL(cimpl.__file__)

Function: TypeAlias = Callable[..., Any]  # ctypes converts by `restype`, unseen by type checkers
Pointer: TypeAlias = int | None  # as ctypes returns a `c_void_p`: None is NULL
_CType: TypeAlias = Any  # a type of ctypes, whose common base class is private


def _function(name: str, result: _CType, *arguments: _CType) -> Function:
    function = getattr(_library, f"rd_kafka_{name}")
    function.restype = result
    function.argtypes = arguments
    return function  # type: ignore[no-any-return] # as `getattr` has it


_int, _int32, _int64 = ctypes.c_int, ctypes.c_int32, ctypes.c_int64
_text, _pointer, _size = ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t


class Partition(ctypes.Structure):
    """`rd_kafka_topic_partition_t`."""

    _fields_ = (
        ("topic", _text),
        ("partition", _int32),
        ("offset", _int64),
        ("metadata", _pointer),
        ("metadata_size", _size),
        ("opaque", _pointer),
        ("code", _int),
        ("private", _pointer),
    )


class PartitionList(ctypes.Structure):
    """`rd_kafka_topic_partition_list_t`."""

    _fields_ = (("count", _int), ("size", _int), ("elements", ctypes.POINTER(Partition)))


# Called by the thread that polls. ctypes prints what they raise and goes on, so they must not.
REBALANCE_CALLBACK: Final = ctypes.CFUNCTYPE(
    None, _pointer, _int, ctypes.POINTER(PartitionList), _pointer
)
ERROR_CALLBACK: Final = ctypes.CFUNCTYPE(None, _pointer, _int, _text, _pointer)

version = _function("version", _int)

conf_new = _function("conf_new", _pointer)
conf_set = _function("conf_set", _int, _pointer, _text, _text, _text, _size)
conf_set_events = _function("conf_set_events", None, _pointer, _int)
conf_set_rebalance_cb = _function("conf_set_rebalance_cb", None, _pointer, REBALANCE_CALLBACK)
conf_set_error_cb = _function("conf_set_error_cb", None, _pointer, ERROR_CALLBACK)
conf_destroy = _function("conf_destroy", None, _pointer)
new = _function("new", _pointer, _int, _pointer, _text, _size)
destroy = _function("destroy", None, _pointer)
destroy_flags = _function("destroy_flags", None, _pointer, _int)
topic_new = _function("topic_new", _pointer, _pointer, _text, _pointer)
topic_destroy = _function("topic_destroy", None, _pointer)
outq_len = _function("outq_len", _int, _pointer)
produce_batch = _function("produce_batch", _int, _pointer, _int32, _int, _pointer, _int)
produceva = _function("produceva", _pointer, _pointer, _pointer, _size)
queue_get_main = _function("queue_get_main", _pointer, _pointer)
queue_poll = _function("queue_poll", _pointer, _pointer, _int)
queue_destroy = _function("queue_destroy", None, _pointer)
event_type = _function("event_type", _int, _pointer)
event_error = _function("event_error", _int, _pointer)
event_error_string = _function("event_error_string", _text, _pointer)
event_error_is_fatal = _function("event_error_is_fatal", _int, _pointer)
event_message_count = _function("event_message_count", _size, _pointer)
event_message_array = _function("event_message_array", _size, _pointer, _pointer, _size)
event_destroy = _function("event_destroy", None, _pointer)
query_watermark_offsets = _function(
    "query_watermark_offsets", _int, _pointer, _text, _int32, _pointer, _pointer, _int
)
init_transactions = _function("init_transactions", _pointer, _pointer, _int)
begin_transaction = _function("begin_transaction", _pointer, _pointer)
send_offsets_to_transaction = _function(
    "send_offsets_to_transaction", _pointer, _pointer, _pointer, _pointer, _int
)
commit_transaction = _function("commit_transaction", _pointer, _pointer, _int)
consumer_group_metadata_read = _function(
    "consumer_group_metadata_read", _pointer, _pointer, _text, _size
)
consumer_group_metadata_destroy = _function("consumer_group_metadata_destroy", None, _pointer)
topic_partition_list_new = _function("topic_partition_list_new", _pointer, _int)
topic_partition_list_add = _function("topic_partition_list_add", _pointer, _pointer, _text, _int32)
topic_partition_list_set_offset = _function(
    "topic_partition_list_set_offset", _int, _pointer, _text, _int32, _int64
)
topic_partition_list_destroy = _function("topic_partition_list_destroy", None, _pointer)
purge = _function("purge", _int, _pointer, _int)
poll_set_consumer = _function("poll_set_consumer", _int, _pointer)
queue_get_consumer = _function("queue_get_consumer", _pointer, _pointer)
subscribe = _function("subscribe", _int, _pointer, _pointer)
assign = _function("assign", _int, _pointer, _pointer)
incremental_assign = _function("incremental_assign", _pointer, _pointer, _pointer)
incremental_unassign = _function("incremental_unassign", _pointer, _pointer, _pointer)
assignment_lost = _function("assignment_lost", _int, _pointer)
rebalance_protocol = _function("rebalance_protocol", _text, _pointer)
pause_partitions = _function("pause_partitions", _int, _pointer, _pointer)
resume_partitions = _function("resume_partitions", _int, _pointer, _pointer)
committed = _function("committed", _int, _pointer, _pointer, _int)
consumer_group_metadata = _function("consumer_group_metadata", _pointer, _pointer)
consumer_group_metadata_write = _function(
    "consumer_group_metadata_write", _pointer, _pointer, _pointer, _pointer
)
mem_free = _function("mem_free", None, _pointer, _pointer)
consumer_poll = _function("consumer_poll", _pointer, _pointer, _int)
consume_batch_queue = _function(
    "consume_batch_queue", ctypes.c_ssize_t, _pointer, _int, _pointer, _size
)
consumer_close = _function("consumer_close", _int, _pointer)
topic_name = _function("topic_name", _text, _pointer)
message_errstr = _function("message_errstr", _text, _pointer)
message_destroy = _function("message_destroy", None, _pointer)
message_timestamp = _function("message_timestamp", _int64, _pointer, _pointer)
message_headers = _function("message_headers", _int, _pointer, _pointer)
header_get_all = _function("header_get_all", _int, _pointer, _size, _pointer, _pointer, _pointer)
error_code = _function("error_code", _int, _pointer)
error_string = _function("error_string", _text, _pointer)
error_is_fatal = _function("error_is_fatal", _int, _pointer)
error_is_retriable = _function("error_is_retriable", _int, _pointer)
error_txn_requires_abort = _function("error_txn_requires_abort", _int, _pointer)
error_destroy = _function("error_destroy", None, _pointer)


def create(config: Mapping[str, object], events: int) -> Pointer:
    """Create a producer, which begins to connect; `events` are the kinds that its queue reports.

    Raises:
        KafkaException: a property in `config` is unknown to librdkafka, or its value is wrong.
    """
    properties = conf_new()
    conf_set_events(properties, events)
    return _create(_PRODUCER, properties, config)


def create_consumer(
    config: Mapping[str, object], on_rebalance: Function, on_error: Function
) -> Pointer:
    """Create a consumer, which begins to connect.

    The callbacks, of the types above, must live as long as the consumer.

    Raises:
        KafkaException: a property in `config` is unknown to librdkafka, or its value is wrong.
    """
    properties = conf_new()
    conf_set_rebalance_cb(properties, on_rebalance)
    conf_set_error_cb(properties, on_error)
    kafka = _create(_CONSUMER, properties, config)
    poll_set_consumer(kafka)
    return kafka


def _create(kind: int, properties: Pointer, config: Mapping[str, object]) -> Pointer:
    reason = ctypes.create_string_buffer(512)
    for name, value in config.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if conf_set(properties, name.encode(), text.encode(), reason, len(reason)) != 0:
            break
    else:
        if kafka := new(kind, properties, reason, len(reason)):
            return int(kafka)  # which owns `properties` now
    conf_destroy(properties)
    raise KafkaException(KafkaError(KafkaError._INVALID_ARG, reason.value.decode()))  # noqa: SLF001 (its public name)


def check_code(code: int) -> None:
    """Check the error code that a call returned.

    Raises:
        KafkaException: the call failed.
    """
    if code:
        raise KafkaException(KafkaError(code))


def message_at(address: int) -> np.void:
    """Copy the message at an address: one record of type `MESSAGE`."""
    (message,) = np.frombuffer(ctypes.string_at(address, MESSAGE.itemsize), MESSAGE)
    return message  # type: ignore[no-any-return] # a record of an array


def address(function: Function) -> int:
    """Return the address of a function, for kernels, which call it without the GIL."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type] # a function of ctypes


def check(error: Pointer) -> None:
    """Check what a call returned, and free it.

    Raises:
        KafkaException: the call returned an error.
    """
    if not error:
        return
    try:
        raised = KafkaError(
            error_code(error),
            error_string(error).decode(),
            fatal=bool(error_is_fatal(error)),
            retriable=bool(error_is_retriable(error)),
            txn_requires_abort=bool(error_txn_requires_abort(error)),
        )
    finally:
        error_destroy(error)
    raise KafkaException(raised)
