"""The view of the segments' sizes: the latest records of each partition, added up on request."""

from collections import defaultdict
from typing import Final, NamedTuple

import pyarrow as pa

from schemas.operators.segment import SEGMENT, SegmentDefinition
from services.query.operators.segment.aggregates import Moves, SegmentAggregates
from services.query.views.latest import LatestByKey
from services.query.views.progress import Progress, progress_of
from services.query.views.reader import ResultSource, VersionKey


class SegmentSizeRecord(NamedTuple):
    """The moves of one partition's persons on one day, or ever (`day` None)."""

    version_key: VersionKey
    partition: int
    day: int | None
    moves: Moves
    late_dropped: int
    updated_at: int
    progress: Progress
    scores_since: int | None = None

    @property
    def period(self) -> int | None:
        """The day; None for the partition's whole."""
        return self.day


class SegmentResultsView(LatestByKey[SegmentSizeRecord]):
    """The latest records of all segments."""

    def aggregates(self, definition: SegmentDefinition) -> SegmentAggregates:
        """Add up the partitions' records of this version of the segment."""
        records = self.of(definition)
        whole = self.at(definition, None)
        days: defaultdict[int, Moves] = defaultdict(lambda: Moves(0, 0))
        for record in records:
            if record.day is not None:
                days[record.day] += record.moves
        return SegmentAggregates(
            persons=sum(record.moves.entered - record.moves.left for record in whole),
            days=dict(days),
            late_dropped=sum(record.late_dropped for record in whole),
            scores_since=max(
                (one.scores_since for one in whole if one.scores_since is not None), default=None
            ),
            updated_at=max((record.updated_at for record in records), default=None),
            positions={record.partition: record.progress.position for record in whole},
            status=self.status(definition),
        )


def read_size_records(batch: pa.RecordBatch) -> list[SegmentSizeRecord]:
    """Read decoded rows as records."""
    return [
        SegmentSizeRecord(
            VersionKey(record["project_id"], record["segment_id"], record["version"]),
            record["partition"],
            record["day"],
            Moves(record["entered"], record["left"]),
            record["late_dropped"],
            record["updated_at"],
            progress_of(record),
            record["scores_since"],
        )
        for record in batch.to_pylist()
    ]


SEGMENT_SIZES: Final = ResultSource("segment sizes", SEGMENT.aggregates, read_size_records)
