"""Trends: figures of events over time, in intervals of the project's time zone."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.conditions import PropertyName
from schemas.definitions import EventName, Id, Text
from schemas.errors import InvalidRequest
from schemas.queries.filters import (
    PersonAt,
    QueryFilters,
    Reference,
    check_filters,
    references,
)
from schemas.queries.formula import FormulaText, check_formula
from schemas.queries.query import Query, query_spec

MAX_SERIES: Final = 10
MAX_INTERVALS: Final = 2_000
DEFAULT_INTERVALS: Final = 30
LETTERS: Final = "ABCDEFGHIJ"

Interval = Literal["minute", "hour", "day", "week", "month"]
TrendMeasure = Literal[
    "events", "persons", "events_per_person", "sum", "average", "minimum", "maximum", "percentile"
]
COUNTS: Final = frozenset({"events", "persons", "events_per_person"})


class TrendSeries(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A figure of the events that have the name `event`, if it is set, and pass `where`.

    - `events`: how many there are. `persons`: how many persons have one. `events_per_person`: the
      first divided by the second.
    - `sum`, `average`, `minimum`, `maximum`, `percentile` of a numeric `property`; a percentile is
      the least value that `percentile` percent of the values do not exceed. A number is a JSON
      number, read as a 64-bit float; with `text_numbers`, also text that spells one, such as
      `"12.50"`. Events without a number count as `unmeasured`.

    A figure of no values is null, except for `events`, `persons` and `sum`, which are 0.
    """

    event: EventName | None = None
    where: QueryFilters = ()
    measure: TrendMeasure = "events"
    property: PropertyName | None = None
    percentile: Annotated[float, Meta(gt=0, lt=100)] | None = None
    text_numbers: bool = False
    name: Text = ""


class TrendFormula(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A figure worked out from those of the series, such as `A / B`.

    `A` is the first series. Accepted are letters, numbers, parentheses and `+ - * /`. The result is
    null where a figure is null and where the divisor is 0. That of the whole range is worked out
    from the figures of the whole range.
    """

    formula: FormulaText
    name: Text = ""


class BreakdownBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a breakdown is by, one of three.

    `property` is a property of the event, `person` one that the event's person has now or, with
    `at` `event`, had at the event, and `segment` whether the person is in that segment now.
    """

    property: PropertyName | None = None
    person: PropertyName | None = None
    at: PersonAt = "now"
    segment: Id | None = None


class TrendsQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Figures of events over time: one for each interval of each series, and of the whole range.

    `interval` is a minute, an hour, a day, a week or a month of the time zone. Without `from`, the
    range has the last `last` intervals (30 by default), including the present one. It may have
    2,000 intervals. `compare` adds the figures of as many intervals directly before the range.

    `breakdown` is by up to three values. The `top` values for which the first series has the
    highest figures over the whole range have figures of their own, and the others have common ones
    (`other`); equal figures are in the order of the values.
    """

    series: Annotated[tuple[TrendSeries, ...], Meta(min_length=1, max_length=MAX_SERIES)]
    formulas: Annotated[tuple[TrendFormula, ...], Meta(max_length=MAX_SERIES)] = ()
    breakdown: Annotated[tuple[BreakdownBy, ...], Meta(max_length=3)] = ()
    top: Annotated[int, Meta(ge=1, le=100)] = 10
    interval: Interval = "day"
    last: Annotated[int, Meta(ge=1, le=MAX_INTERVALS)] | None = None
    compare: bool = False

    def check(self) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest`."""
        super().check()
        for place, series in enumerate(self.series):
            _check_series(series, f"series[{place}]")
        letters = LETTERS[: len(self.series)]
        for place, formula in enumerate(self.formulas):
            check_formula(formula.formula, letters, f"formulas[{place}].formula")
        for place, by in enumerate(self.breakdown):
            check_breakdown(by, f"breakdown[{place}]")

    def references(self) -> Iterator[Reference]:
        """Yield the segments that the query refers to."""
        yield from super().references()
        for place, series in enumerate(self.series):
            yield from references(series.where, f"series[{place}].where")
        for place, by in enumerate(self.breakdown):
            if by.segment is not None:
                yield Reference(by.segment, f"breakdown[{place}].segment")


def check_breakdown(by: BreakdownBy, path: str) -> None:
    """Refuse a breakdown that is by nothing, or by more than one; raises `InvalidRequest`."""
    if sum(one is not None for one in (by.property, by.person, by.segment)) != 1:
        message = "must have exactly one of `property`, `person` and `segment`"
        raise InvalidRequest(message, path)
    if by.at != "now" and by.person is None:
        raise InvalidRequest("must be set with `person` only", f"{path}.at")


def _check_series(series: TrendSeries, path: str) -> None:
    check_filters(series.where, f"{path}.where")
    measure = series.measure
    if measure in COUNTS and series.property is not None:
        raise InvalidRequest(f"must not be set: `{measure}` reads no property", f"{path}.property")
    if measure not in COUNTS and series.property is None:
        message = f"must be the name of a property for `{measure}`"
        raise InvalidRequest(message, f"{path}.property")
    if (measure == "percentile") != (series.percentile is not None):
        message = "must be set with the measure `percentile`, and with no other"
        raise InvalidRequest(message, f"{path}.percentile")
    if abs(round(10 * (series.percentile or 0)) - 10 * (series.percentile or 0)) > 1e-9:
        raise InvalidRequest("must be a multiple of 0.1", f"{path}.percentile")
    if measure in COUNTS and series.text_numbers:
        message = f"must not be set: `{measure}` reads no property"
        raise InvalidRequest(message, f"{path}.text_numbers")


TRENDS: Final = query_spec("trends", TrendsQuery, "Figures of events over time")
