"""The figures of a trends query, read from its result."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from schemas.queries.formula import Figure
from schemas.queries.trends import TrendSeries, TrendsQuery
from services.query.clickhouse.queries import QueryResult
from services.query.queries.trends.sql import COLUMNS_OF_SERIES, Label


class Measured(NamedTuple):
    """A figure, and how many events had no number to measure (None if none is read)."""

    value: Figure
    unmeasured: int | None


class Place(NamedTuple):
    """What a row of the result is about.

    `begin` is that of its interval (ms), None for the whole range.
    """

    is_now: bool
    label: Label
    begin: int | None


Figures = dict[Place, list[Measured]]


def read_figures(query: TrendsQuery, shown: Sequence[Label], result: QueryResult) -> Figures:
    """Read the result of a `trends_select`: the figures of the series, by what they are about."""
    labels = [(), *shown]
    found: Figures = {}
    for row in zip(*result.columns, strict=True):
        of_slots, of_labels, of_periods, is_now, begin, number, *parts = row
        if of_labels or of_periods:
            continue
        place = Place(bool(is_now), labels[int(number)], None if of_slots else int(begin))
        found[place] = [
            measured(series, parts[COLUMNS_OF_SERIES * at :][:COLUMNS_OF_SERIES])
            for at, series in enumerate(query.series)
        ]
    return found


def nothing(query: TrendsQuery) -> list[Measured]:
    """Return the figures of no events."""
    return [measured(series, (0, 0, 0)) for series in query.series]


def measured(series: TrendSeries, parts: Sequence[Any]) -> Measured:
    """Return a series' figure from its columns of one row."""
    match series.measure:
        case "events" | "persons":
            return Measured(int(parts[0]), None)
        case "events_per_person":
            return Measured(parts[0] / parts[1] if parts[1] else None, None)
    value, count, unmeasured = parts
    count, unmeasured = int(count), int(unmeasured)
    if series.measure == "sum":
        return Measured(float(value or 0), unmeasured)
    if not count:
        return Measured(None, unmeasured)
    return Measured(float(value) / (count if series.measure == "average" else 1), unmeasured)
