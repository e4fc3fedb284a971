"""What the funnels publish: changes of persons, and figures that readers add up over partitions."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.batch import Outbox, TopicPartition
from pipelines.funnel_fold import NONE, TOTAL, UNSET, Records
from pipelines.funnel_partition import Funnel, FunnelPartition
from pipelines.keys import ArrowColumn, KeyIndex
from pipelines.matching import FunnelKey, key_of
from pipelines.reader import Reader
from schemas import files
from schemas.codec import Codec, Encoder
from schemas.registries import SchemaRegistry
from schemas.subjects import value_subject
from schemas.topics import Topics

_CHANGES = pa.array(["reached", "corrected", "retracted", "timed_out"])
_REACHED, _CORRECTED, _RETRACTED, _TIMED_OUT = range(4)


class FunnelResults:
    """Writes to `avila.funnels` and `avila.funnel-steps`, each partition to its own number's."""

    def __init__(self, topics: Topics, registry: SchemaRegistry, outbox: Outbox) -> None:
        self._figures_topic = topics.funnels.name
        self._steps_topic = topics.funnel_steps.name
        self._outbox = outbox
        figures, step = files.load("funnel-result"), files.load("funnel-step")
        self._figures = Encoder(
            figures, registry.register(value_subject(self._figures_topic), figures)
        )
        self._steps = Encoder(step, registry.register(value_subject(self._steps_topic), step))
        self._decode = Codec(figures, registry.find).decode

    def steps(self, partition: int, persons: KeyIndex, funnel: Funnel, changes: Records) -> None:
        """Announce the steps that persons reached, or reached at another time than announced."""
        own = np.flatnonzero(changes["day"] != TOTAL)
        if not len(own):
            return
        before, after = changes["before"][own], changes["after"][own]
        kinds = np.where(
            before == UNSET, _REACHED, np.where(after == UNSET, _RETRACTED, _CORRECTED)
        )
        rows = changes["row"][own]
        self._send_steps(
            partition,
            persons.second(funnel.state.rows["slot"][rows]),
            funnel,
            changes["day"][own],
            changes["step"][own],
            kinds,
            changes["at"][own],
            np.maximum(after, 0),
        )

    def timeouts(self, partition: int, persons: KeyIndex, funnel: Funnel, expired: Records) -> None:
        """Announce the windows that closed before the last step."""
        own = np.flatnonzero(expired["step"] != NONE)
        if not len(own):
            return
        self._send_steps(
            partition,
            persons.second(funnel.state.rows["slot"][expired["row"][own]]),
            funnel,
            expired["day"][own],
            expired["step"][own],
            np.full(len(own), _TIMED_OUT),
            expired["at"][own],
            np.full(len(own), funnel.state.shape.window),
        )

    def _send_steps(
        self,
        partition: int,
        persons: ArrowColumn,
        funnel: Funnel,
        days: Any,
        steps: Any,
        kinds: Any,
        at: Any,
        took: Any,
    ) -> None:
        project, name, version = key_of(funnel.definition)
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
        prefix = f"{project}/{name}/"
        keys = [(prefix + person).encode() for person in persons.to_pylist()]
        self._outbox.send(self._steps_topic, keys, self._steps.encode(batch), partition=partition)

    def figures(self, number: int, partition: FunnelPartition, funnel: Funnel, now_ms: int) -> None:
        """Publish the figures that are not published yet."""
        if not funnel.unpublished:
            return
        project, name, version = key_of(funnel.definition)
        days = sorted(funnel.unpublished | {TOTAL})
        target = None if funnel.backfill is None else partition.position
        records = [
            {
                "project_id": project,
                "funnel_id": name,
                "version": version,
                "partition": number,
                "day": None if day == TOTAL else day,
                "reached": funnel.figures.reached(day),
                "times": [
                    {
                        "buckets": times.buckets.tolist(),
                        "counts": times.counts.tolist(),
                        "sum_ms": times.sum_ms,
                    }
                    for times in funnel.figures.times(day)
                ],
                "late_dropped": funnel.late if day == TOTAL else 0,
                "position": partition.position_of(funnel),
                "backfilling_to": target if day == TOTAL else None,
                "updated_at": now_ms,
            }
            for day in days
        ]
        batch = pa.RecordBatch.from_pylist(records, schema=self._figures.arrow)
        keys = [_figures_key(key_of(funnel.definition), day, number) for day in days]
        self._outbox.send(self._figures_topic, keys, self._figures.encode(batch), partition=number)
        funnel.unpublished.clear()

    def restore(self, number: int, partition: FunnelPartition, reader: Reader) -> Iterator[None]:
        """Take over the published figures, in steps; delete those of funnels that have ended."""
        stale: dict[bytes, None] = {}
        for records in reader.read(TopicPartition(self._figures_topic, number), 0):
            if records is None:
                yield
                continue
            decoded = self._decode(records.values)
            for row, record in zip(decoded.rows.tolist(), decoded.batch.to_pylist(), strict=True):
                key: FunnelKey = (record["project_id"], record["funnel_id"], record["version"])
                funnel = partition.funnels.get(key)
                if funnel is None:
                    stale[records.keys[row] or b""] = None
                elif record["day"] is None:
                    funnel.figures.load(TOTAL, record["reached"], [])
                    funnel.late = record["late_dropped"]
                else:
                    funnel.figures.load(record["day"], record["reached"], record["times"])
            for failure in decoded.failures:
                stale.pop(records.keys[failure.row] or b"", None)
            yield
        self.bury(number, list(stale))

    def forget(self, number: int, funnel: Funnel) -> None:
        """Delete the figures of a funnel that has ended."""
        key = key_of(funnel.definition)
        self.bury(number, [_figures_key(key, day, number) for day in funnel.figures])

    def bury(self, number: int, keys: list[bytes]) -> None:
        """Write tombstones."""
        self._outbox.send(self._figures_topic, keys, [None] * len(keys), partition=number)


def _figures_key(key: FunnelKey, day: int, partition: int) -> bytes:
    project, name, version = key
    return f"{project}/{name}/{version}/{'total' if day == TOTAL else day}/{partition}".encode()


def _constant(text: str, count: int) -> ArrowColumn:
    return pa.repeat(text, count)
