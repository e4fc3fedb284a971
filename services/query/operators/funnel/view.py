"""The view of the funnels' results: the latest records of each partition, added up on request."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.operators.funnel import FUNNEL, FunnelDefinition
from schemas.sketches.durations import Sketch, merge
from services.query.operators.breakdown import add_errors
from services.query.operators.funnel.aggregates import (
    DayCounts,
    FunnelAggregates,
    ValueCounts,
    Values,
    add_up,
)
from services.query.views.latest import LatestByKey
from services.query.views.progress import Progress, progress_of
from services.query.views.reader import ResultSource, VersionKey


class FunnelRecord(NamedTuple):
    """What a partition has counted of one entry day, or in total (`day` None)."""

    version_key: VersionKey
    partition: int
    day: int | None
    reached: list[int]
    times: list[Sketch]
    entries: list[int]
    values: Values
    late_dropped: int
    updated_at: int
    progress: Progress
    values_error: int | None = None

    @property
    def period(self) -> int | None:
        """The day; None for the partition's whole."""
        return self.day


class FunnelResultsView(LatestByKey[FunnelRecord]):
    """The latest records of all funnels."""

    def aggregates(self, definition: FunnelDefinition) -> FunnelAggregates:
        """Add up the partitions' records of this version of the funnel."""
        days = [day for day in self.periods(definition) if day is not None]
        by_day = {day: self.at(definition, day) for day in days}
        return self._add_up(definition, self.at(definition, None), by_day)

    def totals(self, definition: FunnelDefinition) -> FunnelAggregates:
        """Add up the totals only, at a fraction of the cost."""
        return self._add_up(definition, self.at(definition, None), {})

    def _add_up(
        self,
        definition: FunnelDefinition,
        totals: Sequence[FunnelRecord],
        by_day: Mapping[int, Sequence[FunnelRecord]],
    ) -> FunnelAggregates:
        steps = len(definition.funnel.steps)
        return FunnelAggregates(
            total=_reached(steps, totals),
            days={
                day: DayCounts(
                    _reached(steps, parts),
                    _merge(steps, parts),
                    _entries(steps, parts),
                    _values(parts),
                )
                for day, parts in by_day.items()
                if day is not None
            },
            late_dropped=sum(record.late_dropped for record in totals),
            updated_at=max(
                (part.updated_at for parts in (totals, *by_day.values()) for part in parts),
                default=None,
            ),
            positions={record.partition: record.progress.position for record in totals},
            status=self.status(definition),
            entries=_entries(steps, totals),
            values=_values(totals),
            values_error=add_errors(record.values_error for record in totals),
        )


def _reached(steps: int, records: Sequence[FunnelRecord]) -> list[int]:
    return [sum(record.reached[step] for record in records) for step in range(steps)]


def _entries(steps: int, records: Sequence[FunnelRecord]) -> list[int]:
    given = [record.entries for record in records if record.entries]
    return [sum(entries[step] for entries in given) for step in range(steps if given else 0)]


def _values(records: Sequence[FunnelRecord]) -> Values:
    parts: defaultdict[str | None, list[ValueCounts]] = defaultdict(list)
    for record in records:
        for value, counts in record.values.items():
            parts[value].append(counts)
    return {value: add_up(own) for value, own in parts.items()}


def _merge(steps: int, records: Sequence[FunnelRecord]) -> list[Sketch]:
    return [merge(record.times[step] for record in records) for step in range(steps)]


def read_records(batch: pa.RecordBatch) -> list[FunnelRecord]:
    """Read decoded rows as records."""
    plain: dict[str, list[Any]] = {
        name: batch.column(name).to_pylist() for name in batch.schema.names if name != "times"
    }
    return [
        FunnelRecord(
            VersionKey(plain["project_id"][row], plain["funnel_id"][row], plain["version"][row]),
            plain["partition"][row],
            plain["day"][row],
            plain["reached"][row],
            times,
            plain["entries"][row],
            {
                one["value"]: ValueCounts(one["reached"], one["entries"])
                for one in plain["breakdown"][row]
            },
            plain["late_dropped"][row],
            plain["updated_at"][row],
            progress_of({name: column[row] for name, column in plain.items()}),
            plain["values_error"][row],
        )
        for row, times in enumerate(_sketches(batch.column("times")))
    ]


def _sketches(times: Any) -> list[list[Sketch]]:
    """Read nested lists without a Python object for each number."""
    structs = times.values
    buckets = _slices(structs.field("buckets"), np.int32)
    counts = _slices(structs.field("counts"), np.int64)
    sums, shortest, longest = (
        structs.field(name).to_pylist() for name in ("sum_ms", "min_ms", "max_ms")
    )
    bounds = times.offsets.to_pylist()
    return [
        [Sketch(buckets[i], counts[i], sums[i], shortest[i], longest[i]) for i in range(begin, end)]
        for begin, end in pairwise(bounds)
    ]


def _slices(lists: Any, kind: Any) -> list[NDArray[Any]]:
    values = lists.values.to_numpy(zero_copy_only=False).astype(kind)
    bounds = lists.offsets.to_pylist()
    # Copies, since a slice would keep the whole batch in memory.
    return [values[begin:end].copy() for begin, end in pairwise(bounds)]


FUNNEL_RESULTS: Final = ResultSource("funnels", FUNNEL.aggregates, read_records)
