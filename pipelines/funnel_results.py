"""What the funnels publish: changes of persons, and figures that readers add up over partitions."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipelines.batch import Outbox
from pipelines.figures_topic import FiguresTopic
from pipelines.funnel_figures import FunnelFigures
from pipelines.funnel_fold import NONE, UNSET
from pipelines.keys import ArrowColumn, prefixed
from pipelines.operators import TOTAL, Changes, Key, Running, Standing
from pipelines.reader import Reader
from schemas import files
from schemas.codec import Encoder
from schemas.registries import SchemaRegistry
from schemas.subjects import value_subject
from schemas.topics import Topics

KIND: Final = "funnel"
_CHANGES = pa.array(["reached", "corrected", "retracted", "timed_out"])
_REACHED, _CORRECTED, _RETRACTED, _TIMED_OUT = range(4)


class FunnelResults:
    """Writes to `avila.funnels` and `avila.funnel-steps`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures = FiguresTopic(KIND, topics.funnels, "funnel-result", "day", registry, outbox)
        self._outbox = outbox
        self._topic = topics.funnel_steps.name
        step = files.load("funnel-step")
        self._steps = Encoder(step, registry.register(value_subject(self._topic), step))

    def changes(self, standing: Standing, funnel: Running, changes: Changes) -> None:
        """Announce the steps that persons reached, or reached at another time than announced."""
        changes = funnel.figures.of_persons(changes)
        own = np.flatnonzero((changes["day"] != TOTAL) & (changes["before"] != changes["after"]))
        if not len(own):
            return
        before, after = changes["before"][own], changes["after"][own]
        kinds = np.where(
            before == UNSET, _REACHED, np.where(after == UNSET, _RETRACTED, _CORRECTED)
        )
        rows = changes["row"][own]
        self._send_steps(
            standing,
            funnel,
            rows,
            changes["day"][own],
            changes["step"][own],
            kinds,
            changes["at"][own],
            np.maximum(after, 0),
        )

    def expired(self, standing: Standing, funnel: Running, changes: Changes) -> None:
        """Announce the windows that closed before the last step."""
        own = np.flatnonzero(changes["step"] != NONE)
        if not len(own):
            return
        self._send_steps(
            standing,
            funnel,
            changes["row"][own],
            changes["day"][own],
            changes["step"][own],
            np.full(len(own), _TIMED_OUT),
            changes["at"][own],
            np.full(len(own), 1_000 * funnel.definition.funnel.window_s),
        )

    def _send_steps(
        self,
        standing: Standing,
        funnel: Running,
        rows: Any,
        days: Any,
        steps: Any,
        kinds: Any,
        at: Any,
        took: Any,
    ) -> None:
        _, project, name, version = funnel.key
        persons = standing.persons.second(funnel.state.persons_of(rows))
        count = len(persons)
        batch = pa.RecordBatch.from_arrays(
            [
                _constant(project, count),
                _constant(name, count),
                pa.array(np.full(count, version, np.int32)),
                persons,
                pa.array(days.astype(np.int32)),
                pa.array((steps + 1).astype(np.int32)),
                _CHANGES.take(pa.array(kinds)),
                pa.array(at.astype(np.int64)),
                pa.array(took.astype(np.int64)),
            ],
            names=self._steps.arrow.names,
        )
        keys = prefixed(f"{project}/{name}/", persons)
        self._outbox.send(
            self._topic, keys, self._steps.encode(batch), partition=standing.partition
        )

    def figures(self, standing: Standing, funnel: Running) -> None:
        """Publish the figures of the days that are not published yet, and the total."""
        self._figures.publish(standing, funnel, lambda day: _record(funnel.figures, day))

    def restore(
        self, partition: int, running: dict[Key, Running], reader: Reader
    ) -> Iterator[None]:
        """Take over the published figures, in steps; delete those of funnels that have ended."""
        return self._figures.restore(partition, running, reader, _take)

    def forget(self, standing: Standing, funnel: Running) -> None:
        """Delete the figures of a funnel that has ended."""
        self._figures.forget(standing.partition, funnel)


def _record(figures: FunnelFigures, day: int) -> dict[str, Any]:
    times = [
        {"buckets": time.buckets.tolist(), "counts": time.counts.tolist(), "sum_ms": time.sum_ms}
        for time in figures.times(day)
    ]
    return {
        "reached": figures.reached(day),
        "times": times,
        "entries": figures.entries(day),
        "breakdown": figures.breakdown(day),
    }


def _take(funnel: Running, record: dict[str, Any]) -> None:
    day = TOTAL if record["day"] is None else record["day"]
    funnel.figures.load(day, record)


def _constant(text: str, count: int) -> ArrowColumn:
    return pa.repeat(text, count)
