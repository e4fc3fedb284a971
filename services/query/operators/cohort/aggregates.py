"""What is counted of a cohort, on the stream or by ClickHouse."""

import datetime
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np

from services.query.views.progress import LIVE, StatusResponse


class Row(NamedTuple):
    """The persons who began in a period, and how many came back in each column's (or later)."""

    persons: int
    returned: list[int]
    returned_or_later: list[int]


# By the first day of the period.
Grid: TypeAlias = dict[datetime.date, Row]
# By the value in JSON; None for all values that are not tracked.
Grids: TypeAlias = Mapping[str | None, Grid]


class CohortAggregates(NamedTuple):
    """All that is counted of a cohort, and how far it is (`status`).

    `values_error` says how many persons a value may lack at most; None if the figures by value are
    exact.
    """

    rows: Grid
    late_dropped: int
    updated_at: int | None
    positions: dict[int, int]
    status: StatusResponse = LIVE
    values: Grids = MappingProxyType({})
    values_error: int | None = None


def add_up(rows: Sequence[Row]) -> Row | None:
    """Return the sum of some rows; None if there are none."""
    if not rows:
        return None
    persons, *columns = zip(*rows, strict=True)
    return Row(sum(persons), *(np.sum(column, axis=0).tolist() for column in columns))
