"""Lists of partitions as librdkafka takes and returns them."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from pipelines.kafka import librdkafka as c

Listed: TypeAlias = Any  # a pointer to a list, as ctypes returns it or passes it to a callback


@contextmanager
def listed(partitions: Sequence[KafkaPartition]) -> Iterator[Listed]:
    """Make a list of partitions with their offsets, and free it at the end."""
    pointer = c.topic_partition_list_new(len(partitions))
    try:
        for one in partitions:
            place = one.topic.encode(), one.partition
            c.topic_partition_list_add(pointer, *place)
            c.topic_partition_list_set_offset(pointer, *place, one.offset)
        yield pointer
    finally:
        c.topic_partition_list_destroy(pointer)


def partitions_of(pointer: Listed) -> list[KafkaPartition]:
    """Return the partitions of a list, with their offsets.

    Raises:
        KafkaException: a partition in the list has an error.
    """
    found = ctypes.cast(pointer, ctypes.POINTER(c.PartitionList)).contents
    partitions = []
    for one in found.elements[: found.count]:
        if one.code:
            raise KafkaException(KafkaError(one.code))
        partitions.append(KafkaPartition(one.topic.decode(), one.partition, one.offset))
    return partitions
