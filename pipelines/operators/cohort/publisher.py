"""What the cohorts publish: figures that readers add up over partitions."""

from collections.abc import Iterator
from typing import Any, Final

from pipelines.engine.aggregates_topic import FiguresTopic
from pipelines.engine.operator import TOTAL, Changed, Key, Running, Standing
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from schemas.registry.client import SchemaRegistry
from schemas.time.calendar import begin_of, number_of
from schemas.topics import Topics

KIND: Final = "cohort"


class CohortResults:
    """Writes to `avila.cohorts`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = FiguresTopic(
            KIND, topics.cohorts, "cohort-result", "period", registry, outbox
        )

    def changes(self, standing: Standing, changed: Changed) -> None:
        """Nothing: what one person does in a cohort is announced nowhere."""

    def expired(self, standing: Standing, changed: Changed) -> None:
        """Nothing: time alone changes no cohort."""

    def figures(self, standing: Standing, running: Running) -> None:
        """Publish the periods that are not published yet, and the whole."""
        self._figures.publish(
            standing,
            running,
            lambda period: _record(running, period),
            lambda period: _first_day(running, period),
        )

    def restore(
        self, partition: int, running: dict[Key, Running], reader: Reader
    ) -> Iterator[None]:
        """Take over the published figures, in steps; delete those of cohorts that have ended."""
        return self._figures.restore(partition, running, reader, _take)

    def forget(self, standing: Standing, running: Running) -> None:
        """Delete the figures of a cohort that has ended."""
        self._figures.forget(
            standing.partition, running, lambda period: _first_day(running, period)
        )


def _record(running: Running, period: int) -> dict[str, Any]:
    persons, returned, or_later = running.figures.counts(period)
    if period == TOTAL:
        returned, or_later = [], []
    return {
        "persons": persons,
        "returned": returned,
        "returned_or_later": or_later,
        "breakdown": running.figures.breakdown(period),
    }


def _take(running: Running, record: dict[str, Any]) -> None:
    period = TOTAL
    if record["period"] is not None:
        first_day = begin_of("day", record["period"])
        period = number_of(running.definition.cohort.period, first_day)
    running.figures.load(period, record)


def _first_day(running: Running, period: int) -> int:
    return number_of("day", begin_of(running.definition.cohort.period, period))
