"""Every topic of a deployment, declared once: name, cleanup policy and retention.

Topics of results are declared by their operators (`OperatorSpec.results`), all others here. All
partitioned topics have the deployment's partition count, so that partition i of one holds what was
derived from partition i of another.
"""

from collections.abc import Iterator
from typing import Final

from schemas.operators import OPERATORS
from schemas.topic import DAY_MS, FOREVER, Topic

__all__ = ["FOREVER", "SCHEMAS", "Topic", "Topics"]

SCHEMAS: Final = Topic("_schemas", "compact", partitions=1)


class Topics:
    """The topics of the deployment called `prefix`: two deployments can share a cluster.

    Iterating yields all of them, those of results included.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix: Final = prefix
        self.inbox = Topic(f"{prefix}.inbox", "delete", 7 * DAY_MS)
        self.events = Topic(f"{prefix}.events", "delete", FOREVER)
        self.rejected = Topic(f"{prefix}.rejected", "delete", 30 * DAY_MS)
        self.definitions = Topic(f"{prefix}.definitions", "compact", partitions=1)
        self.person_state = Topic(f"{prefix}.state.persons", "compact")
        self.positions = Topic(f"{prefix}.state.positions", "compact", partitions=1)
        self.schemas = SCHEMAS

    def __iter__(self) -> Iterator[Topic]:
        yield from (self.inbox, self.events, self.rejected, self.definitions)
        for spec in OPERATORS:
            for result in spec.results:
                yield result.topic(self)
        yield from (self.person_state, self.schemas)
