"""The topics of a deployment, each declared once: name, cleanup policy and retention.

Operators declare the topics of their results (`OperatorSpec.results`); all others are declared
here. All topics but those of one partition have the deployment's partition count, so that partition
i of one holds what was derived from partition i of another.
"""

from collections.abc import Iterator
from typing import Final

from schemas.operators import OPERATORS
from schemas.topic import DAY_MS, FOREVER, Topic

__all__ = ["FOREVER", "SCHEMAS", "Topic", "Topics"]

SCHEMAS: Final = Topic("_schemas", "compact", partitions=1)


class Topics:
    """The topics of the deployment called `prefix`; several deployments can share a cluster.

    Iterating yields all topics, those of results included.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix: Final = prefix
        # Whoever produces to the inbox may write what the broker takes: the Tracker rejects more.
        self.inbox = Topic(f"{prefix}.inbox", "delete", 7 * DAY_MS, max_message_bytes=0)
        self.events = Topic(f"{prefix}.events", "delete", FOREVER)
        self.rejected = Topic(f"{prefix}.rejected", "delete", 30 * DAY_MS)
        self.definitions = Topic(f"{prefix}.definitions", "compact", partitions=1)
        self.person_state = Topic(f"{prefix}.state.persons", "compact")
        self.positions = Topic(f"{prefix}.state.positions", "compact", partitions=1)
        self.dedup = Topic(f"{prefix}.dedup", "compact", partitions=1)
        # What predictions learn from, kept like the events: models can be learned again from it.
        self.examples = Topic(f"{prefix}.examples", "delete", FOREVER)
        self.models = Topic(f"{prefix}.models", "compact")
        # What has happened to models, such as a drift or a promotion.
        self.model_events = Topic(f"{prefix}.model-events", "delete", 90 * DAY_MS)
        self.clocks = Topic(f"{prefix}.clocks", "compact", partitions=1)
        # Alerts: what has opened and closed, and the state of each alert.
        self.incidents = Topic(f"{prefix}.incidents", "delete", 365 * DAY_MS)
        self.alert_state = Topic(f"{prefix}.state.alerts", "compact")
        # Notices to send, by subscription; those that nobody took; how far each subscription is.
        self.deliveries = Topic(f"{prefix}.deliveries", "delete", 7 * DAY_MS)
        self.dead_deliveries = Topic(f"{prefix}.dead-deliveries", "delete", 30 * DAY_MS)
        self.delivery_state = Topic(f"{prefix}.state.deliveries", "compact")
        self.schemas = SCHEMAS

    def __iter__(self) -> Iterator[Topic]:
        yield from (topic for topic in vars(self).values() if isinstance(topic, Topic))
        for spec in OPERATORS:
            for result in spec.results:
                yield result.topic(self)
