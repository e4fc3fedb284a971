"""Figures by value: more values than are tracked, values that lose their place, and restoring."""

from collections import Counter
from typing import Any

import pytest

from pipelines.engine.breakdown import MAX_VALUES
from pipelines.engine.constants import TOTAL
from pipelines.operators.metric.publisher import load, record_of
from schemas.operators.metric import KEPT, ByProperty, Measure
from tests.oracles.metric import Act
from tests.pipelines.test_metric_fold import CASE, EVER, NOON, Case, Instance, Topic, feed, start

MINUTE_MS = 60_000
DAY_MS = 86_400_000
BY = ByProperty("q")
MEASURES: list[Measure] = ["events", "sum", "persons"]


def by_value(record: dict[str, Any] | Any, persons: bool) -> dict[str | None, int]:
    found = {
        one["value"]: one["persons"][0] if persons else one["events"] for one in record["breakdown"]
    }
    assert len(found) == len(record["breakdown"])
    return found


def of_all(record: Any, persons: bool) -> int:
    counted: int = record["persons"][0] if persons else record["events"]
    return counted


def begin(measure: Measure) -> Instance:
    return start(CASE._replace(lateness_ms=EVER), measure, breakdown=BY)


@pytest.mark.parametrize("measure", MEASURES)
def test_values_beyond_those_that_are_tracked_are_counted_together(measure: Measure) -> None:
    instance, persons = begin(measure), measure == "persons"
    acts = [Act(number % 4, NOON, "a", 1, number) for number in range(MAX_VALUES + 40)]
    if persons:  # one person has one value in a bucket
        acts = [act._replace(person=number) for number, act in enumerate(acts)]
    for first in range(0, len(acts), 97):
        feed(instance, acts[first : first + 97], first)
    number = min(instance.aggregates)
    record = record_of(instance, number)
    assert record is not None
    found = by_value(record, persons)
    assert sum(found.values()) == of_all(record, persons) == len(acts)
    assert found[None] >= 40
    total = record_of(instance, TOTAL)
    assert total is not None
    assert 1 <= total["values_error"] <= len(acts)
    assert {one["value"] for one in total["breakdown"]} >= set(found) - {None}


@pytest.mark.parametrize("measure", MEASURES)
def test_a_value_that_becomes_frequent_is_tracked_and_counted_once_after_a_restart(
    measure: Measure,
) -> None:
    instance, persons = begin(measure), measure == "persons"
    published: list[dict[str, Any]] = []
    acts = [Act(number, NOON, "a", 1, number) for number in range(MAX_VALUES + 10)]
    acts += [Act(2_000 + number, NOON, "a", 1, "frequent") for number in range(50)]
    for first in range(0, len(acts), 50):
        feed(instance, acts[first : first + 50], first)
        # Nothing is compacted away.
        published += [_published(instance, number) for number in (TOTAL, *instance.aggregates)]
    number = min(instance.aggregates)
    now = record_of(instance, number)
    assert now is not None
    found = by_value(now, persons)
    assert found['"frequent"'] > 25
    assert sum(found.values()) == of_all(now, persons) == len(acts)
    restored = begin(measure)
    for record in published:
        load(restored, record)
    again = record_of(restored, number)
    assert again is not None
    assert sum(by_value(again, persons).values()) == of_all(again, persons) == len(acts)
    assert record_of(restored, TOTAL) is not None
    assert (
        restored.aggregates.total_record()["values_error"]
        == (instance.aggregates.total_record()["values_error"])
    )


def _published(instance: Instance, number: int) -> dict[str, Any]:
    record = record_of(instance, number)
    begin = None if number == TOTAL else instance.buckets.begin(number)
    rest = {"newest_at": None, "complete_until": None, "values_error": None, "bucket": begin}
    return {**rest, **dict(record or {})}


@pytest.mark.parametrize("measure", MEASURES)
def test_a_bucket_that_is_let_go_of_takes_its_values_with_it(measure: Measure) -> None:
    instance, topic = begin(measure), Topic()
    if measure == "persons":  # its state keeps no events of so long ago
        instance = start(CASE, measure, breakdown=BY)
    feed(instance, [Act(person, NOON, "a", 1, f"old {person}") for person in range(4)])
    topic.publish(instance)
    feed(instance, [Act(5, NOON + 2 * KEPT * MINUTE_MS, "a", 1, "new")], 4)
    topic.publish(instance)
    values = Counter(
        one["value"]
        for number, record in topic.records.items()
        if number != TOTAL
        for one in record["breakdown"]
    )
    assert set(values) == {'"new"'}


def test_a_person_counts_for_the_last_value_of_each_window() -> None:
    instance = start(Case(86_400, "UTC", 3 * DAY_MS, []), "persons", breakdown=BY)
    monday, tuesday, wednesday = (NOON + day * DAY_MS for day in range(3))
    for offset, act in enumerate(
        [
            Act(0, wednesday, "a", None, "team"),
            Act(0, monday, "a", None, "free"),  # late
            Act(1, monday, "a", None, "free"),
            Act(0, tuesday, "a", None, "pro"),  # later still
            Act(0, tuesday - 1, "a", None, "not the last one of its day"),
        ]
    ):
        feed(instance, [act], offset)
    first = min(instance.aggregates)
    shown = [
        {one["value"]: one["persons"] for one in (record_of(instance, number) or {})["breakdown"]}
        for number in range(first, first + 4)
    ]
    assert shown == [
        {'"free"': [2, 2, 2]},
        {'"free"': [0, 1, 1], '"pro"': [1, 1, 1]},
        {'"free"': [0, 1, 1], '"team"': [1, 1, 1]},
        {'"free"': [0, 1, 1], '"team"': [0, 1, 1]},
    ]


def test_the_persons_of_a_week_are_no_sum_of_its_days() -> None:
    days = start(Case(86_400, "Europe/Lisbon", EVER, []), "persons")
    weeks = start(Case("week", "Europe/Lisbon", EVER, []), "persons")
    # Persons 0 and 1 come on three days of one week, person 2 on one day of the next one.
    acts = [Act(person, NOON + day * DAY_MS) for person in range(2) for day in (-1, 0, 1)]
    acts.append(Act(2, NOON + 4 * DAY_MS))
    for instance in (days, weeks):
        feed(instance, acts)
    of_days = [days.aggregates.counts(number)[0] for number in days.aggregates]
    of_weeks = {number: weeks.aggregates.counts(number) for number in weeks.aggregates}
    assert sum(of_days) == 7
    first = min(of_weeks)
    assert of_weeks[first] == [2, 2, 2]
    assert of_weeks[first + 1] == [1, 3, 3]
    assert of_weeks[first + 2] == [0, 3, 3]
