"""A partition processes batches, and knows which rows its changelog lacks."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.changelog import keep_latest
from pipelines.engine.changelog_rows import keys_only_of, pack_due, unpack
from pipelines.engine.constants import NEVER, TOTAL
from pipelines.engine.dump import dump, load
from pipelines.engine.events import OffsetRange
from pipelines.engine.instance import Backfill, key_of
from pipelines.engine.operator import FoldResult, StateColumns
from pipelines.engine.partition import Partition, Pass
from pipelines.engine.person_record import person_key
from pipelines.matching.match import Key
from pipelines.operators.funnel.operator import FUNNEL
from pipelines.operators.metric.operator import METRIC
from pipelines.operators.metric.publisher import record_of
from pipelines.operators.segment.operator import SEGMENT
from pipelines.operators.segment.state import TIMERS_BATCH
from schemas.operators import funnel as definitions
from schemas.operators import metric as metrics
from schemas.operators.segment import Performed, Rule, Segment, SegmentDefinition
from tests.pipelines.batches import first_steps

DEFINITION = definitions.FunnelDefinition(
    project_id="shop",
    id="buy",
    version=1,
    created_at=0,
    updated_at=0,
    funnel=definitions.Funnel(
        steps=(definitions.Step("home"), definitions.Step("cart")), window_s=60
    ),
)
KEY = key_of(DEFINITION)


def with_funnel() -> Partition:
    empty = Partition()
    empty.instances[KEY] = FUNNEL.instance(DEFINITION, 0)
    return empty


def feed(
    into: Partition, persons: list[str], offset: int, due: int, key: Key = KEY, at: int = 0
) -> None:
    """Process a first step of each of the persons, at offsets from `offset` on."""
    into.process(first_steps(persons, offset, [key], at), Pass.LIVE, due)


def dumped(of: Partition) -> StateColumns:
    """Return the columns of a snapshot."""
    found = dump(of)
    assert found is not None
    return found.columns


def due_at(of: Partition, now_ms: int) -> list[bytes]:
    """Return the keys of the records that are due."""
    return [key for key, _ in logged(of, now_ms)]


def test_a_definition_that_raises_fails_with_its_reason_and_the_others_continue() -> None:
    partition, other = with_funnel(), replace(DEFINITION, id="other")
    partition.instances[key_of(other)] = FUNNEL.instance(other, 0)
    feed(partition, ["ann"], offset=10, due=100)
    broken = partition.instances[KEY]

    def fold(*_: object) -> FoldResult[ValuedChanges]:
        raise ZeroDivisionError("of that event")

    broken.state.fold = fold  # type: ignore[method-assign, assignment]
    changes = partition.process(first_steps(["ben"], 11, [KEY, key_of(other)]), Pass.LIVE, due=200)
    assert [instance.key for instance, _ in changes.changes] == [key_of(other)]
    assert broken.failed == "ZeroDivisionError: of that event"
    assert TOTAL in broken.unpublished
    assert (broken.state.size, partition.instances[key_of(other)].state.size) == (1, 1)

    # It is given no more events, and no events are kept for it.
    changes = partition.process(first_steps(["cem"], 12, [KEY, key_of(other)]), Pass.LIVE, due=200)
    assert [instance.key for instance, _ in changes.changes] == [key_of(other)]
    assert partition.recovery_offset == 11
    assert due_at(partition, 300) == [b"shop/ben", b"shop/cem"]


def test_events_before_a_definitions_since_are_left_out() -> None:
    since = replace(DEFINITION, funnel=replace(DEFINITION.funnel, since="1970-01-01T00:00:00.002Z"))
    partition = Partition()
    partition.instances[KEY] = funnel = FUNNEL.instance(since, 0)
    feed(partition, ["ann", "ben", "cem", "dan"], offset=10, due=100)  # at 0, 1, 2 and 3 ms
    state = partition.instances[KEY].state
    persons = state.persons_of(np.arange(state.size, dtype=np.int32))
    assert partition.persons.second(persons).to_pylist() == ["cem", "dan"]
    assert funnel.aggregates.reached(TOTAL) == [2, 0]
    assert partition.recovery_offset == 12


def test_a_definition_that_fails_while_it_is_backfilling_is_not_waited_for() -> None:
    partition = with_funnel()
    partition.instances[KEY].backfill = Backfill()
    partition.position = 5
    assert list(partition.backfilling) == [KEY]
    partition.instances[KEY].fail(ValueError("of history"))
    assert not partition.backfilling
    assert partition.promote(5) == []


def test_a_definition_knows_from_which_offset_on_it_is_live() -> None:
    partition = with_funnel()
    partition.instances[KEY].backfill = Backfill(at=7)
    partition.position = 7
    assert partition.promote(7) == [KEY]
    assert (partition.instances[KEY].live, partition.instances[KEY].live_since) == (True, 7)


def test_rows_are_logged_when_they_are_due_and_recovered_from_the_events_until_then() -> None:
    partition = with_funnel()
    feed(partition, ["ann", "ben"], offset=10, due=100)
    feed(partition, ["cem"], offset=12, due=200)
    assert partition.recovery_offset == 10
    assert due_at(partition, 99) == []
    assert due_at(partition, 100) == [b"shop/ann", b"shop/ben"]
    assert partition.recovery_offset == 12
    assert due_at(partition, 200) == [b"shop/cem"]
    assert partition.recovery_offset == 13


def test_rows_that_waited_when_a_snapshot_was_taken_wait_again_afterwards() -> None:
    partition = with_funnel()
    feed(partition, ["ann"], offset=10, due=100)
    assert due_at(partition, 100) == [b"shop/ann"]
    feed(partition, ["ben"], offset=11, due=200)
    restored = with_funnel()
    load(
        restored,
        dumped(partition),
        {KEY: OffsetRange(partition.recovery_offset, partition.position)},
    )
    restored.restored(partition.position, {})
    assert restored.recovery_offset == 11
    assert due_at(restored, 0) == [b"shop/ben"]
    assert restored.recovery_offset == 12


def test_a_new_funnel_is_backfilled_range_by_range_until_it_is_live() -> None:
    partition = with_funnel()
    feed(partition, ["ann", "ben", "cem"], offset=10, due=100)
    funnel = FUNNEL.instance(replace(DEFINITION, id="later"), 0)
    funnel.backfill = Backfill()
    later = funnel.key
    partition.instances[later] = funnel
    feed(partition, ["dan"], offset=13, due=100, key=later)
    assert funnel.state.size == 0  # live events are not for it yet

    assert backfilled(partition, later, ["ann", "ben"], OffsetRange(0, 12)) == 2
    assert (funnel.recovery_offset(0), partition.recovery_offset) == (10, 10)
    assert partition.backfilling[later].at == 12
    # A range that begins beyond its position would leave a gap: it is for others.
    assert backfilled(partition, later, ["eve"], OffsetRange(13, 14)) == 0
    assert backfilled(partition, later, ["ben", "cem", "dan"], OffsetRange(11, 14)) == 2
    assert partition.promote(14) == [later]
    assert not partition.backfilling
    feed(partition, ["fay"], offset=14, due=100, key=later)
    assert funnel.state.size == 5


def backfilled(into: Partition, key: Key, persons: list[str], offsets: OffsetRange) -> int:
    """Process a range of history that has a first step of each person at its end."""
    before = into.instances[key].state.size
    offset = offsets.end - len(persons)
    batch = first_steps(persons, offset, [key], begin=offsets.begin, clock_offsets={"shop": 0})
    into.process(batch, Pass.BACKFILL, due=100)
    return into.instances[key].state.size - before


VISITS = metrics.MetricDefinition(
    project_id="shop",
    id="visits",
    version=1,
    created_at=0,
    updated_at=0,
    metric=metrics.Metric(measure="events"),
)


def test_a_metric_of_events_knows_no_persons_and_logs_nothing() -> None:
    partition, metric = Partition(), METRIC.instance(VISITS, 0)
    partition.instances[metric.key] = metric
    feed(partition, ["ann", "ben"], offset=10, due=100, key=metric.key)
    of_bucket = record_of(metric, 0)
    assert of_bucket is not None
    assert of_bucket["events"] == 2
    assert (len(partition.persons), partition.recovery_offset) == (0, 12)
    assert due_at(partition, 100) == []
    restored = Partition()
    restored.instances[metric.key] = METRIC.instance(VISITS, 0)
    load(restored, dumped(partition), {metric.key: OffsetRange(12, 12)})
    restored.restored(12, {})
    assert due_at(restored, 0) == []
    assert restored.recovery_offset == 12


def test_records_of_persons_hold_nothing_of_a_metric_of_events() -> None:
    partition, metric = with_funnel(), METRIC.instance(VISITS, 0)
    partition.instances[metric.key] = metric
    feed(partition, ["ann"], offset=10, due=100)
    feed(partition, ["ann"], offset=11, due=100, key=metric.key)
    keys, values = map(list, zip(*logged(partition, 100), strict=True))
    restored = with_funnel()
    restored.instances[metric.key] = METRIC.instance(VISITS, 0)
    assert unpack(restored, keys, values).tolist() == [True]
    assert keys_only_of(restored, metric.key) == []
    assert list(map(person_key, keys_only_of(restored, KEY))) == [b"shop/ann", b"shop/ann"]


def test_an_expired_row_is_logged_in_a_record_of_its_own() -> None:
    partition = with_funnel()
    other = FUNNEL.instance(replace(DEFINITION, id="other"), 0)
    partition.instances[other.key] = other
    for key in (KEY, other.key):
        feed(partition, ["ann", "ben"], offset=10, due=100, key=key)
    whole = dict(logged(partition, 100))
    assert list(whole) == [b"shop/ann", b"shop/ben"]
    partition.advance_event_clock("shop", 0)
    assert [len(timeouts) for _, timeouts in partition.expire(61_000).timeouts] == [2, 2]
    by_themselves = dict(logged(partition, 100))
    assert list(map(person_key, by_themselves)) == [*whole, *whole]
    assert not whole.keys() & by_themselves.keys()
    assert keys_only_of(partition, KEY) == [
        key for key in by_themselves if tag_of(KEY, partition) in key
    ]


def tag_of(key: Key, of: Partition) -> bytes:
    return b"%016x" % int(of.instances[key].tag)


WHO = st.sets(st.sampled_from(["ann", "ben", "cem"]), min_size=1).map(sorted)


@given(st.data())
def test_the_last_record_of_a_row_counts(data: st.DataObject) -> None:
    partition = with_both()
    partition.advance_event_clock("shop", 0)
    log: dict[bytes, bytes | None] = {}
    for now in data.draw(st.lists(st.integers(0, 200_000), min_size=1, max_size=8).map(sorted)):
        if data.draw(st.booleans()):
            for key in partition.instances:
                feed(partition, data.draw(WHO), offset=partition.position, due=0, key=key, at=now)
        else:
            partition.expire(now)
        for who, row in logged(partition, data.draw(st.sampled_from([-1, 0]))):
            keep_latest(log, [who], [row])
    for who, row in logged(partition, 0):
        keep_latest(log, [who], [row])
    restored, size = with_both(), data.draw(st.integers(1, 6))
    for begin in range(0, len(log), size):
        some = dict(list(log.items())[begin : begin + size])
        assert unpack(restored, list(some), [value for value in some.values() if value]).all()
    assert [rows_of(restored, key) for key in restored.instances] == [
        rows_of(partition, key) for key in partition.instances
    ]


def with_both() -> Partition:
    """Return a partition with a funnel and a segment."""
    empty, of = with_funnel(), SEGMENT.instance(segment("active"), 0)
    empty.instances[of.key] = of
    return empty


def logged(of: Partition, now_ms: int) -> list[tuple[bytes, bytes]]:
    """Return the records that are due, in order."""
    records = (
        zip(*(column.to_pylist() for column in some), strict=True) for some in pack_due(of, now_ms)
    )
    return list(itertools.chain.from_iterable(records))


def rows_of(of: Partition, key: Key) -> dict[str, bytes]:
    """Return the packed rows of a definition, by person."""
    state = of.instances[key].state
    rows = np.arange(state.size, dtype=np.int32)
    data, begins, ends = state.pack(rows, 0)
    persons = of.persons.second(state.persons_of(rows)).to_pylist()
    bounds = zip(begins.tolist(), ends.tolist(), strict=True)
    return {person: data[slice(*of)].tobytes() for person, of in zip(persons, bounds, strict=True)}


def segment(name: str) -> SegmentDefinition:
    rule = Rule(performed=Performed(event="home", within_s=60))
    return SegmentDefinition(
        project_id="shop",
        id=name,
        version=1,
        created_at=0,
        updated_at=0,
        segment=Segment(rule=rule),
        rule=rule,
    )


def test_a_person_who_enters_is_logged_by_the_commit_that_publishes_it() -> None:
    partition, definition = Partition(), segment("active")
    key = key_of(definition)
    partition.instances[key] = SEGMENT.instance(definition, 0)
    feed(partition, ["ann", "ben"], offset=0, due=1_000, key=key)
    assert list(map(person_key, due_at(partition, 0))) == [b"shop/ann", b"shop/ben"]
    feed(partition, ["ann", "ann"], offset=2, due=1_000, key=key)  # who is in already
    assert due_at(partition, 0) == []
    assert due_at(partition, 1_000) == [b"shop/ann"]


def test_a_project_has_no_clock_before_its_first_event() -> None:
    partition, definition = Partition(), segment("active")
    key = key_of(definition)
    partition.instances[key] = SEGMENT.instance(definition, 0)
    partition.instances[key].backfill = Backfill()
    assert partition.expire_backfill(5_000) == ([], [])
    assert partition.promote(0) == [key]
    assert partition.expire(5_000) == ([], [])
    assert partition.clock_offsets == {}
    assert partition.instances[key].state.clock is None
    partition.advance_event_clock("shop", -1_000)
    assert partition.expire(5_000) == ([], [])
    assert partition.instances[key].state.clock == 4_000


def test_a_clock_is_that_of_the_newest_event_anywhere_and_never_ahead_of_the_time_of_day() -> None:
    elsewhere = {"shop": -9_000}
    partition, definition = Partition(lambda project: elsewhere.get(project, NEVER)), segment("it")
    key = key_of(definition)
    partition.instances[key] = SEGMENT.instance(definition, 0)
    assert partition.clock_offset_of("other") == NEVER
    for own, known, offset_ms in (
        (-20_000, -9_000, -9_000),
        (-20_000, -5_000, -5_000),
        (-1_000, -5_000, -1_000),
        (-1_500, -5_000, -1_000),
        (290_000, -5_000, 0),
    ):
        elsewhere["shop"] = known
        partition.advance_event_clock("shop", own)
        assert partition.clock_offset_of("shop") == offset_ms
        partition.expire(1_000_000)
        assert partition.instances[key].state.clock == 1_000_000 + offset_ms
        assert partition.instances[key].clock == 1_000_000 + offset_ms
    assert partition.take_risen() == ["shop"]
    partition.advance_event_clock("shop", 0)
    assert partition.take_risen() == []


def test_a_backfill_goes_by_its_own_clock_which_events_dated_ahead_do_not_move_beyond_it() -> None:
    partition, definition = Partition(lambda _: 0), segment("it")
    key = key_of(definition)
    partition.instances[key] = SEGMENT.instance(definition, 0)
    partition.instances[key].backfill = Backfill()
    for offset, ahead_ms, clock in ((0, -4_000, 6_000), (1, 290_000, 10_000)):
        batch = first_steps(["ann"], offset, [key], clock_offsets={"shop": ahead_ms})
        partition.process(batch, Pass.BACKFILL, due=100)
        partition.expire_backfill(10_000)
        assert partition.instances[key].state.clock == clock


def test_the_rows_that_expire_in_one_call_are_bounded_and_every_definition_has_its_turn() -> None:
    partition, segments = Partition(), []
    names = [str(number) for number in range(TIMERS_BATCH + 1)]
    for definition in (segment("a"), segment("b")):
        segments.append(SEGMENT.instance(definition, 0))
        partition.instances[segments[-1].key] = segments[-1]
        feed(partition, names, offset=0, due=0, key=segments[-1].key)
    partition.advance_event_clock("shop", 0)
    due_at(partition, 0)
    calls = []
    while done := [(of.key.id, len(changes)) for of, changes in partition.expire(200_000).changes]:
        calls.append(done)
        assert len(due_at(partition, 0)) <= TIMERS_BATCH + 1
    assert calls == [
        [("a", TIMERS_BATCH)],
        [("b", TIMERS_BATCH)],
        [("a", 1), ("b", 1)],
    ]
    assert segments[0].aggregates.of(0) == (len(names), len(names))
