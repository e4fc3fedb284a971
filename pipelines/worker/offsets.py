"""Decides from which offset a partition is read, and reports offsets that are gone."""

from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from pipelines.kafka.consumers import ColumnConsumer
from pipelines.kafka.records import TopicPartition
from pipelines.kafka.retry import CALL_TIMEOUT_S
from pipelines.worker.telemetry import SKIPPED

log = structlog.get_logger(__name__)


def committed_offset(
    consumer: ColumnConsumer, source: TopicPartition, missing: Callable[[TopicPartition], int]
) -> int:
    """Return where to continue; wait for a pending transaction that could still move it.

    `missing` decides where a partition is continued for which the group has no committed offset.

    Raises:
        KafkaException: the broker does not answer.
        Misconfigured: `missing` refuses to decide.
    """
    partition = KafkaPartition(*source)
    (committed,) = consumer.committed([partition], timeout=CALL_TIMEOUT_S)
    if committed.error is not None:
        raise KafkaException(committed.error)
    offset = committed.offset if committed.offset >= 0 else missing(source)
    # A topic that was deleted and made again may keep the group's offset for a while. It must not
    # wait for the log to grow beyond it: what comes until then would be skipped.
    return offset_in_range(consumer, source, offset)


def offset_in_range(consumer: ColumnConsumer, source: TopicPartition, position: int) -> int:
    """Return where to continue, which is `position` if the log has it.

    Raises:
        KafkaException: the broker does not answer.
    """
    partition = KafkaPartition(*source)
    first, end = consumer.get_watermark_offsets(partition, timeout=CALL_TIMEOUT_S)
    if first <= position <= end:
        return position
    if position < first:
        _report_skipped(source, position, first)
    else:
        log.error(
            "the topic ends before the position: it was recreated, or its broker has lost records",
            source=source,
            position=position,
            end=end,
            continued_at=first,
        )
    return first


def _report_skipped(source: TopicPartition, position: int, first: int) -> None:
    SKIPPED.labels(source.topic).inc(first - position)
    log.error(
        "offsets skipped: retention deleted them before they were read",
        source=source,
        first_skipped=position,
        last_skipped=first - 1,
        skipped=first - position,
    )
