"""A metric measures what its definition says, in whatever order events come."""

import math
from collections import Counter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import FoldResult
from pipelines.matching.selectors import ValueHash
from pipelines.matching.value_hash import fingerprints
from pipelines.operators.metric.operator import METRIC
from pipelines.operators.metric.publisher import load, record_of
from schemas.operators.metric import KEPT, BucketLength, Measure, Metric, MetricDefinition
from schemas.sketches.metric_aggregate import MetricAggregate
from schemas.sketches.percentiles import RANK_ERROR, Percentiles
from schemas.sketches.top_values import WORST, TopValues
from schemas.time.buckets import Buckets, CalendarInterval
from services.query.operators.metric.aggregates import values_of
from services.query.operators.metric.sliding import slide
from tests.oracles.metric import Act, InTime, Measured, in_time, measure, percentile

DAY_MS = 86_400_000
NOON = 20_000 * DAY_MS + DAY_MS // 2
ZONES = ["UTC", "Europe/Lisbon", "Asia/Kathmandu", "Pacific/Apia"]
EVER = 10_000 * DAY_MS
MEASURES: list[Measure] = ["events", "sum", "percentiles", "top"]


class Case(NamedTuple):
    """Buckets, a lateness, and events in the order of their arrival."""

    bucket_s: BucketLength | CalendarInterval
    timezone: str
    lateness_ms: int
    acts: list[Act]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([2**53, -(2**63), 2**64 - 1, 1.0, 0.1, -2.5, 1e300]),
    st.sampled_from(["", "pro", "1", "true", "x" * 300, "naïve"]),
    st.lists(st.integers(0, 1), max_size=1),
)


@st.composite
def cases(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> Case:
    lengths: list[BucketLength] = [1, 10, 60, 600, 3_600, 86_400]
    bucket_s = draw(st.sampled_from(lengths))
    span = 1_000 * bucket_s * draw(st.sampled_from([2, 20, 2 * KEPT]))
    act = st.builds(
        Act,
        st.integers(0, 3),
        st.integers(max(0, NOON - span), NOON),
        st.sampled_from(["a", "b", "c"]),
        values,
        st.none(),
    )
    return Case(
        bucket_s,
        draw(st.sampled_from(ZONES)),
        draw(st.sampled_from([0, 1_500, 90_000, DAY_MS, EVER])),
        draw(st.lists(act, min_size=1, max_size=25)),
    )


Instance: TypeAlias = Any  # of a metric, whatever it measures


def define(case: Case, measure: Measure, **more: Any) -> MetricDefinition:
    if measure not in {"events", "persons"}:
        more["property"] = "p"
    length: dict[str, Any] = {"bucket_s": case.bucket_s}
    if isinstance(case.bucket_s, str):
        length = {"interval": case.bucket_s}
    metric = Metric(measure=measure, timezone=case.timezone, **length, **more)
    return MetricDefinition(
        project_id="shop", id="m", version=1, created_at=0, updated_at=0, metric=metric
    )


def start(case: Case, measure: Measure, **more: Any) -> Instance:
    return METRIC.instance(define(case, measure, **more), case.lateness_ms)


def feed(instance: Instance, acts: list[Act], offset: int = 0) -> FoldResult[Any]:
    names = METRIC.reads(instance.definition)
    columns: dict[Any, list[Any]] = {
        "p": [act.value for act in acts],
        "": [act.event for act in acts],
    }
    folded: FoldResult[Any] = instance.state.fold(
        max(4, 1 + max((act.person for act in acts), default=0)),
        np.array([act.person for act in acts], np.int32),
        np.array([act.at for act in acts], np.int64),
        np.ones(len(acts), np.uint32),
        np.arange(offset, offset + len(acts)),
        [
            fingerprints([[act.by for act in acts]])
            if isinstance(name, ValueHash)
            else DictionaryColumn.of(columns[name])
            for name in names
        ],
    )
    instance.late += folded.late
    instance.unpublished |= instance.aggregates.apply(folded.changes)
    return folded


def whole(case: Case) -> InTime:
    return in_time(case.acts, case.bucket_s, case.timezone)


def assert_measured(metric: Metric, aggregate: MetricAggregate, expected: Measured) -> None:
    assert aggregate.events == expected.events
    match metric.measure:
        case "sum" | "percentiles":
            numbers = expected.numbers
            assert aggregate.unmeasured == expected.events - len(numbers)
            off = len(numbers) * 2**-53 * math.fsum(map(abs, numbers))
            assert aggregate.sum == pytest.approx(math.fsum(numbers), abs=off, rel=0)
            assert (aggregate.minimum, aggregate.maximum) == (
                min(numbers, default=math.inf),
                max(numbers, default=-math.inf),
            )
            if metric.measure == "percentiles" and numbers:  # so few are kept as they are
                figure = values_of(metric, aggregate)
                assert figure.percentiles == [
                    percentile(numbers, permille) for permille in (500, 900, 950, 990)
                ]
        case "top":
            figure = values_of(metric, aggregate)
            assert aggregate.unmeasured == expected.events - expected.values.total()
            assert Counter(dict(_typed(figure.top or []))) == expected.values
            assert (figure.other, figure.off_by) == (0, 0)
        case "events" if metric.by_event:
            assert dict(values_of(metric, aggregate).top or []) == expected.names


def _typed(top: list[tuple[Any, int]]) -> list[tuple[tuple[str, Any], int]]:
    names = {bool: "bool", str: "str", int: "number", float: "number"}
    return [((names[type(value)], value), count) for value, count in top]


def assert_counted(case: Case, instance: Instance) -> None:
    counted = whole(case)
    assert instance.late == counted.late
    expected = measure(counted.acts, case.bucket_s, case.timezone)
    assert set(instance.aggregates) == expected.keys()
    for number, measured in expected.items():
        assert_measured(instance.definition.metric, instance.aggregates.bucket(number), measured)


@pytest.mark.parametrize("measure", MEASURES)
@given(case=cases(), batch=st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_the_fold_equals_the_definition_in_any_order_and_any_lateness(
    measure: Measure, case: Case, batch: int
) -> None:
    more: dict[str, Any] = {"by_event": True} if measure == "events" else {}
    instance = start(case, measure, **more)
    for begin in range(0, len(case.acts), batch):
        feed(instance, case.acts[begin : begin + batch], begin)
    assert_counted(case, instance)


class Topic:
    """The latest records of one partition of the results topic, by key."""

    def __init__(self) -> None:
        self.records: dict[int, dict[str, Any]] = {}

    def publish(self, instance: Instance) -> None:
        for number in instance.unpublished | {TOTAL}:
            record = record_of(instance, number)
            if record is None:
                del self.records[number]
            else:
                begin = None if number == TOTAL else instance.buckets.begin(number)
                rest = {"newest_at": None, "complete_until": None, "bucket": begin}
                self.records[number] = rest | dict(record) | {"late_dropped": instance.late}
        instance.unpublished.clear()

    def restore(self, instance: Instance) -> None:
        for record in self.records.values():
            load(instance, record)
        instance.late = self.records[TOTAL]["late_dropped"]


@pytest.mark.parametrize("measure", MEASURES)
@given(case=cases(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_metric_restored_from_the_topic_continues_as_if_nothing_had_happened(
    measure: Measure, case: Case, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(case.acts)))
    again = data.draw(st.integers(0, cut))
    one, two, topic = start(case, measure), start(case, measure), Topic()
    for begin in range(0, cut, 7):
        feed(one, case.acts[begin : min(cut, begin + 7)], begin)
        topic.publish(one)
    topic.restore(two)
    if case.acts[again:cut]:  # events that the aggregates contain already: the changes are dropped
        replay = start(case, measure)
        replay.state = two.state
        feed(replay, case.acts[again:cut], again)
    if case.acts[cut:]:
        feed(two, case.acts[cut:], cut)
    assert_counted(case, two)


@given(case=cases(), window=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_partitions_and_buckets_merge_into_what_all_of_them_measured(
    case: Case, window: int
) -> None:
    case = case._replace(lateness_ms=EVER)
    parts = [start(case, "percentiles"), start(case, "percentiles")]
    for act in case.acts:
        feed(parts[act.person % 2], [act])
    merged: dict[int, MetricAggregate] = {}
    for part in parts:
        for number in part.aggregates:
            aggregate = part.aggregates.bucket(number)
            known = merged.get(number)
            merged[number] = aggregate if known is None else known.merged(aggregate)
    kept = max(merged) - KEPT
    merged = {number: aggregate for number, aggregate in merged.items() if number > kept}
    counted = [
        act for act in case.acts if measure([act], case.bucket_s, case.timezone).keys() & merged
    ]
    expected = measure(counted, case.bucket_s, case.timezone, window)
    slid = slide(merged, window, range(kept, max(merged) + window))
    assert slid.keys() == expected.keys()
    for number, measured in expected.items():
        assert_measured(parts[0].definition.metric, slid[number], measured)


def minutes(*acts: tuple[float, Any]) -> list[Act]:
    return [Act(0, NOON + int(60_000 * minute), "a", value) for minute, value in acts]


CASE = Case(60, "UTC", 2 * 60_000, [])
FIRST = NOON // 60_000


def test_an_event_counts_however_late_while_its_bucket_is_kept() -> None:
    instance = start(CASE, "events")  # whose lateness is two minutes
    feed(instance, minutes((KEPT - 1, None), (0, None), (2, None), (1, None), (0.99, None)))
    assert instance.late == 0
    assert instance.aggregates.bucket(FIRST).events == 2


def test_history_in_order_of_time_is_never_late() -> None:
    """One live event, then 600 of the last 80 days in requests of 150: the days have them all."""
    day = 24 * 60
    case = Case(86_400, "UTC", 3_600_000, [])
    instance = start(case, "events")
    feed(instance, minutes((80 * day, None)))
    history = [(80 * day * place / 600, None) for place in range(600)]
    for begin in range(0, 600, 150):
        feed(instance, minutes(*history[begin : begin + 150]), 1 + begin)
    assert instance.late == 0
    days = [instance.aggregates.bucket(number) for number in instance.aggregates]
    assert sum(day.events for day in days) == 601


def test_a_bucket_that_is_no_longer_kept_is_deleted_from_the_topic() -> None:
    instance, topic = start(CASE, "events"), Topic()
    feed(instance, minutes((0, None), (1, None)))
    topic.publish(instance)
    assert topic.records.keys() == {TOTAL, FIRST, FIRST + 1}
    feed(instance, minutes((KEPT, None)))
    topic.publish(instance)
    assert topic.records.keys() == {TOTAL, FIRST + 1, FIRST + KEPT}


def test_an_event_whose_bucket_is_not_kept_is_late_however_great_the_lateness() -> None:
    instance = start(CASE._replace(lateness_ms=EVER), "events")
    feed(instance, minutes((KEPT, None), (0, None), (1, None)))
    assert (instance.late, sorted(instance.aggregates)) == (1, [FIRST + 1, FIRST + KEPT])


def test_a_value_that_is_no_number_is_counted_as_unmeasured() -> None:
    instance = start(CASE, "average")
    values = [1, 2.5, True, "3", None, [4]]
    feed(instance, minutes(*((0, value) for value in values)))
    aggregate = instance.aggregates.bucket(FIRST)
    assert (aggregate.events, aggregate.unmeasured, aggregate.sum) == (6, 4, 3.5)


def test_a_day_is_a_day_of_the_time_zone() -> None:
    case = Case(86_400, "Asia/Kathmandu", EVER, [])
    instance = start(case, "events")
    midnight = 20_000 * DAY_MS - 20_700_000  # 5 hours and 45 minutes before that of UTC
    feed(instance, [Act(0, midnight - 1), Act(0, midnight)])
    assert sorted(instance.aggregates) == [19_999, 20_000]
    assert Buckets(86_400, "Asia/Kathmandu").begin(20_000) == midnight


def test_one_is_one_point_zero_and_not_the_text_nor_true() -> None:
    instance = start(CASE, "top")
    feed(instance, minutes(*((0, value) for value in (1, 1.0, "1", True, 1))))
    figure = values_of(instance.definition.metric, instance.aggregates.bucket(FIRST))
    assert [(type(value), value, count) for value, count in figure.top or []] == [
        (int, 1, 3),
        (bool, True, 1),
        (str, "1", 1),
    ]


def test_the_less_frequent_values_are_other() -> None:
    instance = start(CASE, "top", limit=1)
    feed(instance, minutes((0, "a"), (0, "b"), (0, "b"), (0, None)))
    figure = values_of(instance.definition.metric, instance.aggregates.bucket(FIRST))
    assert (figure.top, figure.other, figure.unmeasured) == ([("b", 2)], 1, 1)


def test_a_metric_of_events_has_no_rows_and_nothing_in_the_log() -> None:
    instance = start(CASE, "events")
    assert not len(feed(instance, minutes((0, None))).newly_dirty)
    assert instance.state.size == 0
    assert not instance.state.by_person


@given(st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_percentiles_of_many_numbers_are_within_the_stated_error(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.lognormal(size=40_000)
    sketch = Percentiles()
    for part in np.array_split(numbers, parts):
        sketch = sketch.merged(Percentiles.read(bytes(Percentiles.of(part))))
    assert len(sketch) == len(numbers)
    ordered = np.sort(numbers)
    percents = np.arange(1, 100)
    ranks = np.searchsorted(ordered, sketch.at(percents.tolist()), "right") / len(numbers)
    # The error is stated with 99 % confidence for a rank: three times as much is never seen.
    assert np.abs(ranks - percents / 100).max() < 3 * RANK_ERROR
    assert np.mean(np.abs(ranks - percents / 100) > RANK_ERROR) < 0.2


@given(st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_counts_of_many_values_are_within_the_stated_error(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    values = [str(value) for value in rng.zipf(1.2, 20_000).tolist()]
    exact, sketch = Counter(values), TopValues()
    for part in range(parts):
        keys = [f"s{value}" for value in values[part::parts]]
        sketch = sketch.merged(TopValues.read(bytes(TopValues.of(Counter(keys)))))
    top = sketch.top(20)
    assert len(exact) > 384
    assert 0 < top.off_by <= WORST * len(values)
    for value, count in top.values:
        assert count <= exact[str(value)] <= count + top.off_by
    assert top.other == len(values) - sum(count for _, count in top.values)
    listed = {value for value, _ in sketch.top(len(exact)).values}
    assert all(value in listed for value, count in exact.items() if count > top.off_by)
