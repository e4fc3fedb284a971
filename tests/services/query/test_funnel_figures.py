"""What the API makes of counts: periods, values, previous steps."""

import datetime
import json
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from schemas.operators.funnel import Breakdown, Funnel, FunnelDefinition, Step
from schemas.sketches.durations import sketch_of
from services.query.operators.breakdown import MAX_SHOWN
from services.query.operators.funnel.aggregates import (
    DayCounts,
    FunnelAggregates,
    ValueCounts,
    Values,
)
from services.query.operators.funnel.response import assemble

FRIDAY = 20_000 - 20_000 % 7 + 1  # days from 1970, which began on a Thursday


def definition(*steps: Step, breakdown: Breakdown | None = None) -> FunnelDefinition:
    return FunnelDefinition(
        project_id="shop",
        id="f",
        version=1,
        created_at=0,
        updated_at=0,
        funnel=Funnel(steps=steps or (Step("a"), Step("b")), breakdown=breakdown),
    )


def day(*reached: int, values: Values | None = None) -> DayCounts:
    times = [sketch_of(np.full(persons, 1_000 * step)) for step, persons in enumerate(reached)]
    return DayCounts(list(reached), times, [2 * persons for persons in reached], values or {})


def counted(
    total: list[int], days: dict[int, DayCounts] | None = None, **more: Any
) -> FunnelAggregates:
    return FunnelAggregates(
        total, days or {}, late_dropped=0, updated_at=None, positions={}, **more
    )


def test_days_of_a_week_are_added_up() -> None:
    days = {
        FRIDAY: day(3, 1, values={'"x"': ValueCounts([3, 1], [])}),
        FRIDAY + 1: day(
            1, 1, values={'"x"': ValueCounts([1, 1], []), "2": ValueCounts([1, 0], [])}
        ),
        FRIDAY + 3: day(5, 0),
    }
    found = assemble(definition(), "stream", counted([9, 2], days), period="week").days
    monday = datetime.date(1970, 1, 1) + datetime.timedelta(days=FRIDAY - 4)
    assert [one.day for one in found] == [monday, monday + datetime.timedelta(days=7)]
    sundays = replace(definition(), funnel=replace(definition().funnel, week_start="sunday"))
    by_sunday = assemble(sundays, "stream", counted([9, 2], days), period="week").days
    sunday = monday - datetime.timedelta(days=1)
    assert [one.day for one in by_sunday] == [sunday, sunday + datetime.timedelta(days=7)]
    assert [step.reached for one in by_sunday for step in one.steps] == [4, 2, 5, 0]
    assert [step.reached for step in found[0].steps] == [4, 2]
    assert [step.entries for step in found[0].steps] == [8, 4]
    assert [step.mean_ms for step in found[0].steps] == [0, 1_000]
    month = assemble(definition(), "stream", counted([9, 2], days), period="month").days
    assert [step.reached for step in month[0].steps] == [9, 2]


def test_the_values_that_most_persons_entered_with_are_shown_and_the_rest_is_other() -> None:
    values: dict[str | None, ValueCounts] = {
        str(number): ValueCounts([10 + number, 1], []) for number in range(MAX_SHOWN + 2)
    }
    values |= {"null": ValueCounts([100, 5], []), None: ValueCounts([7, 7], [])}
    days = {FRIDAY: day(1, 0, values={"0": ValueCounts([1, 0], []), "3": ValueCounts([1, 0], [])})}
    found = assemble(definition(), "stream", counted([9, 2], days, values=values))
    shown = found.totals.breakdown
    assert [one.value for one in shown] == [None, *range(MAX_SHOWN + 1, 2, -1), None]
    assert [one.other for one in shown] == [False] * MAX_SHOWN + [True]
    assert [step.reached for step in shown[-1].steps] == [10 + 11 + 12 + 7, 3 + 7]
    of_day = found.days[0].breakdown
    assert [(one.value, one.other) for one in of_day] == [(3, False), (None, True)]


def test_values_that_as_many_entered_with_are_shown_in_the_order_of_their_text() -> None:
    values: dict[str | None, ValueCounts] = {
        '"b"': ValueCounts([1, 0], []),
        '"a"': ValueCounts([1, 0], []),
        "true": ValueCounts([1, 0], []),
        "1.5": ValueCounts([1, 0], []),
        '"gone"': ValueCounts([0, 0], []),
    }
    shown = assemble(definition(), "stream", counted([4, 0], values=values)).totals.breakdown
    assert [one.value for one in shown] == [1.5, "a", "b", True]


def test_conversion_is_from_the_last_step_that_is_not_optional() -> None:
    funnel = definition(Step("a"), Step("b", optional=True), Step("c"))
    steps = assemble(funnel, "stream", counted([8, 2, 4])).totals.steps
    assert [step.conversion_from_previous for step in steps] == [1.0, 0.25, 0.5]
    assert [step.entries for step in steps] == [None] * 3


def test_figures_by_value_say_whether_they_are_estimates() -> None:
    funnel = definition(breakdown=Breakdown("plan"))
    exact = json.loads(msgspec.json.encode(assemble(funnel, "stream", counted([4, 0]))))
    assert "approximate" not in exact
    estimated = counted([4, 0])._replace(values_error=3)
    shown = json.loads(msgspec.json.encode(assemble(funnel, "stream", estimated)))
    assert (shown["approximate"], shown["error"]) == (True, 3)
