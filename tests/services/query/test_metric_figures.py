"""What the API answers of a metric is what its partitions have published, merged."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engine.constants import TOTAL
from schemas.avro.codec import Codec, Encoder
from schemas.avro.files import load
from schemas.operators.metric import KEPT, WINDOWS
from schemas.sketches.top_values import WORST
from schemas.time.buckets import Buckets
from schemas.time.rfc3339 import read_time
from services.query.operators.metric.aggregates import MetricQuery
from services.query.operators.metric.live import LiveMetric, live_metric
from services.query.operators.metric.response import BucketResponse, MetricResultsResponse, assemble
from services.query.operators.metric.sql import metric_statement
from services.query.operators.metric.view import MetricRecord, MetricResultsView, read_records
from services.query.views.progress import progress_of
from services.query.views.reader import Update
from tests.oracles.metric import Act, bucket_of, in_time, measure, percentile, persons
from tests.pipelines.test_actives_fold import cases as cases_of_persons
from tests.pipelines.test_metric_fold import (
    CASE,
    DAY_MS,
    EVER,
    FIRST,
    NOON,
    Case,
    Instance,
    Topic,
    cases,
    feed,
    minutes,
    start,
)

SCHEMA = load("metric-result")
MINUTE = 60_000


def encoded(running: Instance, partition: int = 0, schema_id: int = 1) -> dict[bytes, bytes]:
    """What a worker publishes of all that it has, by key."""
    topic, definition = Topic(), running.definition
    running.unpublished = set(running.aggregates)
    topic.publish(running)
    common: dict[str, Any] = {
        "project_id": definition.project_id,
        "metric_id": definition.id,
        "version": definition.version,
        "partition": partition,
        "position": 7,
        "backfilling_to": None,
        "updated_at": 5,
    }
    rows = [common | record for record in topic.records.values()]
    encoder = Encoder(SCHEMA, schema_id)
    values = encoder.encode(pa.RecordBatch.from_pylist(rows, schema=encoder.arrow))
    keys = (f"{partition}/{number}".encode() for number in topic.records)
    return dict(zip(keys, values, strict=True))


def published(running: Instance, partition: int) -> list[Update[MetricRecord]]:
    """The same as a reader of the topic finds it."""
    records = encoded(running, partition)
    decoded = Codec(SCHEMA, lambda _: {1: SCHEMA}).decode(list(records.values()))
    assert not decoded.failures
    return [Update(*pair) for pair in zip(records, read_records(decoded.batch), strict=True)]


def answer(asked: MetricQuery, *partitions: Instance) -> MetricResultsResponse:
    results = MetricResultsView(len(partitions))
    for number, running in enumerate(partitions):
        results.apply(published(running, number))
    definition = partitions[0].definition
    return assemble(definition, "stream", results.aggregates(definition, asked), asked)


def split(case: Case, measured: Any, **more: Any) -> list[Instance]:
    """Two partitions, each with the events of its persons."""
    parts = [start(case, measured, **more), start(case, measured, **more)]
    for act in case.acts:
        feed(parts[act.person % 2], [act])
    return parts


def by_end(figures: list[BucketResponse]) -> dict[int, BucketResponse]:
    return {round(figure.end.timestamp() * 1_000): figure for figure in figures}


@given(case=cases(st.integers(-5, 5)), window=st.integers(1, 40))
@settings(max_examples=8, deadline=None)
def test_windows_of_buckets_are_merged_over_partitions(case: Case, window: int) -> None:
    case = case._replace(lateness_ms=EVER, bucket_s=60, timezone="UTC")
    # No bucket so old that it is let go of.
    case = case._replace(acts=[act._replace(at=NOON - act.at % DAY_MS // 2) for act in case.acts])
    found = answer(MetricQuery(NOON + DAY_MS, window, limit=1_440), *split(case, "percentiles"))
    wanted = measure(case.acts, 60, "UTC", window)
    shown = by_end(found.buckets)
    assert shown.keys() == {(number + 1) * MINUTE for number in wanted}
    for number, measured in wanted.items():
        figure = shown[(number + 1) * MINUTE]
        assert round((figure.end - figure.begin).total_seconds()) == 60 * window
        assert figure.events == measured.events
        assert figure.percentiles == {
            f"{permille / 10:g}": percentile(measured.numbers, permille)
            for permille in (500, 900, 950, 990)
        }


@given(case=cases_of_persons())
@settings(max_examples=15, deadline=None)
def test_persons_of_partitions_add_up_in_every_window(case: Case) -> None:
    found = answer(MetricQuery(NOON + 60 * DAY_MS, limit=1_440), *split(case, "persons"))
    wanted = persons(case.acts, case.bucket_s, case.timezone, WINDOWS[case.bucket_s])
    assert [[one.persons for one in figure.persons or []] for figure in found.buckets] == [
        wanted[number] for number in sorted(wanted)
    ]
    seconds = {one.seconds for figure in found.buckets for one in figure.persons or []}
    assert seconds == {case.bucket_s * window for window in WINDOWS[case.bucket_s]}


class EventSelector(NamedTuple):
    """What is asked, and between which buckets that is."""

    asked: MetricQuery
    first: int
    last: int

    def shown(self, wanted: Iterable[int]) -> list[int]:
        return [n for n in sorted(wanted) if self.first <= n <= self.last][-self.asked.limit :]


@st.composite
def looks(draw: st.DrawFn, case: Case, windows: int = 40) -> EventSelector:
    """Any look at some buckets of a case, from among them or from after all of them."""
    buckets = Buckets(case.bucket_s, case.timezone)
    newest = bucket_of(max(act.at for act in case.acts), case.bucket_s, case.timezone)
    current = newest + draw(st.integers(-40, 40))
    first, last = (current + draw(st.integers(-80, 5)) for _ in range(2))
    asked = MetricQuery(
        as_of=buckets.begin(current) + draw(st.integers(0, 900)),
        window=draw(st.integers(1, windows)),
        first=buckets.begin(first),
        last=buckets.begin(last),
        limit=draw(st.sampled_from([1, 2, 1_440])),
    )
    return EventSelector(asked, first, min(last, current))


@given(case=cases(st.integers(-5, 5)), data=st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_left_out_unasked_is_in_nothing_that_is_shown(
    case: Case, data: st.DataObject
) -> None:
    case = case._replace(lateness_ms=EVER)
    look = data.draw(looks(case))
    found = answer(look.asked, *split(case, "sum"))
    kept = in_time(case.acts, case.bucket_s, case.timezone).acts
    wanted = measure(kept, case.bucket_s, case.timezone, look.asked.window)
    ends = Buckets(case.bucket_s, case.timezone).begin
    assert {end: (one.events, one.value) for end, one in by_end(found.buckets).items()} == {
        ends(number + 1): (wanted[number].events, sum(wanted[number].numbers))
        for number in look.shown(wanted)
    }
    now = wanted.get(bucket_of(look.asked.as_of, case.bucket_s, case.timezone))
    assert found.now.events == (now.events if now else 0)


@given(case=cases_of_persons(), data=st.data())
@settings(max_examples=50, deadline=None)
def test_persons_that_are_left_out_unasked_are_in_nothing_that_is_shown(
    case: Case, data: st.DataObject
) -> None:
    look = data.draw(looks(case, windows=1))
    found = answer(look.asked, *split(case, "persons"))
    wanted = persons(case.acts, case.bucket_s, case.timezone, WINDOWS[case.bucket_s])
    ends = Buckets(case.bucket_s, case.timezone).begin
    assert {
        end: [one.persons for one in figure.persons or []]
        for end, figure in by_end(found.buckets).items()
    } == {ends(number + 1): wanted[number] for number in look.shown(wanted)}
    now = wanted.get(bucket_of(look.asked.as_of, case.bucket_s, case.timezone), [0, 0, 0])
    assert [one.persons for one in found.now.persons or []] == now


def test_a_live_look_shows_this_bucket_and_the_one_before() -> None:
    running = start(CASE, "sum")
    feed(running, minutes((0, 2), (1, 3), (2, 4)))
    results = MetricResultsView(1)
    results.apply(published(running, 0))
    for minute, now, shown in ((1.5, 3, [2, 3]), (2, 4, [3, 4]), (3, 0, [4]), (4, 0, [])):
        state = live_metric(
            running.definition, None, results, MetricQuery(NOON + int(minute * MINUTE))
        )
        live = msgspec.json.decode(state, type=LiveMetric)
        assert (live.id, live.active, live.now.value) == ("m", None, now)
        assert [figure.value for figure in live.buckets] == shown


def test_events_per_second_are_by_the_seconds_that_have_passed() -> None:
    running = start(CASE, "events")
    feed(running, minutes((0, None), (0.5, None), (1, None)))
    found = answer(MetricQuery(NOON + MINUTE + 10_000), running)
    assert [figure.per_second for figure in found.buckets] == [2 / 60, 1 / 10]
    assert found.now == found.buckets[-1]
    assert answer(MetricQuery(NOON + MINUTE + 10_000, window=2), running).now.per_second == 3 / 70


def test_now_moves_on_without_events() -> None:
    running = start(CASE, "sum")
    feed(running, minutes((0, 2), (1, 3)))
    values = [
        answer(MetricQuery(NOON + n * MINUTE, window=2), running).now.value for n in (1, 2, 3)
    ]
    assert values == [5, 3, 0]


def test_what_is_still_to_come_is_not_shown() -> None:
    running = start(Case(86_400, "UTC", EVER, []), "persons")
    feed(running, minutes((0, None)))
    shown = answer(MetricQuery(NOON + 2 * DAY_MS), running).buckets
    assert [[one.persons for one in figure.persons or []] for figure in shown] == [
        [1, 1, 1],
        [0, 1, 1],
        [0, 1, 1],
    ]


def test_the_newest_buckets_are_shown_within_the_bounds() -> None:
    running = start(CASE, "events")
    feed(running, minutes(*((n, None) for n in range(10))))
    asked = MetricQuery(NOON + DAY_MS, first=NOON + 1, last=NOON + 5 * MINUTE)
    assert [one.timestamp() // 60 for one in begins(answer(asked, running))] == [
        FIRST + n for n in (1, 2, 3, 4, 5)
    ]
    few = answer(asked._replace(limit=2), running)
    assert [one.timestamp() // 60 for one in begins(few)] == [FIRST + 4, FIRST + 5]


def begins(found: MetricResultsResponse) -> list[Any]:
    return [figure.begin for figure in found.buckets]


def test_figures_are_complete_up_to_the_projects_clock_whatever_partition_moved_it() -> None:
    case = CASE._replace(lateness_ms=MINUTE)
    one, two, silent = (start(case, "events") for _ in range(3))
    feed(one, minutes((5, None), (5 - KEPT, None)))
    feed(two, minutes((3, None)))
    asked = MetricQuery(NOON + DAY_MS, clock=NOON + 9 * MINUTE + 1, lateness_ms=MINUTE)
    found = answer(asked, one, two, silent)
    assert found.late_dropped == 1
    assert found.clock is not None
    assert found.complete_until is not None
    assert found.clock.timestamp() * 1_000 == NOON + 9 * MINUTE + 1
    assert found.complete_until.timestamp() * 1_000 == NOON + 8 * MINUTE + 1
    assert answer(asked, silent).complete_until == found.complete_until
    assert answer(MetricQuery(NOON), silent).complete_until is None


def test_figures_are_not_complete_while_the_metric_is_backfilling_nor_after_it_has_failed() -> None:
    asked = MetricQuery(NOON, clock=NOON, lateness_ms=MINUTE)
    for change in ({"backfilling_to": 9}, {"failed": "of that event"}):
        running = start(CASE, "events")
        feed(running, minutes((0, None)))
        results = MetricResultsView(1)
        results.apply(
            update._replace(record=changed(update.record, change))
            for update in published(running, 0)
            if update.record is not None
        )
        aggregates = results.aggregates(running.definition, asked)
        assert assemble(running.definition, "stream", aggregates, asked).complete_until is None


def changed(record: MetricRecord, change: dict[str, Any]) -> MetricRecord:
    fields = {**record.record, **change}
    return record._replace(record=fields, progress=progress_of(fields))


def test_the_live_look_is_complete_up_to_the_begin_of_a_bucket() -> None:
    running = start(CASE, "sum")
    feed(running, minutes((0, 2)))
    results = MetricResultsView(1)
    results.apply(published(running, 0))
    for clock in (NOON + 3 * MINUTE, NOON + 4 * MINUTE - 1):
        now = MetricQuery(NOON + 9 * MINUTE, clock=clock, lateness_ms=MINUTE)
        live = msgspec.json.decode(
            live_metric(running.definition, None, results, now), type=LiveMetric
        )
        assert live.complete_until is not None
        assert live.complete_until.timestamp() * 1_000 == NOON + 2 * MINUTE


def test_a_quiet_partition_shows_no_buckets_that_others_have_let_go_of() -> None:
    quiet, busy = start(CASE, "events"), start(CASE, "events")
    feed(quiet, minutes((0, None)))
    feed(busy, minutes((2_000, None)))
    assert len(answer(MetricQuery(NOON + 2 * DAY_MS), quiet, busy).buckets) == 1


def test_a_sketch_says_what_it_is_and_how_far_off_it_may_be() -> None:
    running = start(CASE, "top")
    feed(running, [Act(0, NOON, "a", number % 1_000) for number in range(3_000)])
    found = answer(MetricQuery(NOON), running)
    assert found.approximate is not None
    assert found.approximate.count_error == WORST
    (figure,) = found.buckets
    assert figure.off_by is not None
    assert 0 < figure.off_by <= WORST * 3_000
    assert running.unpublished == set()
    assert TOTAL not in running.aggregates


def test_an_answer_has_no_numbers_that_json_has_not() -> None:
    for measured in ("minimum", "maximum", "average", "sum", "percentiles", "top"):
        running = start(CASE, measured)
        feed(running, minutes((0, None)))
        found = msgspec.json.decode(msgspec.json.encode(answer(MetricQuery(NOON), running)))
        assert found["buckets"][0]["unmeasured"] == 1
        assert found["buckets"][0]["value"] in (None, 0)


@pytest.mark.parametrize("length", [60, 86_400, "week", "month"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Apia", "America/New_York"])
def test_times_at_the_ends_of_the_calendar_show_what_there_is(length: Any, zone: str) -> None:
    running = start(Case(length, zone, EVER, []), "events")
    feed(running, minutes((0, None)))
    earliest, latest = (
        read_time(text) or 0 for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999Z")
    )
    for first, last, shown in (
        (earliest, latest, 1),
        (earliest, earliest, 0),
        (latest, latest, 0),
        (latest, earliest, 0),
        (0, 2**62, 1),
    ):
        found = answer(MetricQuery(NOON + 10_000, first=first, last=last), running)
        assert len(found.buckets) == shown
        assert found.now.events == 1
        definition = running.definition
        statement = metric_statement("avila", definition, MetricQuery(NOON, 1, first, last))
        assert statement.parameters
