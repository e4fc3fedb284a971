"""The view of the cohorts' results: the latest records of each partition, added up on request."""

import datetime
from collections import defaultdict
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa

from schemas.operators.cohort import COHORT, CohortDefinition
from schemas.time.calendar import begin_of
from services.query.operators.breakdown import add_errors
from services.query.operators.cohort.aggregates import CohortAggregates, Grid, Row, add_up
from services.query.views.latest import LatestByKey
from services.query.views.progress import Progress, progress_of
from services.query.views.reader import ResultSource, VersionKey


class CohortRecord(NamedTuple):
    """A partition's persons who began in one period, or its whole (`period` None)."""

    version_key: VersionKey
    partition: int
    period: int | None  # its first day, in days since 1970
    persons: int
    returned: list[int]
    returned_or_later: list[int]
    breakdown: list[dict[str, Any]]
    late_dropped: int
    updated_at: int
    progress: Progress
    values_error: int | None = None


class CohortResultsView(LatestByKey[CohortRecord]):
    """The latest records of all cohorts."""

    def aggregates(self, definition: CohortDefinition) -> CohortAggregates:
        """Add up the partitions' records of this version of the cohort."""
        records = self.of(definition)
        whole = self.at(definition, None)
        parts: _Parts = defaultdict(list)
        of_values: defaultdict[str | None, _Parts] = defaultdict(lambda: defaultdict(list))
        for record in records:
            if record.period is not None:
                begin = begin_of("day", record.period)
                row = Row(record.persons, record.returned, record.returned_or_later)
                parts[begin].append(row)
                for one in record.breakdown:
                    row = Row(one["persons"], one["returned"], one["returned_or_later"])
                    of_values[one["value"]][begin].append(row)
        return CohortAggregates(
            rows=_added_up(parts),
            late_dropped=sum(record.late_dropped for record in whole),
            updated_at=max((record.updated_at for record in records), default=None),
            positions={record.partition: record.progress.position for record in whole},
            status=self.status(definition),
            values={value: _added_up(parts) for value, parts in of_values.items()},
            values_error=add_errors(record.values_error for record in whole),
        )


_Parts: TypeAlias = defaultdict[datetime.date, list[Row]]


def _added_up(parts: _Parts) -> Grid:
    return {begin: row for begin, rows in parts.items() if (row := add_up(rows)) is not None}


def read_records(batch: pa.RecordBatch) -> list[CohortRecord]:
    """Read decoded rows as records."""
    return [
        CohortRecord(
            VersionKey(record["project_id"], record["cohort_id"], record["version"]),
            record["partition"],
            record["period"],
            record["persons"],
            record["returned"],
            record["returned_or_later"],
            record["breakdown"],
            record["late_dropped"],
            record["updated_at"],
            progress_of(record),
            record["values_error"],
        )
        for record in batch.to_pylist()
    ]


COHORT_RESULTS: Final = ResultSource("cohorts", COHORT.aggregates, read_records)
