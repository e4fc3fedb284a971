"""Metrics by their definition: folds of plain Python over whole lists of events."""

import datetime
import math
import zoneinfo
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

KEPT = 1_440
DAY_S = 86_400
_EPOCH = datetime.date(1970, 1, 1)


class Act(NamedTuple):
    """What a person did: an instant (ms), the event's name, and its property `p` if it has one."""

    person: int
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
    active: defaultdict[int, set[int]] = defaultdict(set)
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
