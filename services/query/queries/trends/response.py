"""What the API answers to a trends query."""

import json
import math
from collections.abc import Iterator, Sequence

import msgspec

from schemas.queries.formula import Figure, evaluate
from schemas.queries.trends import LETTERS, Interval, TrendsQuery
from schemas.value_tokens import to_json
from services.query.queries.contract import QueryContext
from services.query.queries.intervals import Slot
from services.query.queries.response import IntervalResponse, QueryResponse, interval_response
from services.query.queries.trends.figures import Figures, Measured, Place, nothing
from services.query.queries.trends.plan import TrendsPlan
from services.query.queries.trends.sql import Label

BreakdownValue = bool | int | float | str | None


class TrendResponse(msgspec.Struct, frozen=True):
    """The figures of a series or a formula, for one value of the breakdown if there is one.

    `series` is the letter of a series or the text of a formula, and `name` its name. `breakdown`
    has the values in the order of the request's, null for those that are not set; it is empty
    without a breakdown, and for the sum of all values that are not shown, which `other` marks.

    `values` has a figure for each interval, and `total` is that of the whole range. They are null
    where there is nothing to measure. `unmeasured` is how many events of the whole range had no
    number; null for counts and formulas.
    """

    series: str
    name: str
    breakdown: list[BreakdownValue]
    other: bool
    values: list[int | float | None]
    total: int | float | None
    unmeasured: int | None


class TrendsPeriodResponse(msgspec.Struct, frozen=True):
    """The same trends in the period before, interval by interval.

    An interval is `incomplete` if it is counted in part only, because the interval that it is
    compared to is.
    """

    intervals: list[IntervalResponse]
    trends: list[TrendResponse]


class TrendsResponse(QueryResponse, frozen=True, kw_only=True):
    """Figures over time; `previous` is null unless the query compares.

    `trends` are those of the series, then those of the formulas. With a breakdown, each has the
    values that are shown in the order of the first series' totals, the highest first.
    """

    interval: Interval
    timezone: str
    intervals: list[IntervalResponse]
    trends: list[TrendResponse]
    previous: TrendsPeriodResponse | None


def assemble(plan: TrendsPlan, figures: Figures, context: QueryContext) -> TrendsResponse:
    """Return the response for the figures that were found."""
    query = plan.query
    labels = _labels(query, figures)
    intervals = [interval_response(slot, context.is_complete(slot.end)) for slot in plan.slots]
    previous = None
    if plan.previous:
        previous = TrendsPeriodResponse(
            [interval_response(slot, context.is_complete(slot.end)) for slot in plan.previous],
            list(_trends(query, plan.previous, figures, labels, is_now=False)),
        )
    return TrendsResponse(
        **context.parts(incomplete=any(one.incomplete for one in intervals)),
        interval=query.interval,
        timezone=query.timezone,
        intervals=intervals,
        trends=list(_trends(query, plan.slots, figures, labels, is_now=True)),
        previous=previous,
    )


def _labels(query: TrendsQuery, figures: Figures) -> list[Label]:
    """Return the labels in the order in which they are shown; all other values come last."""
    if not query.breakdown:
        return [()]
    present = {place.label for place in figures}
    totals = {label: figures.get(Place(True, label, None)) for label in present}

    def rank(label: Label) -> tuple[bool, float, Label]:
        measured = totals[label]
        total = measured[0].value if measured else None
        return not label, -(-math.inf if total is None else total), label

    return sorted(present, key=rank)


def _trends(
    query: TrendsQuery,
    slots: Sequence[Slot],
    figures: Figures,
    labels: list[Label],
    *,
    is_now: bool,
) -> Iterator[TrendResponse]:
    empty = nothing(query)

    def of(label: Label) -> tuple[list[list[Measured]], list[Measured]]:
        by_slot = [figures.get(Place(is_now, label, slot.begin), empty) for slot in slots]
        return by_slot, figures.get(Place(is_now, label, None), empty)

    for at, series in enumerate(query.series):
        for label in labels:
            by_slot, whole = of(label)
            yield TrendResponse(
                LETTERS[at],
                series.name or _described(query, at),
                _shown(label),
                bool(query.breakdown) and not label,
                [measured[at].value for measured in by_slot],
                whole[at].value,
                whole[at].unmeasured,
            )
    for formula in query.formulas:
        for label in labels:
            by_slot, whole = of(label)
            yield TrendResponse(
                formula.formula,
                formula.name or formula.formula,
                _shown(label),
                bool(query.breakdown) and not label,
                [_worked_out(formula.formula, measured) for measured in by_slot],
                _worked_out(formula.formula, whole),
                None,
            )


def _worked_out(formula: str, measured: list[Measured]) -> Figure:
    return evaluate(formula, dict(zip(LETTERS, (one.value for one in measured), strict=False)))


def _described(query: TrendsQuery, at: int) -> str:
    """Return a name for a series without one."""
    series = query.series[at]
    of = f" of {series.property}" if series.property is not None else ""
    percentile = f" {series.percentile:g}" if series.percentile is not None else ""
    return f"{series.event or 'any event'}: {series.measure}{percentile}{of}"


def _shown(label: Label) -> list[BreakdownValue]:
    return [json.loads(to_json(token)) if token else None for token in label]
