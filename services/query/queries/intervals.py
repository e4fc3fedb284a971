"""The intervals of a query: minutes, hours, days, weeks or months of a time zone.

Days, weeks and months begin at local midnight. Hours begin when the local clock shows a whole hour:
in a time zone whose offset is not a whole number of hours, these are not the hours of UTC. The hour
in which clocks are changed by half an hour may be longer or shorter.
"""

import datetime
import zoneinfo
from bisect import bisect_right
from itertools import pairwise
from typing import Final, NamedTuple

from schemas.errors import InvalidRequest
from schemas.queries.trends import MAX_INTERVALS, Interval
from schemas.time.calendar import Period, WeekStart, begin_of, find_zone, midnight, number_of
from services.query.queries.ranges import TimeRange

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
# Of an interval, at least.
_LEAST_MS: Final[dict[Interval, int]] = {
    "minute": _MINUTE_MS,
    "hour": _HOUR_MS // 2,
    "day": 23 * _HOUR_MS,
    "week": 7 * _DAY_MS - _HOUR_MS,
    "month": 28 * _DAY_MS - _HOUR_MS,
}
_PERIODS: Final[dict[Interval, Period]] = {"day": "day", "week": "week", "month": "month"}


class Slot(NamedTuple):
    """An interval: it lasts from `begin` to `end` (ms); a query counts from `first` to `last`.

    They differ if the query's range begins or ends within the interval.
    """

    begin: int
    end: int
    first: int
    last: int

    @property
    def is_cut(self) -> bool:
        """Whether the query counts a part of the interval only."""
        return (self.begin, self.end) != (self.first, self.last)


class Intervals:
    """The intervals of one length in one time zone."""

    def __init__(self, interval: Interval, timezone: str, week_start: WeekStart) -> None:
        self._interval = interval
        self._zone = find_zone(timezone)
        self._week_start = week_start

    def slots(self, span: TimeRange, now: int) -> list[Slot]:
        """Return the intervals of a range that have begun by `now`; one that begins then has not.

        Raises:
            InvalidRequest: there are more than `MAX_INTERVALS`.
        """
        end = min(span.end, max(now, span.begin + 1))
        if (end - span.begin) // _LEAST_MS[self._interval] > 2 * MAX_INTERVALS:
            self._refuse()
        begins = self._begins(span.begin, end)
        if len(begins) - 1 > MAX_INTERVALS:
            self._refuse()
        return [
            Slot(begin, after, max(begin, span.begin), min(after, span.end))
            for begin, after in pairwise(begins)
        ]

    def last(self, count: int, end: int) -> int:
        """Return when (ms) the first of the last `count` intervals before `end` begins."""
        return self._before(end, count)[0]

    def previous(self, slots: list[Slot], now: int) -> list[Slot]:
        """Return as many intervals directly before `slots`, each counted for as long.

        The n-th interval is counted from as long after its beginning, and until as long after it,
        as the n-th of `slots` is by `now`, if it is that long.
        """
        begins = self._before(slots[0].begin, len(slots))
        found = []
        for slot, begin, after in zip(slots, begins, [*begins[1:], slots[0].begin], strict=True):
            first = min(begin + slot.first - slot.begin, after)
            last = after
            if min(slot.last, now) < slot.end:
                last = min(begin + min(slot.last, now) - slot.begin, after)
            found.append(Slot(begin, after, first, max(first, last)))
        return found

    def _refuse(self) -> None:
        message = (
            f"must be longer: the range would have more than {MAX_INTERVALS} intervals; or ask for "
            "a shorter range"
        )
        raise InvalidRequest(message, "interval")

    def _before(self, end: int, count: int) -> list[int]:
        """Return the beginnings of the last `count` intervals that begin before `end`, in order."""
        margin = (count + 2) * _MOST_MS[self._interval]
        begins = [begin for begin in self._begins(end - margin, end) if begin < end]
        return begins[-count:]

    def _begins(self, begin: int, end: int) -> list[int]:
        """Return when the intervals begin that overlap a range, and when the one after does."""
        match self._interval:
            case "minute":
                first = begin // _MINUTE_MS * _MINUTE_MS
                return [*range(first, end, _MINUTE_MS), -(-end // _MINUTE_MS) * _MINUTE_MS]
            case "hour":
                return self._hours(begin, end)
        return self._periods(_PERIODS[self._interval], begin, end)

    def _hours(self, begin: int, end: int) -> list[int]:
        begins = [begin - _DAY_MS]  # which need not be a whole hour; the next one is
        while begins[-1] < end:
            local = _local(begins[-1], self._zone)
            into = local.minute * _MINUTE_MS + local.second * 1_000 + local.microsecond // 1_000
            begins.append(begins[-1] + _HOUR_MS - into)
        return begins[bisect_right(begins, begin) - 1 :]

    def _periods(self, period: Period, begin: int, end: int) -> list[int]:
        number = number_of(period, _local(begin, self._zone).date(), self._week_start) - 1
        begins = [self._begin(period, number)]
        while begins[-1] < end:
            number += 1
            if (following := self._begin(period, number)) > begins[-1]:  # a day may be left out
                begins.append(following)
        return begins[bisect_right(begins, begin) - 1 :]

    def _begin(self, period: Period, number: int) -> int:
        return midnight(begin_of(period, number, self._week_start), self._zone)


# Of an interval, at most.
_MOST_MS: Final[dict[Interval, int]] = {
    "minute": _MINUTE_MS,
    "hour": _HOUR_MS + _HOUR_MS // 2,
    "day": 26 * _HOUR_MS,
    "week": 7 * _DAY_MS + 2 * _HOUR_MS,
    "month": 31 * _DAY_MS + 2 * _HOUR_MS,
}


def _local(ms: int, zone: zoneinfo.ZoneInfo) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms / 1_000, zone)
