"""Who enters and leaves a segment is counted by days of the segment's time zone."""

import numpy as np
import pytest

from pipelines.engine.constants import TOTAL
from pipelines.operators.segment.aggregates import Moves, SegmentAggregates
from pipelines.operators.segment.columns import CHANGE

HOUR_MS = 3_600_000
MIDNIGHT = 20_000 * 24 * HOUR_MS  # 2024-10-04, 00:00 UTC


@pytest.mark.parametrize(
    ("timezone", "days"),
    [
        ("UTC", {19_999: Moves(1, 0), 20_000: Moves(1, 1)}),
        ("Asia/Kathmandu", {20_000: Moves(2, 1)}),
        ("America/Sao_Paulo", {19_999: Moves(2, 0), 20_000: Moves(0, 1)}),
    ],
)
def test_a_move_counts_on_the_day_of_the_time_zone(timezone: str, days: dict[int, Moves]) -> None:
    changes = np.zeros(3, CHANGE)
    changes["at"] = [MIDNIGHT - HOUR_MS, MIDNIGHT + HOUR_MS, MIDNIGHT + 12 * HOUR_MS]
    changes["entered"] = [1, 1, 0]
    aggregates = SegmentAggregates(timezone)
    assert aggregates.apply(changes) == set(days)
    assert {day: aggregates.of(day) for day in aggregates} == days
    assert aggregates.of(TOTAL) == Moves(2, 1)
