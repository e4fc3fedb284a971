"""The view of the cohorts' results: the newest figures of each partition, added up when asked."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from schemas.calendar import begin_of
from schemas.cohorts import CohortDefinition
from services.query.cohort_figures import Counted, Grid, Row
from services.query.newest import Newest, Progress, Version, progress_of


class Result(NamedTuple):
    """One record: a partition's persons who began in one period, or the whole (`period` None)."""

    of: Version
    partition: int
    period: int | None  # its first day, from 1970
    persons: int
    returned: list[int]
    returned_or_later: list[int]
    late_dropped: int
    updated_at: int
    progress: Progress

    @property
    def whole(self) -> bool:
        """Whether it is the record of the whole."""
        return self.period is None


class Results(Newest[Result]):
    """The newest records of all cohorts."""

    def figures(self, definition: CohortDefinition) -> Counted:
        """Add up what the partitions say of this version of the cohort."""
        results = self.of(definition)
        whole = [result for result in results if result.period is None]
        rows: Grid = {}
        for result in results:
            if result.period is not None:
                begin = begin_of("day", result.period)
                rows[begin] = _added(rows.get(begin), result)
        return Counted(
            rows=rows,
            late_dropped=sum(result.late_dropped for result in whole),
            updated_at=max((result.updated_at for result in results), default=None),
            positions={result.partition: result.progress.position for result in whole},
            status=self.status(definition),
        )


def _added(row: Row | None, result: Result) -> Row:
    if row is None:
        return Row(result.persons, result.returned, result.returned_or_later)
    return Row(
        row.persons + result.persons,
        np.add(row.returned, result.returned).tolist(),
        np.add(row.returned_or_later, result.returned_or_later).tolist(),
    )


def read_results(batch: pa.RecordBatch) -> list[Result]:
    """Make results of decoded records."""
    return [
        Result(
            (record["project_id"], record["cohort_id"], record["version"]),
            record["partition"],
            record["period"],
            record["persons"],
            record["returned"],
            record["returned_or_later"],
            record["late_dropped"],
            record["updated_at"],
            progress_of(record),
        )
        for record in batch.to_pylist()
    ]
