"""How large a record may be on each topic, so that one that is too large costs nothing else."""

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, ResourceType

from pipelines.kafka.retry import CALL_TIMEOUT_S, QUIET, retrying
from schemas.cluster import Address, client_config
from schemas.errors import Misconfigured
from schemas.topic import MAX_MESSAGE_BYTES, Topic

log = structlog.get_logger(__name__)

MAX_REQUEST_BYTES: Final = 4_000_000  # of our producer
UNCHECKED_BYTES: Final = 900_000  # below, a record fits into every topic with Kafka's default limit
_OVERHEAD_BYTES: Final = 1_000  # more than a batch of one record needs besides the record


class TopicLimits:
    """The limits of topics; asks the broker once a topic. Every method but `refresh` may block."""

    def __init__(self, cluster: Address) -> None:
        self._cluster = cluster
        self._limits: dict[str, int] = {}

    def of(self, topic: str) -> int:
        """Return how many bytes key, value and headers of a record may have together.

        Raises:
            KafkaException: the broker was away for two minutes.
        """
        self._ask([topic])
        return self._limits[topic]

    def check(self, topics: Iterable[Topic]) -> None:
        """Check that topics take the records that are written to them.

        Raises:
            KafkaException: the broker was away for two minutes.
            Misconfigured: some do not; names them, and what they need.
        """
        topics = list(topics)
        self._ask([topic.name for topic in topics])
        wrong = [
            f"topic {topic.name} takes batches of {self._limits[topic.name] + _OVERHEAD_BYTES} "
            f"bytes: set its max.message.bytes to {topic.min_message_bytes} or more"
            for topic in topics
            if self._limits[topic.name] + _OVERHEAD_BYTES < topic.min_message_bytes
        ]
        if wrong:
            raise Misconfigured("; ".join(wrong))

    def refresh(self) -> None:
        """Ask again for every topic: the broker has refused a record that was within its limit."""
        self._limits.clear()

    def _ask(self, topics: Iterable[str]) -> None:
        unknown = [topic for topic in topics if topic not in self._limits]
        if unknown:
            self._limits |= retrying(self._describe, unknown)

    def _describe(self, topics: list[str]) -> dict[str, int]:
        admin = AdminClient(client_config(self._cluster, QUIET))
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        answers = admin.describe_configs(resources, request_timeout=CALL_TIMEOUT_S)
        return {
            resource.name: min(_read(resource.name, answer), MAX_REQUEST_BYTES) - _OVERHEAD_BYTES
            for resource, answer in answers.items()
        }


def _read(topic: str, answer: Future[dict[str, ConfigEntry]]) -> int:
    """Return the limit of a topic, Kafka's own default if it is not known."""
    try:
        value = answer.result()["max.message.bytes"].value
    except KafkaException as error:
        if error.args[0].retriable():
            raise
        log.warning("the limit of a topic is not known", topic=topic, reason=str(error))
        return MAX_MESSAGE_BYTES
    return int(value or MAX_MESSAGE_BYTES)
