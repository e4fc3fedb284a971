"""What a metric's figures must be: folds of plain Python over whole lists of events."""

import datetime
import math
import zoneinfo
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tests.oracles.conditions import value_of
from tests.oracles.events import Event, Json, selected

KEPT = 1_440
WINDOWS = {60: (1, 5, 30), 3_600: (1, 6, 24), 86_400: (1, 7, 30)}  # of persons, in buckets
ACTIVE_S = (60, 300, 1_800)
PERMILLES = (500, 900, 950, 990)
DAY_S = 86_400
_EPOCH = datetime.date(1970, 1, 1)


class Act(NamedTuple):
    """What a person did: an instant (ms), the event's name, and its property `p` if it has one."""

    person: Any
    at: int
    event: str = "a"
    value: Any = None


class Measured(NamedTuple):
    """What is in a bucket, or a window: the numbers in it, and how often each value is."""

    events: int
    numbers: list[float]
    values: Counter[tuple[str, Any]]
    names: Counter[str]


def bucket_of(at: int, bucket_s: int, timezone: str) -> int:
    """The number of the bucket that an instant lies in, as a calendar on the wall says of days."""
    if bucket_s < DAY_S:
        return at // (1_000 * bucket_s)
    local = datetime.datetime.fromtimestamp(at // 1_000, zoneinfo.ZoneInfo(timezone))
    return (local.date() - _EPOCH).days


class InTime(NamedTuple):
    """The events that count, and how many come too late."""

    acts: list[Act]
    late: int


def in_time(acts: Iterable[Act], bucket_s: int, timezone: str) -> InTime:
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
    acts: Iterable[Act], bucket_s: int, timezone: str, window: int = 1
) -> dict[int, Measured]:
    """Measure, for each bucket, the window of so many of them that ends with it."""
    found: defaultdict[int, Measured] = defaultdict(lambda: Measured(0, [], Counter(), Counter()))
    for act in acts:
        own = bucket_of(act.at, bucket_s, timezone)
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
    acts: Iterable[Act], bucket_s: int, timezone: str, windows: Sequence[int]
) -> dict[int, list[int]]:
    """How many persons were active in each of the windows that end with each bucket."""
    active: defaultdict[int, set[Any]] = defaultdict(set)
    for act in acts:
        active[bucket_of(act.at, bucket_s, timezone)].add(act.person)
    endings = {number + later for number in active for later in range(max(windows))}
    return {
        ending: [
            len(set().union(*(active.get(ending - n, set()) for n in range(window))))
            for window in windows
        ]
        for ending in endings
    }


def active(acts: Iterable[Act], as_of: int, seconds: int) -> int:
    """How many persons were active within so many seconds."""
    since = as_of // 1_000 - seconds
    return len({act.person for act in acts if act.at // 1_000 > since})


class Figure(NamedTuple):
    """What is measured of a bucket's events; what the metric does not ask for is empty.

    `top` is how often each value is, or each name. `persons` are active in the windows that end
    with the bucket.
    """

    events: int = 0
    unmeasured: int = 0
    sum: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    percentiles: tuple[float, ...] = ()
    top: frozenset[tuple[Any, int]] = frozenset()
    persons: tuple[int, ...] = ()


class Figures(NamedTuple):
    """Figures by bucket, and in metrics of persons, who was active within `ACTIVE_S` up to now."""

    buckets: dict[int, Figure]
    active: tuple[int, ...] = ()


def figures(metric: Json, events: Sequence[Event], now: int) -> Figures:
    """Return the figures of a metric, as its body reads in JSON, of events that are not late.

    They are those of the newest `KEPT` buckets.
    """
    bucket_s, timezone = metric.get("bucket_s", 60), metric.get("timezone", "UTC")
    acts = [
        Act(event.person, event.at, event.event, value_of(event.properties, metric["property"]))
        if "property" in metric
        else Act(event.person, event.at, event.event)
        for event in events
        if selected(metric.get("of", {}), event)
    ]
    if metric["measure"] == "persons":
        counted = persons(acts, bucket_s, timezone, WINDOWS[bucket_s])
        active_now = tuple(active(acts, now, seconds) for seconds in ACTIVE_S)
        newest = max((bucket_of(act.at, bucket_s, timezone) for act in acts), default=0)
        return Figures(
            {
                number: Figure(persons=tuple(counts))
                for number, counts in counted.items()
                if number > newest - KEPT
            },
            active_now,
        )
    measured = measure(acts, bucket_s, timezone)
    kept = max(measured, default=0) - KEPT
    return Figures(
        {number: _figure(metric, found) for number, found in measured.items() if number > kept}
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
