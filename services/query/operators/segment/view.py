"""The view of the segments' sizes: the newest figures of each partition, added up when asked."""

from collections import defaultdict
from typing import Final, NamedTuple

import pyarrow as pa

from schemas.operators.segment import SEGMENT, SegmentDefinition
from services.query.operators.segment.response import Moves, SegmentCounts
from services.query.views.latest import LatestByKey
from services.query.views.progress import Progress, progress_of
from services.query.views.reader import ResultSource, VersionKey


class SegmentSizeRecord(NamedTuple):
    """One record: the moves of one partition's persons on one day, or ever (`day` None)."""

    version_key: VersionKey
    partition: int
    day: int | None
    moves: Moves
    late_dropped: int
    clock: int | None
    updated_at: int
    progress: Progress

    @property
    def period(self) -> int | None:
        """Of what it is: a day, or None for the whole."""
        return self.day


class SegmentResultsView(LatestByKey[SegmentSizeRecord]):
    """The newest records of all segments."""

    def figures(self, definition: SegmentDefinition) -> SegmentCounts:
        """Add up what the partitions say of this version of the segment."""
        results = self.of(definition)
        whole = self.at(definition, None)
        days: defaultdict[int, Moves] = defaultdict(lambda: Moves(0, 0))
        for result in results:
            if result.day is not None:
                days[result.day] += result.moves
        return SegmentCounts(
            persons=sum(result.moves.entered - result.moves.left for result in whole),
            days=dict(days),
            late_dropped=sum(result.late_dropped for result in whole),
            updated_at=max((result.updated_at for result in results), default=None),
            positions={result.partition: result.progress.position for result in whole},
            status=self.status(definition),
        )

    def clocks(self, definition: SegmentDefinition, now_ms: int) -> dict[int, int]:
        """What the project's clock says at `now_ms` in each partition where the segment is live.

        It runs on since it was published: had it been put forward since, and had that changed who
        is in, it would have been published again.
        """
        return {
            result.partition: now_ms + result.clock - result.updated_at
            for result in self.at(definition, None)
            if result.clock is not None and result.progress.backfilling_to is None
        }


def read_size_records(batch: pa.RecordBatch) -> list[SegmentSizeRecord]:
    """Make results of decoded records."""
    return [
        SegmentSizeRecord(
            VersionKey(record["project_id"], record["segment_id"], record["version"]),
            record["partition"],
            record["day"],
            Moves(record["entered"], record["left"]),
            record["late_dropped"],
            record["clock"],
            record["updated_at"],
            progress_of(record),
        )
        for record in batch.to_pylist()
    ]


SEGMENT_SIZES: Final = ResultSource("segment sizes", SEGMENT.aggregates, read_size_records)
