"""What a metric's figures must be: folds of plain Python over whole lists of events."""

import datetime
import math
import zoneinfo
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.oracles.conditions import value_of
from tests.oracles.events import Event, Json, selected
from tests.oracles.values import name_of, rank

KEPT = 1_440
# Of persons, in buckets.
WINDOWS: dict[int | str, tuple[int, ...]] = {
    60: (1, 5, 30),
    3_600: (1, 6, 24),
    86_400: (1, 7, 30),
    "week": (1, 4, 12),
    "month": (1, 3, 12),
}
ACTIVE_S = (60, 300, 1_800)
PERMILLES = (500, 900, 950, 990)
DAY_S = 86_400
_EPOCH = datetime.date(1970, 1, 1)
_FIRST_WEEK = {"monday": datetime.date(1969, 12, 29), "sunday": datetime.date(1969, 12, 28)}


class Act(NamedTuple):
    """What a person did: an instant (ms), the event's name, and its property `p` if it has one.

    `by` is the value that a breakdown is by.
    """

    person: Any
    at: int
    event: str = "a"
    value: Any = None
    by: Any = None


class Measured(NamedTuple):
    """What is in a bucket, or a window: the numbers in it, and how often each value is."""

    events: int
    numbers: list[float]
    values: Counter[tuple[str, Any]]
    names: Counter[str]


def bucket_of(at: int, bucket_s: int | str, timezone: str, week_start: str = "monday") -> int:
    """The number of the bucket that an instant lies in, as a calendar on the wall says of days.

    `bucket_s` may be `week` or `month`, too.
    """
    if isinstance(bucket_s, int) and bucket_s < DAY_S:
        return at // (1_000 * bucket_s)
    local = datetime.datetime.fromtimestamp(at // 1_000, zoneinfo.ZoneInfo(timezone)).date()
    match bucket_s:
        case "week":
            return (local - _FIRST_WEEK[week_start]).days // 7
        case "month":
            return 12 * (local.year - 1970) + local.month - 1
    return (local - _EPOCH).days


class InTime(NamedTuple):
    """The events that count, and how many come too late."""

    acts: list[Act]
    late: int


def in_time(acts: Iterable[Act], bucket_s: int | str, timezone: str) -> InTime:
    """Leave out what comes when its bucket is not kept, and what is not kept in the end."""
    newest = -math.inf
    counted: list[Act] = []
    late = 0
    for act in acts:
        newest = max(newest, act.at)
        own = bucket_of(act.at, bucket_s, timezone)
        last = bucket_of(int(newest), bucket_s, timezone)
        if own <= last - KEPT:
            late += 1
        else:
            counted.append(act)
    end = bucket_of(int(newest), bucket_s, timezone) if counted else 0
    kept = [act for act in counted if bucket_of(act.at, bucket_s, timezone) > end - KEPT]
    return InTime(kept, late)


def measure(
    acts: Iterable[Act],
    bucket_s: int | str,
    timezone: str,
    window: int = 1,
    week_start: str = "monday",
) -> dict[int, Measured]:
    """Measure, for each bucket, the window of so many of them that ends with it."""
    found: defaultdict[int, Measured] = defaultdict(lambda: Measured(0, [], Counter(), Counter()))
    for act in acts:
        own = bucket_of(act.at, bucket_s, timezone, week_start)
        for ending in range(own, own + window):
            events, numbers, values, names = found[ending]
            if isinstance(act.value, int | float) and not isinstance(act.value, bool):
                numbers.append(float(act.value))
            if isinstance(act.value, bool | int | float | str):
                value = act.value[:200] if isinstance(act.value, str) else act.value
                values[_type_of(value), value] += 1
            names[act.event] += 1
            found[ending] = Measured(events + 1, numbers, values, names)
    return dict(found)


def _type_of(value: Any) -> str:
    return "bool" if isinstance(value, bool) else "str" if isinstance(value, str) else "number"


def percentile(numbers: Sequence[float], permille: int) -> float:
    """The least of the numbers that at least so many of a thousand do not exceed."""
    return sorted(numbers)[-(-len(numbers) * permille // 1_000) - 1]


def persons(
    acts: Iterable[Act],
    bucket_s: int | str,
    timezone: str,
    windows: Sequence[int],
    week_start: str = "monday",
) -> dict[int, list[int]]:
    """How many persons were active in each of the windows that end with each bucket."""
    active: defaultdict[int, set[Any]] = defaultdict(set)
    for act in acts:
        active[bucket_of(act.at, bucket_s, timezone, week_start)].add(act.person)
    endings = {number + later for number in active for later in range(max(windows))}
    return {
        ending: [
            len(set().union(*(active.get(ending - n, set()) for n in range(window))))
            for window in windows
        ]
        for ending in endings
    }


def persons_by_value(
    acts: Sequence[Act],
    bucket_s: int | str,
    timezone: str,
    windows: Sequence[int],
    week_start: str = "monday",
) -> dict[int, dict[str, list[int]]]:
    """The same for each value: a person counts for that of the last event in the window.

    Of several events at the same time, the one whose value comes last by `rank`.
    """
    found: dict[int, dict[str, list[int]]] = {}
    numbers = [bucket_of(act.at, bucket_s, timezone, week_start) for act in acts]
    for ending in {number + later for number in numbers for later in range(max(windows))}:
        counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(windows))
        for place, window in enumerate(windows):
            last: dict[Any, tuple[int, int, str]] = {}
            for act, number in zip(acts, numbers, strict=True):
                if ending - window < number <= ending:
                    of = act.at, rank([name_of(act.by)]), name_of(act.by)
                    last[act.person] = max(last.get(act.person, of), of)
            for _, _, value in last.values():
                counts[value][place] += 1
        found[ending] = dict(counts)
    return found


def active(acts: Iterable[Act], as_of: int, seconds: int) -> int:
    """How many persons were active within so many seconds."""
    since = as_of // 1_000 - seconds
    return len({act.person for act in acts if act.at // 1_000 > since})


class Figure(NamedTuple):
    """What is measured of a bucket's events; what the metric does not ask for is empty.

    `top` is how often each value is, or each name. `persons` are active in the windows that end
    with the bucket. `by_value` has the same for each value of a breakdown, by `name_of`.
    """

    events: int = 0
    unmeasured: int = 0
    sum: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    percentiles: tuple[float, ...] = ()
    top: frozenset[tuple[Any, int]] = frozenset()
    persons: tuple[int, ...] = ()
    by_value: Mapping[str, "Figure"] = MappingProxyType({})


class Figures(NamedTuple):
    """Figures by bucket, and in metrics of persons, who was active within `ACTIVE_S` up to now."""

    buckets: dict[int, Figure]
    active: tuple[int, ...] = ()


def figures(metric: Json, events: Sequence[Event], now: int) -> Figures:
    """Return the figures of a metric, as its body reads in JSON, of events that are not late.

    They are those of the newest `KEPT` buckets.
    """
    length = metric.get("interval", metric.get("bucket_s", 60))
    timezone, week_start = metric.get("timezone", "UTC"), metric.get("week_start", "monday")
    by = metric["breakdown"]["property"] if "breakdown" in metric else None
    acts = [
        Act(
            event.person,
            event.at,
            event.event,
            value_of(event.properties, metric["property"]) if "property" in metric else None,
            value_of(event.properties, by) if by else None,
        )
        for event in events
        if selected(metric.get("of", {}), event)
    ]
    newest = max((bucket_of(act.at, length, timezone, week_start) for act in acts), default=0)
    if metric["measure"] == "persons":
        windows = WINDOWS[length]
        counted = persons(acts, length, timezone, windows, week_start)
        valued = persons_by_value(acts, length, timezone, windows, week_start) if by else {}
        active_now = tuple(active(acts, now, seconds) for seconds in ACTIVE_S)
        return Figures(
            {
                number: Figure(
                    persons=tuple(counts),
                    by_value={
                        value: Figure(persons=tuple(of))
                        for value, of in valued.get(number, {}).items()
                    },
                )
                for number, counts in counted.items()
                if number > newest - KEPT
            },
            active_now,
        )

    def measured(some: Sequence[Act]) -> dict[int, Figure]:
        found = measure(some, length, timezone, 1, week_start)
        return {number: _figure(metric, of) for number, of in found.items()}

    kept = {number: of for number, of in measured(acts).items() if number > newest - KEPT}
    if by is None:
        return Figures(kept)
    valued_figures = {
        name: measured([act for act in acts if name_of(act.by) == name])
        for name in {name_of(act.by) for act in acts}
    }
    return Figures(
        {
            number: of._replace(
                by_value={
                    name: figures[number]
                    for name, figures in valued_figures.items()
                    if number in figures
                }
            )
            for number, of in kept.items()
        }
    )


def _figure(metric: Json, found: Measured) -> Figure:
    numbers = found.numbers
    match metric["measure"]:
        case "events":
            names = found.names.items() if metric.get("by_event") else ()
            return Figure(found.events, top=frozenset(names))
        case "top":
            top = frozenset(found.values.items())
            return Figure(found.events, found.events - found.values.total(), top=top)
    exact = Figure(
        found.events,
        found.events - len(numbers),
        math.fsum(numbers),
        min(numbers, default=None),
        max(numbers, default=None),
    )
    if metric["measure"] != "percentiles" or not numbers:
        return exact
    return exact._replace(
        percentiles=tuple(percentile(numbers, permille) for permille in PERMILLES)
    )
