"""The view of sizes adds up what the partitions say."""

import pyarrow as pa

from services.query.operators.segment.aggregates import Moves
from services.query.operators.segment.response import assemble
from services.query.operators.segment.view import SegmentResultsView, read_size_records
from services.query.views.reader import Update
from tests.services.query.test_segment_members import define

COMMON = {
    "project_id": "shop",
    "segment_id": "s",
    "version": 1,
    "partition": 0,
    "day": None,
    "late_dropped": 0,
    "position": 5,
    "backfilling_to": None,
    "behind": None,
    "behind_since": None,
    "live_since": None,
    "failed": None,
    "clock": None,
    "scores_since": None,
    "updated_at": 1_000,
}


def view(*records: dict[str, object]) -> SegmentResultsView:
    results = SegmentResultsView(partitions=2)
    read = read_size_records(pa.RecordBatch.from_pylist([COMMON | record for record in records]))
    results.apply(Update(str(number).encode(), result) for number, result in enumerate(read))
    return results


def test_who_is_in_at_the_end_of_a_day_entered_until_then_and_did_not_leave() -> None:
    results = view(
        {"entered": 3, "left": 1, "late_dropped": 2},
        {"entered": 1, "left": 0, "partition": 1, "updated_at": 2_000},
        {"entered": 3, "left": 0, "day": 4},
        {"entered": 0, "left": 1, "day": 7},
        {"entered": 1, "left": 0, "day": 5, "partition": 1},
        {"entered": 9, "left": 0, "version": 2},
    )
    counted = results.aggregates(define("s"))
    assert (counted.persons, counted.late_dropped, counted.updated_at) == (3, 2, 2_000)
    assert counted.days == {4: Moves(3, 0), 5: Moves(1, 0), 7: Moves(0, 1)}
    answer = assemble(define("s"), "stream", counted, 3_000)
    assert [day.persons for day in answer.days] == [3, 4, 3]
    assert answer.state == "live"
    assert answer.clock is not None
    assert answer.clock.timestamp() == 3


def test_a_segment_is_backfilled_as_far_as_its_partitions_are_together() -> None:
    results = view(
        {"entered": 0, "left": 0},
        {"entered": 0, "left": 0, "partition": 1, "backfilling_to": 9},
    )
    assert results.aggregates(define("s")).status.backfilled == (1 + 5 / 9) / 2
