"""The view of the funnels' results: the newest figures of each partition, added up when asked."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import structlog
from confluent_kafka import Message
from numpy.typing import NDArray

from schemas.codec import Codec
from schemas.definitions import FunnelDefinition
from schemas.sketch import Sketch, merge
from services.query.figures import Counted, Counts

log = structlog.get_logger(__name__)

Version: TypeAlias = tuple[str, str, int]  # project, funnel, version


class Result(NamedTuple):
    """One record: a partition's figures of one entry day, or in total (`day` None)."""

    of: Version
    partition: int
    day: int | None
    reached: list[int]
    times: list[Sketch]
    late_dropped: int
    position: int
    updated_at: int
    backfilling_to: int | None

    @property
    def backfilled(self) -> float:
        """The share of the partition's events that is in the figures; 1 only if it is live."""
        if self.backfilling_to is None:
            return 1.0
        return min(0.99, self.position / max(1, self.backfilling_to))


class Update(NamedTuple):
    """A record by its key; None for a tombstone."""

    key: bytes
    result: Result | None


class Results:
    """The newest record of each key, by the version of the funnel it belongs to; for one thread."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._by_key: dict[bytes, Result] = {}
        self._by_version: defaultdict[Version, dict[bytes, Result]] = defaultdict(dict)

    def __len__(self) -> int:
        return len(self._by_key)

    def apply(self, updates: Iterable[Update]) -> None:
        """Take in records in the order of their partitions; some again change nothing."""
        for key, result in updates:
            before = self._by_key.pop(key, None)
            if before is not None:
                siblings = self._by_version[before.of]
                del siblings[key]
                if not siblings:
                    del self._by_version[before.of]
            if result is not None:
                self._by_key[key] = result
                self._by_version[result.of][key] = result

    def figures(self, definition: FunnelDefinition) -> Counted:
        """Add up what the partitions say of this version of the funnel; others do not count."""
        by_day: defaultdict[int | None, list[Result]] = defaultdict(list)
        for result in self._of(definition):
            by_day[result.day].append(result)
        totals = by_day.pop(None, [])
        return self._counted(definition, totals, by_day)

    def totals(self, definition: FunnelDefinition) -> Counted:
        """Add up the same without the days, at a fraction of the cost."""
        totals = [result for result in self._of(definition) if result.day is None]
        return self._counted(definition, totals, {})

    def _of(self, definition: FunnelDefinition) -> Iterable[Result]:
        of = (definition.project_id, definition.id, definition.version)
        return self._by_version.get(of, {}).values()

    def _counted(
        self,
        definition: FunnelDefinition,
        totals: Sequence[Result],
        by_day: Mapping[int | None, Sequence[Result]],
    ) -> Counted:
        steps = len(definition.funnel.steps)
        return Counted(
            total=_sum(steps, totals),
            days={
                day: Counts(_sum(steps, parts), _merge(steps, parts))
                for day, parts in by_day.items()
                if day is not None
            },
            late_dropped=sum(result.late_dropped for result in totals),
            updated_at=max(
                (part.updated_at for parts in (totals, *by_day.values()) for part in parts),
                default=None,
            ),
            positions={result.partition: result.position for result in totals},
            # Of a funnel that is new, some partitions may have said nothing yet.
            backfilled=min(1.0, sum(result.backfilled for result in totals) / self._partitions),
        )


class ResultReader:
    """Decodes records of the funnels' topic; for the thread that follows it.

    Raises what looking up an unknown schema raises; call again then.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def __call__(self, messages: list[Message]) -> list[Update]:
        """Return the readable records; the others are left out, with a line in the log for each."""
        keys = [message.key() or b"" for message in messages]
        filled = [row for row, message in enumerate(messages) if message.value() is not None]
        decoded = self._codec.decode([messages[row].value() for row in filled])
        for failure in decoded.failures:
            message = messages[filled[failure.row]]
            log.error(
                "result left out", key=message.key(), offset=message.offset(), why=failure[1:]
            )
        rows = (filled[row] for row in decoded.rows.tolist())
        results = dict(zip(rows, _results(decoded.batch), strict=True))
        return [
            Update(key, results.get(row))
            for row, key in enumerate(keys)
            if row in results or messages[row].value() is None
        ]


def _sum(steps: int, results: Sequence[Result]) -> list[int]:
    return [sum(result.reached[step] for result in results) for step in range(steps)]


def _merge(steps: int, results: Sequence[Result]) -> list[Sketch]:
    return [merge(result.times[step] for result in results) for step in range(steps)]


def _results(batch: pa.RecordBatch) -> list[Result]:
    plain: dict[str, list[Any]] = {
        name: batch.column(name).to_pylist() for name in batch.schema.names if name != "times"
    }
    return [
        Result(
            (plain["project_id"][row], plain["funnel_id"][row], plain["version"][row]),
            plain["partition"][row],
            plain["day"][row],
            plain["reached"][row],
            times,
            plain["late_dropped"][row],
            plain["position"][row],
            plain["updated_at"][row],
            plain["backfilling_to"][row],
        )
        for row, times in enumerate(_sketches(batch.column("times")))
    ]


def _sketches(times: Any) -> list[list[Sketch]]:
    """Read nested lists without making a Python object of each number in them."""
    structs = times.values
    buckets = _slices(structs.field("buckets"), np.int32)
    counts = _slices(structs.field("counts"), np.int64)
    sums = structs.field("sum_ms").to_pylist()
    bounds = times.offsets.to_pylist()
    return [
        [Sketch(buckets[i], counts[i], sums[i]) for i in range(begin, end)]
        for begin, end in pairwise(bounds)
    ]


def _slices(lists: Any, kind: Any) -> list[NDArray[Any]]:
    values = lists.values.to_numpy(zero_copy_only=False).astype(kind)
    bounds = lists.offsets.to_pylist()
    # Copies, since a slice of a batch would keep the whole of it in memory.
    return [values[begin:end].copy() for begin, end in pairwise(bounds)]
