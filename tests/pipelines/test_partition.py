"""What a partition knows of its log: which rows are still to be written, and from where to redo."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.changelog import keep_latest
from pipelines.engine.changelog_rows import keys_only_of, pack_due, unpack
from pipelines.engine.constants import TOTAL
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


def partition() -> Partition:
    empty = Partition()
    empty.instances[KEY] = FUNNEL.instance(DEFINITION, 0)
    return empty


def feed(
    into: Partition, persons: list[str], offset: int, due: int, key: Key = KEY, at: int = 0
) -> None:
    """Process a first step of each of the persons, at offsets from `offset` on."""
    into.process(first_steps(persons, offset, [key], at), Pass.LIVE, due)


def dumped(of: Partition) -> StateColumns:
    """The columns of a snapshot of it."""
    found = dump(of)
    assert found is not None
    return found.columns


def due_at(of: Partition, now_ms: int) -> list[bytes]:
    """The keys of what is to be logged by now."""
    return [key for key, _ in logged(of, now_ms)]


def test_a_definition_that_raises_ends_with_its_reason_and_the_others_go_on() -> None:
    one, other = partition(), replace(DEFINITION, id="other")
    one.instances[key_of(other)] = FUNNEL.instance(other, 0)
    feed(one, ["ann"], offset=10, due=100)
    broken = one.instances[KEY]

    def fold(*_: object) -> FoldResult[ValuedChanges]:
        raise ZeroDivisionError("of that event")

    broken.state.fold = fold  # type: ignore[method-assign, assignment]
    changes = one.process(first_steps(["ben"], 11, [KEY, key_of(other)]), Pass.LIVE, due=200)
    assert [instance.key for instance, _ in changes.changes] == [key_of(other)]
    assert broken.failed == "ZeroDivisionError: of that event"
    assert TOTAL in broken.unpublished
    assert (broken.state.size, one.instances[key_of(other)].state.size) == (1, 1)

    # It is asked nothing more, and nothing waits for it.
    changes = one.process(first_steps(["cem"], 12, [KEY, key_of(other)]), Pass.LIVE, due=200)
    assert [instance.key for instance, _ in changes.changes] == [key_of(other)]
    assert one.recovery_offset == 11
    assert due_at(one, 300) == [b"shop/ben", b"shop/cem"]


def test_events_before_the_time_from_which_on_they_count_are_left_out() -> None:
    since = replace(DEFINITION, funnel=replace(DEFINITION.funnel, since="1970-01-01T00:00:00.002Z"))
    one = Partition()
    one.instances[KEY] = funnel = FUNNEL.instance(since, 0)
    feed(one, ["ann", "ben", "cem", "dan"], offset=10, due=100)  # at 0, 1, 2 and 3 ms
    state = one.instances[KEY].state
    persons = state.persons_of(np.arange(state.size, dtype=np.int32))
    assert one.persons.second(persons).to_pylist() == ["cem", "dan"]
    assert funnel.aggregates.reached(TOTAL) == [2, 0]
    assert one.recovery_offset == 12


def test_a_definition_that_fails_while_it_catches_up_is_not_waited_for() -> None:
    one = partition()
    one.instances[KEY].backfill = Backfill()
    one.position = 5
    assert list(one.backfilling) == [KEY]
    one.instances[KEY].fail(ValueError("of history"))
    assert not one.backfilling
    assert one.promote(5) == []


def test_a_definition_knows_since_when_it_is_live() -> None:
    one = partition()
    one.instances[KEY].backfill = Backfill(at=7)
    one.position = 7
    assert one.promote(7) == [KEY]
    assert (one.instances[KEY].live, one.instances[KEY].live_since) == (True, 7)


def test_rows_are_logged_when_they_are_due_and_redone_from_until_then() -> None:
    one = partition()
    feed(one, ["ann", "ben"], offset=10, due=100)
    feed(one, ["cem"], offset=12, due=200)
    assert one.recovery_offset == 10
    assert due_at(one, 99) == []
    assert due_at(one, 100) == [b"shop/ann", b"shop/ben"]
    assert one.recovery_offset == 12
    assert due_at(one, 200) == [b"shop/cem"]
    assert one.recovery_offset == 13


def test_rows_that_waited_when_a_snapshot_was_taken_wait_again_afterwards() -> None:
    one = partition()
    feed(one, ["ann"], offset=10, due=100)
    assert due_at(one, 100) == [b"shop/ann"]
    feed(one, ["ben"], offset=11, due=200)
    two = partition()
    load(two, dumped(one), {KEY: OffsetRange(one.recovery_offset, one.position)})
    two.restored(one.position, {})
    assert two.recovery_offset == 11
    assert due_at(two, 0) == [b"shop/ben"]
    assert two.recovery_offset == 12


def test_a_funnel_that_comes_later_catches_up_in_stretches_and_goes_live() -> None:
    one = partition()
    feed(one, ["ann", "ben", "cem"], offset=10, due=100)
    funnel = FUNNEL.instance(replace(DEFINITION, id="later"), 0)
    funnel.backfill = Backfill()
    later = funnel.key
    one.instances[later] = funnel
    feed(one, ["dan"], offset=13, due=100, key=later)
    assert funnel.state.size == 0  # live events are not for it yet

    assert backfilled(one, later, ["ann", "ben"], OffsetRange(0, 12)) == 2
    assert (funnel.recovery_offset(0), one.recovery_offset) == (10, 10)
    assert one.backfilling[later].at == 12
    # A stretch that begins beyond what it has would leave a gap: it is for others.
    assert backfilled(one, later, ["eve"], OffsetRange(13, 14)) == 0
    assert backfilled(one, later, ["ben", "cem", "dan"], OffsetRange(11, 14)) == 2
    assert one.promote(14) == [later]
    assert not one.backfilling
    feed(one, ["fay"], offset=14, due=100, key=later)
    assert funnel.state.size == 5


def backfilled(into: Partition, key: Key, persons: list[str], offsets: OffsetRange) -> int:
    """Fold a stretch of the past that has a first step of each of the persons at its end."""
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
    one, instances = Partition(), METRIC.instance(VISITS, 0)
    one.instances[instances.key] = instances
    feed(one, ["ann", "ben"], offset=10, due=100, key=instances.key)
    of_bucket = record_of(instances, 0)
    assert of_bucket is not None
    assert of_bucket["events"] == 2
    assert (len(one.persons), one.recovery_offset) == (0, 12)
    assert due_at(one, 100) == []
    two = Partition()
    two.instances[instances.key] = METRIC.instance(VISITS, 0)
    load(two, dumped(one), {instances.key: OffsetRange(12, 12)})
    two.restored(12, {})
    assert due_at(two, 0) == []
    assert two.recovery_offset == 12


def test_a_metric_of_events_is_logged_nowhere_when_its_persons_are() -> None:
    one, instances = partition(), METRIC.instance(VISITS, 0)
    one.instances[instances.key] = instances
    feed(one, ["ann"], offset=10, due=100)
    feed(one, ["ann"], offset=11, due=100, key=instances.key)
    keys, values = map(list, zip(*logged(one, 100), strict=True))
    two = partition()
    two.instances[instances.key] = METRIC.instance(VISITS, 0)
    assert unpack(two, keys, values).tolist() == [True]
    assert keys_only_of(two, instances.key) == []
    assert list(map(person_key, keys_only_of(two, KEY))) == [b"shop/ann", b"shop/ann"]


def test_a_row_that_time_changes_is_logged_by_itself() -> None:
    one = partition()
    other = FUNNEL.instance(replace(DEFINITION, id="other"), 0)
    one.instances[other.key] = other
    for key in (KEY, other.key):
        feed(one, ["ann", "ben"], offset=10, due=100, key=key)
    whole = dict(logged(one, 100))
    assert list(whole) == [b"shop/ann", b"shop/ben"]
    one.advance_event_clock("shop", 0)
    assert [len(timeouts) for _, timeouts in one.expire(61_000).timeouts] == [2, 2]
    by_themselves = dict(logged(one, 100))
    assert list(map(person_key, by_themselves)) == [*whole, *whole]
    assert not whole.keys() & by_themselves.keys()
    assert keys_only_of(one, KEY) == [key for key in by_themselves if tag_of(KEY, one) in key]


def tag_of(key: Key, of: Partition) -> bytes:
    return b"%016x" % int(of.instances[key].tag)


WHO = st.sets(st.sampled_from(["ann", "ben", "cem"]), min_size=1).map(sorted)


@given(st.data())
def test_what_the_log_says_of_a_row_last_holds(data: st.DataObject) -> None:
    one = both()
    one.advance_event_clock("shop", 0)
    log: dict[bytes, bytes | None] = {}
    for now in data.draw(st.lists(st.integers(0, 200_000), min_size=1, max_size=8).map(sorted)):
        if data.draw(st.booleans()):
            for key in one.instances:
                feed(one, data.draw(WHO), offset=one.position, due=0, key=key, at=now)
        else:
            one.expire(now)
        for who, row in logged(one, data.draw(st.sampled_from([-1, 0]))):
            keep_latest(log, [who], [row])
    for who, row in logged(one, 0):
        keep_latest(log, [who], [row])
    two, flush_now = both(), data.draw(st.integers(1, 6))
    for begin in range(0, len(log), flush_now):
        some = dict(list(log.items())[begin : begin + flush_now])
        assert unpack(two, list(some), [value for value in some.values() if value]).all()
    assert [rows_of(two, key) for key in two.instances] == [
        rows_of(one, key) for key in one.instances
    ]


def both() -> Partition:
    """A partition with a funnel and a segment."""
    empty, of = partition(), SEGMENT.instance(segment("active"), 0)
    empty.instances[of.key] = of
    return empty


def logged(of: Partition, now_ms: int) -> list[tuple[bytes, bytes]]:
    """What is to be logged by now, in its order."""
    records = (
        zip(*(column.to_pylist() for column in some), strict=True) for some in pack_due(of, now_ms)
    )
    return list(itertools.chain.from_iterable(records))


def rows_of(of: Partition, key: Key) -> dict[str, bytes]:
    """The rows of a definition, by the persons that they are of."""
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


def test_who_entered_is_logged_by_the_commit_that_says_so() -> None:
    one, definition = Partition(), segment("active")
    key = key_of(definition)
    one.instances[key] = SEGMENT.instance(definition, 0)
    feed(one, ["ann", "ben"], offset=0, due=1_000, key=key)
    assert list(map(person_key, due_at(one, 0))) == [b"shop/ann", b"shop/ben"]
    feed(one, ["ann", "ann"], offset=2, due=1_000, key=key)  # who is in already
    assert due_at(one, 0) == []
    assert due_at(one, 1_000) == [b"shop/ann"]


def test_a_project_has_no_clock_before_its_first_event() -> None:
    one, definition = Partition(), segment("active")
    key = key_of(definition)
    one.instances[key] = SEGMENT.instance(definition, 0)
    one.instances[key].backfill = Backfill()
    assert one.expire_backfill(5_000) == ([], [])
    assert one.promote(0) == [key]
    assert one.expire(5_000) == ([], [])
    assert one.clock_offsets == {}
    assert one.instances[key].state.clock is None
    one.advance_event_clock("shop", -1_000)
    assert one.expire(5_000) == ([], [])
    assert one.instances[key].state.clock == 4_000


def test_what_time_changes_at_once_is_bounded_for_all_definitions_and_leaves_none_behind() -> None:
    one, segments = Partition(), []
    names = [str(number) for number in range(TIMERS_BATCH + 1)]
    for definition in (segment("a"), segment("b")):
        segments.append(SEGMENT.instance(definition, 0))
        one.instances[segments[-1].key] = segments[-1]
        feed(one, names, offset=0, due=0, key=segments[-1].key)
    one.advance_event_clock("shop", 0)
    due_at(one, 0)
    calls = []
    while done := [(of.key.id, len(changes)) for of, changes in one.expire(200_000).changes]:
        calls.append(done)
        assert len(due_at(one, 0)) <= TIMERS_BATCH + 1
    assert calls == [
        [("a", TIMERS_BATCH)],
        [("b", TIMERS_BATCH)],
        [("a", 1), ("b", 1)],
    ]
    assert segments[0].aggregates.of(0) == (len(names), len(names))
