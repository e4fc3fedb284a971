"""The view of what predictions have asked: the latest records of each partition, added up."""

from collections import defaultdict
from typing import Final, NamedTuple

import pyarrow as pa

from schemas.operators.prediction import PREDICTION, PredictionDefinition
from services.query.operators.prediction.aggregates import PredictionAggregates
from services.query.views.latest import LatestByKey
from services.query.views.progress import Progress, progress_of
from services.query.views.reader import ResultSource, VersionKey


class QuestionsRecord(NamedTuple):
    """What one partition has asked on one day, or ever (`day` None)."""

    version_key: VersionKey
    partition: int
    day: int | None
    asked: int
    capped: int
    sampled_out: int
    late_triggers: int
    updated_at: int
    progress: Progress

    @property
    def period(self) -> int | None:
        """The day; None for the partition's whole."""
        return self.day


class QuestionsView(LatestByKey[QuestionsRecord]):
    """The latest records of all predictions."""

    def aggregates(self, definition: PredictionDefinition) -> PredictionAggregates:
        """Add up the partitions' records of this version of the prediction."""
        records = self.of(definition)
        whole = self.at(definition, None)
        days: defaultdict[int, int] = defaultdict(int)
        for record in records:
            if record.day is not None:
                days[record.day] += record.asked
        return PredictionAggregates(
            asked=sum(record.asked for record in whole),
            capped=sum(record.capped for record in whole),
            sampled_out=sum(record.sampled_out for record in whole),
            late_triggers=sum(record.late_triggers for record in whole),
            days=dict(days),
            updated_at=max((record.updated_at for record in records), default=None),
            positions={record.partition: record.progress.position for record in whole},
            status=self.status(definition),
        )


def read_records(batch: pa.RecordBatch) -> list[QuestionsRecord]:
    """Read decoded rows as records."""
    return [
        QuestionsRecord(
            VersionKey(record["project_id"], record["prediction_id"], record["version"]),
            record["partition"],
            record["day"],
            record["asked"],
            record["capped"],
            record["sampled_out"],
            record["late_triggers"],
            record["updated_at"],
            progress_of(record),
        )
        for record in batch.to_pylist()
    ]


PREDICTION_QUESTIONS: Final = ResultSource("predictions", PREDICTION.aggregates, read_records)
