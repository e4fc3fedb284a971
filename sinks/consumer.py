"""The Kafka consumer of a sink: its configuration, and which of its errors are final."""

from collections.abc import Callable
from typing import Final, Literal, NamedTuple, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.cluster import Address, client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import Misconfigured

# librdkafka buffers about as much as a fetch may hold (`sinks.source`).
_QUEUE_KBYTES: Final = 32 << 10

OnPartitions: TypeAlias = Callable[[Consumer, list[TopicPartition]], None]


class SourceSettings(NamedTuple):
    """What a source reads, in which group, and the size and interval of its chunks."""

    cluster: Address
    topic: str
    group: str
    session_timeout_ms: int = 10_000
    chunk_rows: int = 50_000
    chunk_interval_ms: int = 250
    # Where to begin if Kafka has forgotten the group's offsets and the sink has other events.
    missing_offsets: Literal["refuse", "beginning", "end"] = "refuse"


def join(settings: SourceSettings, assigned: OnPartitions, revoked: OnPartitions) -> Consumer:
    """Create a consumer and join the group; the callbacks run within its calls."""
    consumer = Consumer(
        client_config(
            settings.cluster,
            {
                "group.id": settings.group,
                # With the newer protocol, members can commit while they are being fenced.
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": settings.session_timeout_ms,
                "heartbeat.interval.ms": settings.session_timeout_ms // 5,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                # An offset that no longer exists is a loss of events, not a reason to start over.
                "auto.offset.reset": "error",
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": _QUEUE_KBYTES,
                "socket.timeout.ms": 10_000,
                "reconnect.backoff.max.ms": 1_000,
                **CONSUMER_DEFAULTS,
                # The library reconnects by itself; failures that matter are returned by calls.
                "log_level": 0,
            },
        )
    )
    consumer.subscribe([settings.topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    return consumer


# Final when reading, but not in the answer to a commit.
NO_TOPIC: Final = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART}  # noqa: SLF001
_FINAL: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError.INVALID_GROUP_ID,
}


def raise_if_final(error: KafkaError) -> None:
    """Return if librdkafka may still recover from the error.

    Raises:
        Misconfigured: access is denied, or the group cannot be used.
        KafkaException: the consumer can no longer be used.
    """
    if error.code() in _FINAL:
        raise Misconfigured(f"the topic cannot be read: {error.str()}")
    if error.fatal():
        raise KafkaException(error)
