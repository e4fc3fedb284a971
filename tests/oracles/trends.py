"""Figures of events over time by their definition, from the JSON of a query and a list of events.

An interval is known by its local beginning. What is asked of segments and of persons' properties is
given by whoever calls.
"""

import datetime
import math
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.oracles.events import Event, Json, selected
from tests.oracles.values import NOT_SET, name_of

STEP_MS = 900_000
OTHER = ("other",)


class Trend(NamedTuple):
    """The figure of each interval, and that of the whole range."""

    values: list[float | None]
    total: float | None


def interval_of(at: int, interval: str, timezone: str, week_start: str = "monday") -> int:
    """When the interval of an instant begins (ms)."""
    zone = zoneinfo.ZoneInfo(timezone)
    local = datetime.datetime.fromtimestamp(at / 1_000, zone)
    if interval in {"minute", "hour"}:
        into = local.second * 1_000 + local.microsecond // 1_000
        return at - into - (local.minute * 60_000 if interval == "hour" else 0)
    day = local.date()
    if interval == "week":
        day -= datetime.timedelta(days=(day.weekday() + (week_start == "sunday")) % 7)
    if interval == "month":
        day = day.replace(day=1)
    midnight = datetime.datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(midnight.timestamp()) * 1_000


def intervals(begin: int, end: int, asked: Json) -> list[int]:
    """When the intervals begin (ms) that overlap the times from `begin` to `end`, which is out."""
    step = 60_000 if asked["interval"] == "minute" else STEP_MS
    instants = [*range(begin, end, step), end - 1]
    return sorted({_begin(at, asked) for at in instants})


def before(first: int, count: int, asked: Json) -> list[int]:
    """When the last intervals begin that lie before `first`, in order."""
    found: list[int] = []
    at = first
    while len(found) < count:
        at = _begin(at - 1, asked)
        found.insert(0, at)
    return found


def trends(
    asked: Json, events: Sequence[Event], spans: Sequence[tuple[int, int]]
) -> dict[tuple[str, tuple[str, ...]], Trend]:
    """The trend of each series and formula, by the names of the breakdown's values.

    `spans` are the times in which each interval is counted; they are those of the query's present
    range, if the query is not to be compared.
    """
    return _trends(asked, events, spans, shown_of(asked, events, spans))


def compared(
    asked: Json,
    events: Sequence[Event],
    spans: Sequence[tuple[int, int]],
    previous: Sequence[tuple[int, int]],
) -> dict[tuple[str, tuple[str, ...]], Trend]:
    """The same of the intervals before, by the values that the present range shows."""
    return _trends(asked, events, previous, shown_of(asked, events, spans))


def shown_of(
    asked: Json, events: Sequence[Event], spans: Sequence[tuple[int, int]]
) -> list[tuple[str, ...]]:
    """The values with the highest figures of the first series; the first names of equal ones."""
    first = asked["series"][0]
    found = [one for one in _within(events, spans) if selected(first, one)]
    by_label: dict[tuple[str, ...], list[Event]] = {}
    for one in found:
        by_label.setdefault(_label(asked, one), []).append(one)
    ranked = []
    for label, its in by_label.items():
        figure = _figure(first, its)
        ranked.append((-(-math.inf if figure is None else figure), label))
    return [label for _, label in sorted(ranked)][: asked.get("top", 10)]


def _trends(
    asked: Json,
    events: Sequence[Event],
    spans: Sequence[tuple[int, int]],
    shown: list[tuple[str, ...]],
) -> dict[tuple[str, tuple[str, ...]], Trend]:
    letters = "ABCDEFGHIJ"
    found: dict[tuple[str, tuple[str, ...]], Trend] = {}

    def label_of(event: Event) -> tuple[str, ...]:
        label = _label(asked, event)
        return label if not label or label in shown else OTHER

    labels = {
        label_of(one)
        for one in _within(events, spans)
        if any(selected(series, one) for series in asked["series"])
    }
    for label in labels if asked.get("breakdown") else {()}:
        figures = []
        for letter, series in zip(letters, asked["series"], strict=False):
            its = [one for one in events if selected(series, one) and label_of(one) == label]
            values = [_figure(series, _within(its, [span])) for span in spans]
            figures.append(Trend(values, _figure(series, _within(its, spans))))
            found[letter, label] = figures[-1]
        for formula in asked.get("formulas", ()):
            per_interval = zip(*(trend.values for trend in figures), strict=True)
            found[formula["formula"], label] = Trend(
                [_work_out(formula["formula"], values) for values in per_interval],
                _work_out(formula["formula"], [trend.total for trend in figures]),
            )
    return found


def _label(asked: Json, event: Event) -> tuple[str, ...]:
    return tuple(
        name_of(event.properties.get(by["property"])) or NOT_SET
        for by in asked.get("breakdown", ())
    )


def _within(events: Sequence[Event], spans: Sequence[tuple[int, int]]) -> list[Event]:
    return [one for one in events if any(first <= one.at < last for first, last in spans)]


def _figure(series: Json, events: Sequence[Event]) -> float | None:
    persons = {one.person for one in events}
    numbers = sorted(
        number
        for one in events
        if (number := _number(one.properties.get(series.get("property", "")), series)) is not None
    )
    match series.get("measure", "events"):
        case "events":
            return len(events)
        case "persons":
            return len(persons)
        case "events_per_person":
            return len(events) / len(persons) if persons else None
        case "sum":
            return math.fsum(numbers)
    if not numbers:
        return None
    match series["measure"]:
        case "average":
            return math.fsum(numbers) / len(numbers)
        case "minimum":
            return numbers[0]
        case "maximum":
            return numbers[-1]
    permille = round(series["percentile"] * 10)
    place = -(-len(numbers) * permille // 1_000)
    return numbers[int(place) - 1]


def _number(value: Any, series: Mapping[str, Any]) -> float | None:
    if isinstance(value, str) and series.get("text_numbers"):
        try:
            return float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _work_out(formula: str, figures: Sequence[float | None]) -> float | None:
    """Only the forms that the tests have: `A / B` and `A - B`."""
    left, right = figures[0], figures[1]
    if left is None or right is None:
        return None
    if formula == "A - B":
        return left - right
    return left / right if right else None


def _begin(at: int, asked: Json) -> int:
    return interval_of(at, asked["interval"], asked["timezone"], asked.get("week_start", "monday"))
