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
_PRODUCER: Final = 0  # RD_KAFKA_PRODUCER
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

conf_new = _function("conf_new", _pointer)
conf_set = _function("conf_set", _int, _pointer, _text, _text, _text, _size)
conf_set_events = _function("conf_set_events", None, _pointer, _int)
conf_destroy = _function("conf_destroy", None, _pointer)
new = _function("new", _pointer, _int, _pointer, _text, _size)
destroy = _function("destroy", None, _pointer)
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
    reason = ctypes.create_string_buffer(512)
    properties = conf_new()
    conf_set_events(properties, events)
    for name, value in config.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if conf_set(properties, name.encode(), text.encode(), reason, len(reason)) != 0:
            break
    else:
        if kafka := new(_PRODUCER, properties, reason, len(reason)):
            return int(kafka)  # which owns `properties` now
    conf_destroy(properties)
    raise KafkaException(KafkaError(KafkaError._INVALID_ARG, reason.value.decode()))  # noqa: SLF001 (its public name)


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
