"""How large a record may be on each topic, so that one that is too large costs nothing else."""

from typing import Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from pipelines.kafka.retry import CALL_TIMEOUT_S, QUIET, retrying
from schemas.cluster import Address, client_config

log = structlog.get_logger(__name__)

MAX_REQUEST_BYTES: Final = 4_000_000  # of our producer
UNCHECKED_BYTES: Final = 900_000  # below, a record fits into every topic with Kafka's default limit
_DEFAULT_BYTES: Final = 1_048_588  # Kafka's own
_OVERHEAD_BYTES: Final = 1_000  # more than a batch of one record needs besides the record


class TopicLimits:
    """The limits of topics; asks the broker once a topic. Every method may block."""

    def __init__(self, cluster: Address) -> None:
        self._cluster = cluster
        self._limits: dict[str, int] = {}

    def of(self, topic: str) -> int:
        """Return how many bytes key, value and headers of a record may have together.

        Raises:
            KafkaException: the broker was away for two minutes.
        """
        if topic not in self._limits:
            largest = min(retrying(self._describe, topic), MAX_REQUEST_BYTES)
            self._limits[topic] = largest - _OVERHEAD_BYTES
        return self._limits[topic]

    def refresh(self) -> None:
        """Ask again for every topic: the broker has refused a record that was within its limit."""
        self._limits.clear()

    def _describe(self, topic: str) -> int:
        admin = AdminClient(client_config(self._cluster, QUIET))
        resource = ConfigResource(ResourceType.TOPIC, topic)
        (answer,) = admin.describe_configs([resource], request_timeout=CALL_TIMEOUT_S).values()
        try:
            value = answer.result()["max.message.bytes"].value
        except KafkaException as error:
            if error.args[0].retriable():
                raise
            log.warning("the limit of a topic is not known", topic=topic, reason=str(error))
            return _DEFAULT_BYTES
        return int(value or _DEFAULT_BYTES)
