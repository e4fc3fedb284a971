"""The declaration of a Kafka topic."""

from typing import Final, Literal, NamedTuple

Cleanup = Literal["delete", "compact"]

DAY_MS: Final = 86_400_000
FOREVER: Final = -1


class Topic(NamedTuple):
    """A topic as it must exist on the broker.

    `partitions` of 0 means the deployment's partition count. `retention_ms` applies only if
    `cleanup` is `delete`.
    """

    name: str
    cleanup: Cleanup
    retention_ms: int = FOREVER
    partitions: int = 0
