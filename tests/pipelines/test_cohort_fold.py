"""A cohort counts what its definition says, in whatever order events come."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.engine.breakdown import MAX_VALUES, ValuedChanges
from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import FoldResult, Packed
from pipelines.matching.value_hash import fingerprints
from pipelines.operators.cohort.aggregates import CohortAggregates
from pipelines.operators.cohort.columns import RETURNS, STARTS
from pipelines.operators.cohort.state import CohortState
from schemas.time.calendar import Period, begin_of, calendar
from tests.laws.entry import VALUES
from tests.oracles.cohort import Act, Grid, grid, grids
from tests.oracles.values import name_of_shown

DAY_MS = 86_400_000
NOON = 20_000 * DAY_MS + DAY_MS // 2
PERSONS = 3
ZONES = ["UTC", "Europe/Lisbon", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia"]


class Case(NamedTuple):
    """A definition and what persons do, over some hours to some years."""

    period: Period
    periods: int
    timezone: str
    acts: list[Act]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    span = draw(st.sampled_from([DAY_MS // 4, 5 * DAY_MS, 100 * DAY_MS, 900 * DAY_MS]))
    act = st.builds(
        Act,
        st.integers(0, PERSONS - 1),
        st.integers(NOON - span, NOON),
        st.booleans(),
        st.booleans(),
        st.sampled_from(VALUES),
    )
    return Case(
        draw(st.sampled_from(["day", "week", "month"])),
        draw(st.integers(1, 60)),
        draw(st.sampled_from(ZONES)),
        draw(st.lists(act.filter(lambda act: act.starts or act.returns), min_size=1, max_size=30)),
    )


def empty(
    case: Case, lateness_ms: int = 10_000 * DAY_MS, *, broken_down: bool = False
) -> CohortState:
    of = calendar(case.period, case.timezone)
    return CohortState(case.periods, of, lateness_ms, broken_down=broken_down)


def feed(state: CohortState, acts: list[Act], offset: int = 0) -> FoldResult[ValuedChanges]:
    masks = [STARTS * act.starts | RETURNS * act.returns for act in acts]
    return state.fold(
        PERSONS,
        np.array([act.person for act in acts], np.int32),
        np.array([act.at for act in acts], np.int64),
        np.array(masks, np.uint32),
        np.arange(offset, offset + len(acts)),
        [fingerprints([[act.value for act in acts]])] if state.shape.broken_down else (),
    )


def counted_grid(case: Case, aggregates: CohortAggregates) -> Grid:
    counted = {begin_of(case.period, number): aggregates.counts(number) for number in aggregates}
    counted = {day: counts for day, counts in counted.items() if any((counts[0], *counts[1]))}
    return Grid(
        {day: persons for day, (persons, _, _) in counted.items()},
        {day: returned for day, (_, returned, _) in counted.items()},
        {day: or_later for day, (_, _, or_later) in counted.items()},
    )


@given(cases(), st.integers(1, 30))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_fold_equals_the_definition_in_any_order_of_arrival(case: Case, batch: int) -> None:
    state, aggregates = empty(case), CohortAggregates(case.periods)
    for begin in range(0, len(case.acts), batch):
        aggregates.apply(feed(state, case.acts[begin : begin + batch], begin).changes)
    assert counted_grid(case, aggregates) == grid(
        case.acts, case.period, case.periods, case.timezone
    )


def grids_by_value(case: Case, aggregates: CohortAggregates) -> dict[str, Grid]:
    found: dict[str, Grid] = {}
    for number in aggregates:
        for one in aggregates.breakdown(number):
            of = name_of_shown(one["value"])
            of_value = found.setdefault(of, Grid({}, {}, {}))
            day = begin_of(case.period, number)
            of_value.persons[day] = one["persons"]
            of_value.returned[day] = one["returned"]
            of_value.or_later[day] = one["returned_or_later"]
    return found


def published(aggregates: CohortAggregates) -> dict[int, dict[str, Any]]:
    """The records of the topic, by period."""
    names = "persons", "returned", "returned_or_later"
    return {
        number: dict(zip(names, aggregates.counts(number), strict=True))
        | {"breakdown": aggregates.breakdown(number)}
        for number in (*aggregates, TOTAL)
    }


@given(cases(), st.integers(1, 30), st.integers(0, 30))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_cohort_that_is_broken_down_equals_the_definition(
    case: Case, batch: int, again: int
) -> None:
    state = empty(case, broken_down=True)
    aggregates = CohortAggregates(case.periods, broken_down=True)
    for begin in range(0, len(case.acts), batch):
        aggregates.apply(feed(state, case.acts[begin : begin + batch], begin).changes)
        if begin == again:  # another worker goes on, from the log and from what is published
            copy, rows = empty(case, broken_down=True), np.arange(state.size, dtype=np.int32)
            copy.unpack(PERSONS, state.persons_of(rows), state.pack(rows, begin + batch))
            copy.restored()
            state, before = copy, published(aggregates)
            aggregates = CohortAggregates(case.periods, broken_down=True)
            for number, record in before.items():
                aggregates.load(number, record)
    of = case.period, case.periods, case.timezone
    assert counted_grid(case, aggregates) == grid(case.acts, *of)
    assert grids_by_value(case, aggregates) == grids(case.acts, *of)


def test_an_earlier_start_within_the_period_takes_its_value() -> None:
    case = Case("month", 2, "UTC", [])
    state = empty(case, broken_down=True)
    aggregates = CohortAggregates(2, broken_down=True)
    for at, value in ((NOON, "later"), (NOON - 5, "first"), (NOON - 3, "between")):
        aggregates.apply(feed(state, [Act(0, at, True, True, value)]).changes)
    (number,) = aggregates
    assert aggregates.breakdown(number) == [
        {"value": '"first"', "persons": 1, "returned": [1, 0], "returned_or_later": [1, 0]}
    ]


def test_untracked_values_are_counted_together() -> None:
    case = Case("month", 1, "UTC", [])
    state, aggregates = empty(case, broken_down=True), CohortAggregates(1, broken_down=True)
    for begin in range(0, MAX_VALUES + 10, PERSONS):
        state = empty(case, broken_down=True)
        acts = [Act(n, NOON, True, False, begin + n) for n in range(PERSONS)]
        aggregates.apply(feed(state, acts).changes)
    (number,) = aggregates
    found = {one["value"]: one["persons"] for one in aggregates.breakdown(number)}
    assert len(found) == MAX_VALUES + 1
    assert sum(found.values()) == aggregates.counts(number)[0]
    assert found[None] == aggregates.counts(number)[0] - MAX_VALUES


@given(cases(), st.integers(0, 3 * DAY_MS), st.integers(1, 30))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_events_in_order_count_with_any_lateness(case: Case, lateness: int, batch: int) -> None:
    acts = sorted(case.acts, key=lambda act: act.at)
    state, aggregates = empty(case, lateness), CohortAggregates(case.periods)
    for begin in range(0, len(acts), batch):
        folded = feed(state, acts[begin : begin + batch], begin)
        assert folded.late == 0
        aggregates.apply(folded.changes)
    assert counted_grid(case, aggregates) == grid(acts, case.period, case.periods, case.timezone)


@given(cases(), st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_row_that_was_logged_continues_as_if_nothing_had_happened(
    case: Case, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(case.acts)))
    aggregates, one, two = CohortAggregates(case.periods), empty(case), empty(case)
    aggregates.apply(feed(one, case.acts[:cut]).changes)
    rows = np.arange(one.size, dtype=np.int32)
    two.unpack(PERSONS, one.persons_of(rows), one.pack(rows, cut))
    feed(two, case.acts[:cut])  # events that the rows hold already
    two.restored()
    if case.acts[cut:]:
        aggregates.apply(feed(two, case.acts[cut:], cut).changes)
    assert counted_grid(case, aggregates) == grid(
        case.acts, case.period, case.periods, case.timezone
    )


def test_an_event_later_than_the_lateness_is_counted_and_left_out() -> None:
    case = Case("day", 3, "UTC", [])
    state = empty(case, lateness_ms=DAY_MS)
    acts = [Act(0, NOON, True, False), Act(0, NOON - 2 * DAY_MS, True, False)]
    assert feed(state, acts).late == 1


def test_a_late_start_takes_the_returns_since_then_with_it() -> None:
    case = Case("day", 3, "UTC", [])
    state, aggregates = empty(case, lateness_ms=5 * DAY_MS), CohortAggregates(3)
    for act in (Act(0, NOON, True, False), Act(0, NOON - DAY_MS, False, True)):
        aggregates.apply(feed(state, [act]).changes)
    assert aggregates.counts(20_000) == (1, [0, 0, 0], [0, 0, 0])
    aggregates.apply(feed(state, [Act(0, NOON - 2 * DAY_MS, True, False)]).changes)
    assert aggregates.counts(20_000) == (0, [0, 0, 0], [0, 0, 0])
    assert aggregates.counts(19_998) == (1, [0, 1, 0], [1, 1, 0])


def test_a_row_of_an_unknown_layout_is_refused() -> None:
    state = empty(Case("day", 3, "UTC", []))
    known = np.zeros(state._packed.itemsize, np.uint8).tobytes()
    for row in (known, b"", b"\x01\x02"):
        packed = Packed(np.frombuffer(row, np.uint8), np.zeros(1, np.int64), np.array([len(row)]))
        with pytest.raises(ValueError, match="layout"):
            state.unpack(1, np.zeros(1, np.int32), packed)
