"""The declaration of a Kafka topic."""

from typing import Final, Literal, NamedTuple

Cleanup = Literal["delete", "compact"]

DAY_MS: Final = 86_400_000
FOREVER: Final = -1
# Kafka's own default. Whatever we write is bounded below it.
MAX_MESSAGE_BYTES: Final = 1_048_588


class Topic(NamedTuple):
    """A topic as it must exist on the broker.

    `partitions` of 0 means the deployment's partition count. `retention_ms` applies only if
    `cleanup` is `delete`. `max_message_bytes` is what a batch of records may have at least; 0 means
    the broker's own limit, which must not be lower than `MAX_MESSAGE_BYTES` either.
    """

    name: str
    cleanup: Cleanup
    retention_ms: int = FOREVER
    partitions: int = 0
    max_message_bytes: int = MAX_MESSAGE_BYTES

    @property
    def min_message_bytes(self) -> int:
        """How many bytes the topic must take in a batch of records."""
        return self.max_message_bytes or MAX_MESSAGE_BYTES
