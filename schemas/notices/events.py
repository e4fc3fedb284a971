"""The types of events that subscriptions name, and the topics that they come from.

Each result topic of an operator is a source, and so are the topics of incidents and of models. The
type of a record is its source's name and what changed: `segment.entered`, `incident.opened`. A
record of aggregates, which are partial (of one partition), is `<operator>.result`.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from schemas.operators import OPERATORS
from schemas.topics import Topics


class NoticeSource(NamedTuple):
    """A topic whose records are events.

    `name` begins the types. `schema` is that of the topic's values, and `definition` the field with
    the id of the definition that a record is about. The field `change` says what changed, by one of
    `changes`; without a field, all records are of the type that `changes` has.
    """

    name: str
    schema: str
    definition: str
    changes: tuple[str, ...]
    change: str = ""

    @property
    def types(self) -> tuple[str, ...]:
        """The types of its events."""
        return tuple(f"{self.name}.{change}" for change in self.changes)

    def type_of(self, record: Mapping[str, Any]) -> str:
        """Return the type of a record."""
        return f"{self.name}.{record[self.change] if self.change else self.changes[0]}"


_INCIDENTS: Final = NoticeSource(
    "incident", "incident", "alert_id", ("opened", "closed", "retracted"), "change"
)
_MODELS: Final = NoticeSource(
    "model",
    "model-event",
    "prediction_id",
    ("drift", "promotion", "refused", "learned_again"),
    "kind",
)
_CHANGES: Final[Mapping[str, NoticeSource]] = {
    "segments": NoticeSource(
        "segment", "segment-change", "segment_id", ("entered", "left"), "change"
    ),
    "funnel-steps": NoticeSource(
        "funnel",
        "funnel-step",
        "funnel_id",
        ("reached", "corrected", "retracted", "timed_out"),
        "change",
    ),
    "predictions": NoticeSource("prediction", "prediction-score", "prediction_id", ("scored",)),
}


def sources(topics: Topics) -> dict[str, NoticeSource]:
    """Return the sources of a deployment, by the names of their topics."""
    found = {topics.incidents.name: _INCIDENTS, topics.model_events.name: _MODELS}
    for spec in OPERATORS:
        result = NoticeSource(spec.name, spec.aggregates.schema, f"{spec.name}_id", ("result",))
        found[spec.aggregates.topic(topics).name] = result
        for topic in spec.changes:
            found[topic.topic(topics).name] = _CHANGES[topic.suffix]
    return found


EVENT_TYPES: Final = tuple(
    sorted(name for source in sources(Topics("avila")).values() for name in source.types)
)
