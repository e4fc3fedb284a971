"""Every topic of a deployment, declared once: name, cleanup policy and retention.

Nothing else names a topic. All partitioned topics have the deployment's partition count, so that
partition i of one holds what was derived from partition i of another.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

Cleanup = Literal["delete", "compact"]

_DAY_MS: Final = 86_400_000
FOREVER: Final = -1


class Topic(NamedTuple):
    """A topic as it must exist on the broker.

    `partitions` of 0 stands for the deployment's partition count; `retention_ms` counts only where
    `cleanup` is `delete`.
    """

    name: str
    cleanup: Cleanup
    retention_ms: int = FOREVER
    partitions: int = 0


SCHEMAS: Final = Topic("_schemas", "compact", partitions=1)


class Topics:
    """The topics of the deployment called `prefix`: two of them can share a cluster."""

    def __init__(self, prefix: str) -> None:
        self.inbox = Topic(f"{prefix}.inbox", "delete", 7 * _DAY_MS)
        self.events = Topic(f"{prefix}.events", "delete", FOREVER)
        self.rejected = Topic(f"{prefix}.rejected", "delete", 30 * _DAY_MS)
        self.definitions = Topic(f"{prefix}.definitions", "compact", partitions=1)
        self.funnels = Topic(f"{prefix}.funnels", "compact")
        self.cohorts = Topic(f"{prefix}.cohorts", "compact")
        self.metrics = Topic(f"{prefix}.metrics", "compact")
        self.segments = Topic(f"{prefix}.segments", "compact")
        self.segment_sizes = Topic(f"{prefix}.segment-sizes", "compact")
        self.funnel_steps = Topic(f"{prefix}.funnel-steps", "delete", 30 * _DAY_MS)
        self.person_state = Topic(f"{prefix}.state.persons", "compact")
        self.positions = Topic(f"{prefix}.state.positions", "compact", partitions=1)
        self.schemas = SCHEMAS

    def __iter__(self) -> Iterator[Topic]:
        return iter(vars(self).values())
