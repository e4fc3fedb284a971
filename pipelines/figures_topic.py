"""A topic of figures: what is counted of a definition, one record a period and partition.

The topic is compacted, so that it is its own table: its newest records are the figures, and what a
worker counts goes on from them. The period of `TOTAL` has the record of the whole, with what is
said once: late events and how far the definition has caught up with history.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from pipelines.batch import Column, Outbox, TopicPartition
from pipelines.operators import TOTAL, Key, Running, Standing
from pipelines.reader import Reader
from schemas import files
from schemas.codec import Codec, Encoder
from schemas.registries import SchemaRegistry
from schemas.subjects import value_subject
from schemas.topics import Topic


class FiguresTopic:
    """Writes and reads the figures of one kind, each partition to its own number's.

    `period` is the name of the schema's field for it: a date as days from 1970, null for the whole.
    """

    def __init__(
        self,
        kind: str,
        topic: Topic,
        schema: str,
        period: str,
        registry: SchemaRegistry,
        outbox: Outbox,
    ) -> None:
        self._kind, self._topic, self._period = kind, topic.name, period
        self._outbox = outbox
        loaded = files.load(schema)
        self._encoder = Encoder(loaded, registry.register(value_subject(topic.name), loaded))
        self._decode = Codec(loaded, registry.find).decode

    def publish(
        self,
        standing: Standing,
        one: Running,
        figures: Callable[[int], dict[str, Any]],
        begin_of: Callable[[int], int] = int,
    ) -> None:
        """Send what `figures` gives for each period that is not published yet, and the whole.

        `begin_of` gives the first day of a period.
        """
        _, project, name, version = one.key
        position = standing.position if one.backfill is None else one.backfill.at
        common = {
            "project_id": project,
            f"{self._kind}_id": name,
            "version": version,
            "partition": standing.partition,
            "position": position,
            "late_dropped": 0,
            "updated_at": standing.now_ms,
        }
        of_whole = {
            "late_dropped": one.late,
            "backfilling_to": None if one.backfill is None else standing.position,
        }
        periods = sorted(one.unpublished | {TOTAL})
        days = [None if period == TOTAL else begin_of(period) for period in periods]
        records = [
            common | {self._period: day} | (of_whole if day is None else {}) | figures(period)
            for day, period in zip(days, periods, strict=True)
        ]
        batch = pa.RecordBatch.from_pylist(records, schema=self._encoder.arrow)
        keys = [_record_key(one.key, day, standing.partition) for day in days]
        self._send(standing.partition, keys, self._encoder.encode(batch))

    def restore(
        self,
        partition: int,
        running: dict[Key, Running],
        reader: Reader,
        take: Callable[[Running, dict[str, Any]], None],
    ) -> Iterator[None]:
        """Give every published record to `take`, in steps; delete those of what has ended."""
        stale: dict[bytes, None] = {}
        for records in reader.read(TopicPartition(self._topic, partition), 0):
            if records is None:
                yield
                continue
            decoded = self._decode(records.values)
            for row, record in zip(decoded.rows.tolist(), decoded.batch.to_pylist(), strict=True):
                project, name = record["project_id"], record[f"{self._kind}_id"]
                one = running.get(Key(self._kind, project, name, record["version"]))
                if one is None:
                    stale[records.keys[row] or b""] = None
                else:
                    if record[self._period] is None:
                        one.late = record["late_dropped"]
                    take(one, record)
            for failure in decoded.failures:
                stale.pop(records.keys[failure.row] or b"", None)
            yield
        self._bury(partition, stale)

    def forget(self, partition: int, one: Running, begin_of: Callable[[int], int] = int) -> None:
        """Delete the figures of a definition that has ended."""
        periods = {TOTAL, *one.figures}
        days = [None if period == TOTAL else begin_of(period) for period in periods]
        self._bury(partition, [_record_key(one.key, day, partition) for day in days])

    def _bury(self, partition: int, keys: Iterable[bytes]) -> None:
        keys = list(keys)
        self._send(partition, keys, [None] * len(keys))

    def _send(self, partition: int, keys: Column, values: Column) -> None:
        self._outbox.send(self._topic, keys, values, partition=partition)


def _record_key(key: Key, day: int | None, partition: int) -> bytes:
    _, project, name, version = key
    return f"{project}/{name}/{version}/{'total' if day is None else day}/{partition}".encode()
