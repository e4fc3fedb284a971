"""What holds of every operator: order, batches, crashes, history and ClickHouse change nothing."""

import uuid
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipelines.operators
import services.query.operators
from schemas.operators import OPERATORS
from schemas.operators.spec import OperatorSpec
from tests.laws.conftest import Subject
from tests.laws.driver import Life, cut
from tests.laws.entry import DAY_MS, Case, entry_of
from tests.oracles.events import Event
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

checked = hypothesis.settings(hypothesis.settings.get_profile("laws"))
sizes = st.lists(st.integers(1, 7), max_size=20)


def test_every_operator_is_registered_on_both_sides_and_has_an_entry() -> None:
    names = [spec.name for spec in OPERATORS]
    for registry in (pipelines.operators, services.query.operators):
        registered = [operator.spec.name for operator in registry.OPERATORS]
        where = f"{registry.__name__}.OPERATORS"
        assert not set(names) - set(registered), f"not registered in {where}"
        assert not set(registered) - set(names), f"in {where}, not in schemas.operators.OPERATORS"
        assert registered == names, f"{where} has another order than schemas.operators.OPERATORS"
    for name in names:
        assert find_spec(f"tests.laws.{name}"), f"there is no tests/laws/{name}.py with an ENTRY"


@pytest.mark.parametrize("spec", OPERATORS, ids=lambda spec: spec.name)
def test_an_entry_has_changes_if_the_operator_publishes_some(spec: OperatorSpec) -> None:
    entry = entry_of(spec.name)
    assert entry.variants
    assert (entry.changes is None) == (entry.oracle_of_changes is None) == (not spec.changes)


def assert_right(subject: Subject, life: Life, case: Case, taken: Sequence[Event]) -> None:
    """What is published must be what the definition says of the events taken so far."""
    entry, published, now = subject.entry, life.published(), life.clock
    assert entry.read(case.body, published, now) == entry.oracle(case.body, taken, now)
    if entry.changes and entry.oracle_of_changes:
        assert entry.changes(published) == entry.oracle_of_changes(case.body, taken, now)


@checked
@given(data=st.data())
def test_any_order_of_arrival_gives_what_the_definition_says_as_time_passes(
    subject: Subject, data: st.DataObject
) -> None:
    case = data.draw(subject.cases)
    events = data.draw(st.permutations(case.events))
    life, taken = subject.life(case), 0
    for batch in cut(events, data.draw(sizes)):
        life.take(batch)
        taken += len(batch)
        assert_right(subject, life, case, events[:taken])
    for wait_ms in subject.entry.wait_ms:
        life.take([], wait_ms)
        assert_right(subject, life, case, events)


@checked
@given(data=st.data(), lateness=st.sampled_from([0, 5, 1_500, 3_600_000, 86_400_000]))
def test_events_in_order_count_whatever_the_lateness(
    subject: Subject, data: st.DataObject, lateness: int
) -> None:
    case = data.draw(subject.cases)
    events = sorted(case.events, key=lambda event: event.at)
    life = subject.life(case._replace(lateness_ms=lateness))
    for batch in cut(events, data.draw(sizes)):
        life.take(batch)
    assert_right(subject, life, case, events)
    assert life.late == 0


@checked
@given(data=st.data(), lateness=st.sampled_from([0, 1_500, 3_600_000]))
def test_history_in_order_of_time_counts_although_the_project_is_far_ahead(
    subject: Subject, data: st.DataObject, lateness: int
) -> None:
    case = data.draw(subject.cases)
    history = sorted(case.events, key=lambda event: event.at)
    newest = history[-1]
    live = newest._replace(
        person="live", at=newest.at + data.draw(st.sampled_from([0, 40 * DAY_MS]))
    )
    life = subject.life(case._replace(lateness_ms=lateness))
    life.take([live])
    for batch in cut(history, data.draw(sizes)):
        life.take(batch, data.draw(st.sampled_from([0, 9_000, DAY_MS])))
    assert_right(subject, life, case, [live, *history])
    assert life.late == 0 or not life.keeps_persons


@checked
@given(data=st.data(), lateness=st.sampled_from([0, 5, 1_500, 3_600_000]))
def test_what_comes_later_than_the_lateness_is_counted_in_the_end(
    subject: Subject, data: st.DataObject, lateness: int
) -> None:
    case = data.draw(subject.cases)
    events = data.draw(st.permutations(case.events))
    life = subject.life(case._replace(lateness_ms=lateness), checkpoint_ms=5_000)
    for batch in cut(events, data.draw(sizes)):
        life.take(batch, data.draw(st.sampled_from([0, 1_000, 9_000])))
        match data.draw(st.sampled_from(["", "", "recount", "snapshot", "crash"])):
            case "recount":
                _recount(life, data)
            case "snapshot":
                life.snapshot()
            case "crash":
                life.crash()
    while life.behind:
        _recount(life, data)
    assert life.late == 0 or not life.keeps_persons
    assert_right(subject, life, case, events)
    life.crash()
    for wait_ms in (0, *subject.entry.wait_ms):
        life.take([], wait_ms)
        assert_right(subject, life, case, events)


def _recount(life: Life, data: st.DataObject) -> None:
    """Count again what is behind; a crash on the way, or after it, costs the work alone."""
    batch = data.draw(st.integers(1, 30))
    max_bytes = data.draw(st.lists(st.sampled_from([1, 100, 10_000]), min_size=1, max_size=3))
    crash_at = data.draw(st.sampled_from([None, None, 0, 3, 10]))
    for step, _ in enumerate(life.recount(batch, max_bytes)):
        if step == crash_at:
            life.crash()
            return
    if crash_at is not None:
        life.crash()


@checked
@given(data=st.data(), lateness=st.sampled_from([0, 5, 3_600_000, 86_400_000, None]))
def test_where_batches_end_changes_nothing(
    subject: Subject, data: st.DataObject, lateness: int | None
) -> None:
    case = data.draw(subject.cases)
    if lateness is not None:
        case = case._replace(lateness_ms=lateness)
    whole, parts = subject.life(case), subject.life(case)
    whole.fold(case.events)
    for batch in cut(case.events, data.draw(sizes)):
        parts.fold(batch)
    for life in (whole, parts):
        life.commit()
    assert parts.rows() == whole.rows()
    assert parts.late == whole.late
    figures = [
        subject.entry.read(case.body, life.published(), life.clock) for life in (parts, whole)
    ]
    assert figures[0] == figures[1]


@checked
@given(
    data=st.data(),
    checkpoint_ms=st.sampled_from([0, 5_000, 30_000]),
    lateness=st.sampled_from([0, 3_600_000, None]),
)
def test_a_crash_at_any_point_changes_nothing(
    subject: Subject, data: st.DataObject, checkpoint_ms: int, lateness: int | None
) -> None:
    case = data.draw(subject.cases)
    if lateness is not None:
        case = case._replace(lateness_ms=lateness)
    whole, lost = (subject.life(case, checkpoint_ms=checkpoint_ms) for _ in range(2))
    passing = st.sampled_from([0, 0, 1_000, 9_000, 60_000])
    for batch in cut(case.events, data.draw(sizes)):
        passed_ms = data.draw(passing)
        assert _sorted(lost.take(batch, passed_ms)) == _sorted(whole.take(batch, passed_ms))
        match data.draw(st.sampled_from(["", "", "crash", "twice", "snapshot", "replay"])):
            case "crash":
                lost.crash()
            case "twice":
                lost.crash()
                lost.crash()
            case "snapshot":
                lost.snapshot()
                lost.crash()
            case "replay":
                lost.crash(from_the_beginning=True)
    for wait_ms in subject.entry.wait_ms:
        assert _sorted(lost.take([], wait_ms)) == _sorted(whole.take([], wait_ms))
    assert lost.rows() == whole.rows()
    assert _comparable(lost) == _comparable(whole)
    figures = [
        subject.entry.read(case.body, life.published(), life.clock) for life in (lost, whole)
    ]
    assert figures[0] == figures[1]


def _sorted(changes: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, changes))


def _comparable(life: Life) -> list[str]:
    return sorted(repr(_unordered(record)) for record in life.published().aggregates)


def _unordered(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what has no order of its own: lists of records, and the bytes of sketches.

    What a sketch holds is read by the operator's entry.
    """
    return {
        name: sorted(map(repr, field)) if isinstance(field, list) and _are_records(field) else field
        for name, field in record.items()
        if name != "sketch"
    }


def _are_records(items: Sequence[Any]) -> bool:
    return any(isinstance(item, dict) for item in items)


@checked
@given(data=st.data())
def test_a_definition_that_reads_history_equals_one_that_was_there(
    subject: Subject, data: st.DataObject
) -> None:
    case = data.draw(subject.cases)
    known, late = subject.life(case), subject.life(case, late=True)
    batches = cut(case.events, data.draw(sizes))
    defined = data.draw(st.integers(0, len(batches)))
    for number, batch in enumerate(batches):
        if number == defined:
            late.define()
        known.take(batch)
        late.take(batch)
        if number >= defined and data.draw(st.booleans()):
            late.backfill(data.draw(st.integers(1, 5)))
    if defined == len(batches):
        late.define()
    while not late.backfill(data.draw(st.integers(1, 20))):
        if data.draw(st.booleans()):
            late.crash()
    for wait_ms in (0, *subject.entry.wait_ms):
        known.take([], wait_ms)
        late.take([], wait_ms)
        assert_right(subject, late, case, case.events)
        assert_right(subject, known, case, case.events)


@checked
@given(data=st.data())
def test_a_row_of_an_unknown_layout_is_refused(subject: Subject, data: st.DataObject) -> None:
    case = data.draw(subject.cases)
    life = subject.life(case)
    life.take(case.events)
    rows = life.rows()
    if not rows:  # an operator that keeps nothing of persons logs nothing of them either
        assert all(key.startswith(b"\0") for key in life.logged())
        return
    row = data.draw(st.sampled_from(sorted(rows.values())))
    life.unpack(row)
    for wrong in (bytes(len(row)), b"", row[:1], row[:-1]):
        with pytest.raises(ValueError, match="of the state"):
            life.unpack(wrong)


@hypothesis.settings(checked, max_examples=8)
@given(data=st.data())
def test_clickhouse_has_the_figures_of_the_stream(
    subject: Subject, warehouse: Warehouse, data: st.DataObject
) -> None:
    """Both are held to the definition; five definitions each time, for an insert is slow."""
    cases = data.draw(st.lists(subject.cases, min_size=5, max_size=5))
    projects = [uuid.uuid4().hex for _ in cases]
    warehouse.write(
        Row(project, event.person, event.event, event.at, event.text)
        for project, case in zip(projects, cases, strict=True)
        for event in case.events
    )
    for project, case in zip(projects, cases, strict=True):
        now = max(event.at for event in case.events)
        definition = subject.definition(case, project)
        found = subject.entry.in_store(warehouse, definition, now)
        assert found == subject.entry.oracle(case.body, case.events, now)
