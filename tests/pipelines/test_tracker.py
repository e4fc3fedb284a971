"""What the Tracker keeps between batches and over a restart: seen ids, clocks of devices."""

import shutil
import time
import uuid
from collections.abc import Iterator

import pytest

from schemas.settings import Settings
from tests.pipelines.tracker_in_process import TrackerInProcess, event

NOW_MS = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def tracker(settings: Settings) -> Iterator[TrackerInProcess]:
    tracker = TrackerInProcess(settings)
    yield tracker
    tracker.close()


def test_one_id_of_eight_persons_is_eight_events_and_each_counts_once(
    tracker: TrackerInProcess,
) -> None:
    for event_id in (str(uuid.uuid4()), "undefined", "1"):
        persons = [f"person-{n}" for n in range(8)]
        events = [event(event_id=event_id, distinct_id=person) for person in persons]

        assert [one["distinct_id"] for one in tracker.track(*events)] == persons
        assert tracker.track(*events) == []
        assert len({one["event_id"] for one in tracker.track(*events, event())}) == 1


def test_persons_whose_names_begin_or_end_alike_are_different_persons(
    tracker: TrackerInProcess,
) -> None:
    names = ["a", "aa", "a" * 8, "a" * 16, "a" * 17, "b" + "a" * 8, "a" * 8 + "b", "é", "a\0", "\0"]
    event_id = str(uuid.uuid4())
    events = [event(event_id=event_id, distinct_id=name) for name in names]

    assert len(tracker.track(*events)) == len(names)
    assert tracker.track(*reversed(events)) == []


@pytest.mark.parametrize("kept", ["a snapshot", "the inbox", "an older snapshot"])
def test_seen_ids_and_clocks_are_there_after_a_restart(
    tracker: TrackerInProcess, settings: Settings, kept: str
) -> None:
    seen = [event(event_id=str(uuid.uuid4()), distinct_id=f"p{n}") for n in range(20)]
    tracker.track(*seen)
    behind = {"received_at": NOW_MS, "sent_at": NOW_MS - 2 * HOUR_MS}
    tracker.track(event(timestamp=NOW_MS - 3 * HOUR_MS, **behind))
    if kept != "the inbox":
        tracker.snapshot()
    if kept == "an older snapshot":
        tracker.track(event(event_id=(newer := str(uuid.uuid4()))))
        seen.append(event(event_id=newer))
    if kept == "the inbox":
        shutil.rmtree(settings.snapshot_dir, ignore_errors=True)

    restarted = tracker.restarted()

    assert restarted.track(*seen) == []
    slower = {"received_at": NOW_MS + 5_000, "sent_at": NOW_MS - 2 * HOUR_MS - 20_000}
    [again] = restarted.track(event(timestamp=NOW_MS - 3 * HOUR_MS, **slower))
    assert again["timestamp"] == NOW_MS - HOUR_MS
    restarted.close()


def test_a_snapshot_of_ids_without_persons_is_ignored(
    tracker: TrackerInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions kept ids of a project: the inbox says which persons they were of."""
    seen = event(event_id=str(uuid.uuid4()))
    tracker.track(seen)
    monkeypatch.setattr("pipelines.tracker.tracker._CONTENTS", "ids")
    tracker.snapshot()
    monkeypatch.undo()

    restarted = tracker.restarted()

    assert restarted.track(seen) == []
    restarted.close()
