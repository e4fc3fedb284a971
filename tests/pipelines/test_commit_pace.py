"""When a worker commits, by what its last commit took."""

import numpy as np
import pytest

from pipelines.columnar.binary_column import BinaryColumn
from pipelines.kafka.records import Records, TopicPartition
from pipelines.worker.commit_pace import CommitPace

LONGEST_S = 0.2


def pace_after(flush_s: float, flight_s: float, writes: str = "results") -> CommitPace:
    """The pace after a commit that began at 0 and took this long."""
    pace = CommitPace(LONGEST_S, 0.0)
    pace.subscribe(["inbox", "events"])
    pace.begin(0.0)
    pace.flushed(flush_s)
    pace.written([writes])
    pace.settled(flight_s)
    return pace


def fetched(topic: str, count: int = 1) -> Records:
    """Some records of a topic."""
    none = BinaryColumn.of([None] * count)
    numbers = np.arange(count)
    return Records(TopicPartition(topic, 0), numbers, numbers, none, none)


def test_drained_input_is_committed_soon_after_a_cheap_commit() -> None:
    assert pace_after(0.002, 0.010).due_in(0.022, drained=True) == pytest.approx(0)


def test_commits_of_drained_input_leave_time_for_others() -> None:
    assert pace_after(0.020, 0.010).due_in(0.060, drained=True) == pytest.approx(0.070)


def test_commits_under_load_take_a_quarter_of_the_time() -> None:
    assert pace_after(0.010, 0.020).due_in(0.030, drained=False) == pytest.approx(0.090)


@pytest.mark.parametrize("drained", [True, False])
def test_no_commit_waits_for_longer_than_the_interval(drained: bool) -> None:
    pace = pace_after(5.0, 5.0)
    assert pace.due_in(LONGEST_S, drained=drained) == 0
    assert pace.overdue(LONGEST_S)
    assert not pace.overdue(LONGEST_S / 2)


def test_input_is_drained_unless_a_fetch_returns_many_records() -> None:
    pace = pace_after(0.0, 0.0)
    pace.read([fetched("inbox", 20_000), fetched("events", 1)])
    assert not pace.drained
    pace.read([fetched("inbox", 20), fetched("events", 1)])
    assert pace.drained


def test_the_next_commit_waits_for_what_the_last_one_wrote_to_the_workers_own_input() -> None:
    pace = pace_after(0.001, 0.010, writes="events")
    assert 0 < pace.due_in(0.011, drained=True) < 0.01
    pace.read([fetched("inbox")])
    assert pace.due_in(0.011, drained=True) > 0
    pace.read([fetched("events")])
    assert pace.due_in(0.017, drained=True) == 0


def test_the_next_commit_does_not_wait_for_input_that_came_before_the_commit_was_through() -> None:
    pace = CommitPace(LONGEST_S, 0.0)
    pace.subscribe(["inbox", "events"])
    pace.begin(0.0)
    pace.flushed(0.001)
    pace.written(["events"])
    pace.read([fetched("events")])
    pace.settled(0.010)
    assert pace.due_in(0.017, drained=True) == 0


def test_the_next_commit_does_not_wait_for_ever_for_input_that_another_worker_reads() -> None:
    assert pace_after(0.001, 0.010, writes="events").due_in(0.1, drained=True) == 0
