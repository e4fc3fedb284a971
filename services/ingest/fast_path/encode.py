"""Encode the usual events of a request in Avro, and only those.

An event is usual if it is within all limits and written as clients nearly always write it: its id a
UUID in canonical text, its time ISO 8601 with a zone or whole milliseconds and plausible, its
objects in canonical form, small and flat. All other events need thought: these kernels skip them,
and `services.ingest.check` decides about them one by one. A test compares both for any events, so
that it makes no difference which one an event takes.

Days from a date: Howard Hinnant, https://howardhinnant.github.io/date_algorithms.html#days_from_civil
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.canonical_json import Scratch, is_canonical
from pipelines.columnar.jit import Bytes, Int, Int64s, kernel
from pipelines.columnar.memcpy import copy
from pipelines.columnar.varint import put, put_signed
from services.ingest.fast_path.columns import (
    ANONYMOUS_ID,
    COLUMNS,
    DISTINCT_ID,
    EVENT,
    EVENT_ID,
    ON_ARRIVAL,
    SESSION_ID,
    TEXT_COLUMNS,
    TIME,
    UNREAD,
)

# A record takes at most the bytes of its fields, of its distinct id once more, of `SharedParts`,
# and these.
OVERHEAD: Final = 64

_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999
_UUID_SIZE: Final = 36
_MIN_TIME_SIZE: Final = len("2025-11-01T10:00:00Z")
_ZONE_SIZE: Final = len("+00:00")
_EMPTY_OBJECT: Final = np.frombuffer(b"{}", np.uint8)


class SharedParts(NamedTuple):
    """The encoded bytes that all records of a request share."""

    key: Bytes  # in the key, before the distinct id
    header: Bytes  # before the event's id
    project: Bytes  # after the event's id
    times: Bytes  # when it was sent and received: after the event's own time
    arrival: Bytes  # when it was received: after the time of an event that has none of its own


class FastPathLimits(NamedTuple):
    """Bounds within which an event is usual."""

    max_name_chars: Int
    max_id_chars: Int
    max_object_bytes: Int
    max_depth: Int
    max_event_bytes: Int
    max_age_ms: Int
    max_future_ms: Int


@kernel
def write_records(
    data: Bytes,
    begins: Int64s,
    sizes: Int64s,
    times: Int64s,
    now: Int,
    shared: SharedParts,
    limits: FastPathLimits,
    scratch: Scratch,
    out: Bytes,
    splits: Int64s,
    ends: Int64s,
) -> None:
    """Write the records of the usual events into `out`, one after another.

    The events are `services.ingest.fast_path.columns.Columns`; `now` is the time of arrival.
    Record i is its key and then its value. The value begins at `splits[i]` and ends before
    `ends[i]`. The record of an event that needs thought is empty.
    """
    p = np.int64(0)
    for i in range(len(times)):
        time = _time(data, begins[i, TIME], sizes[i, TIME], times[i], now)
        splits[i] = p
        is_plausible = now - limits.max_age_ms <= time <= now + limits.max_future_ms
        if is_plausible and _is_usual(data, begins, sizes, i, limits, scratch):
            split = copy(out, p, shared.key, 0, len(shared.key))
            split = copy(out, split, data, begins[i, DISTINCT_ID], sizes[i, DISTINCT_ID])
            is_own = times[i] != ON_ARRIVAL or sizes[i, TIME] > 0
            end = _write_record(data, begins, sizes, i, time, is_own, shared, out, split)
            if end - split <= limits.max_event_bytes:
                splits[i] = split
                p = end
        ends[i] = p


@kernel
def _time(data: Bytes, begin: Int, size: Int, number: Int, now: Int) -> Int:
    time = now if number == ON_ARRIVAL else number
    if size > 0:
        time = _read_time(data, begin, size)
    return time if 0 <= time <= _LATEST_MS else UNREAD


@kernel
def _is_usual(
    data: Bytes,
    begins: Int64s,
    sizes: Int64s,
    i: Int,
    limits: FastPathLimits,
    scratch: Scratch,
) -> bool:
    """Return whether an event is usual, apart from its time and its size as a whole."""
    for column in range(TEXT_COLUMNS, COLUMNS):
        if sizes[i, column] > 0 and not is_canonical(
            data,
            begins[i, column],
            sizes[i, column],
            limits.max_object_bytes,
            limits.max_depth,
            scratch,
        ):
            return False
    return (
        _is_name(data, begins[i, EVENT], sizes[i, EVENT], limits.max_name_chars)
        and _is_name(data, begins[i, DISTINCT_ID], sizes[i, DISTINCT_ID], limits.max_id_chars)
        and _chars(data, begins[i, ANONYMOUS_ID], sizes[i, ANONYMOUS_ID]) <= limits.max_id_chars
        and _chars(data, begins[i, SESSION_ID], sizes[i, SESSION_ID]) <= limits.max_id_chars
        and _is_uuid(data, begins[i, EVENT_ID], sizes[i, EVENT_ID])
    )


@kernel
def _write_record(
    data: Bytes,
    begins: Int64s,
    sizes: Int64s,
    i: Int,
    time: Int,
    is_own: Int,
    shared: SharedParts,
    out: Bytes,
    p: Int,
) -> Int:
    """Write the value of one record at `p` and return where it ends."""
    p = copy(out, p, shared.header, 0, len(shared.header))
    p = _put_text(out, p, data, begins[i, EVENT_ID], _UUID_SIZE)
    p = copy(out, p, shared.project, 0, len(shared.project))
    p = _put_text(out, p, data, begins[i, DISTINCT_ID], sizes[i, DISTINCT_ID])
    out[p] = 0  # person_id, which the Tracker sets
    p = _put_optional(out, p + 1, data, begins[i, ANONYMOUS_ID], sizes[i, ANONYMOUS_ID])
    p = _put_optional(out, p, data, begins[i, SESSION_ID], sizes[i, SESSION_ID])
    p = _put_text(out, p, data, begins[i, EVENT], sizes[i, EVENT])
    p = put_signed(out, p, time)
    if is_own:
        p = copy(out, p, shared.times, 0, len(shared.times))
    else:
        p = copy(out, p, shared.arrival, 0, len(shared.arrival))
    for column in range(TEXT_COLUMNS, COLUMNS):
        if sizes[i, column] == 0:
            p = _put_text(out, p, _EMPTY_OBJECT, 0, len(_EMPTY_OBJECT))
        else:
            p = _put_text(out, p, data, begins[i, column], sizes[i, column])
    return p


@kernel
def _put_text(out: Bytes, p: Int, data: Bytes, begin: Int, size: Int) -> Int:
    return copy(out, put(out, p, size << 1), data, begin, size)


@kernel
def _put_optional(out: Bytes, p: Int, data: Bytes, begin: Int, size: Int) -> Int:
    """Write a text, or null if it is empty."""
    if size == 0:
        out[p] = 0
        return p + 1
    out[p] = 2
    return _put_text(out, p + 1, data, begin, size)


@kernel
def _chars(data: Bytes, begin: Int, size: Int) -> Int:
    """Return the number of characters in UTF-8 text."""
    count = 0
    for p in range(begin, begin + size):
        count += data[p] & 0xC0 != 0x80
    return count


@kernel
def _is_name(data: Bytes, begin: Int, size: Int, max_chars: Int) -> Int:
    return size > 0 and _chars(data, begin, size) <= max_chars


@kernel
def _is_uuid(data: Bytes, begin: Int, size: Int) -> bool:
    if size != _UUID_SIZE:
        return False
    for place in range(_UUID_SIZE):
        byte = data[begin + place]
        if place in (8, 13, 18, 23):
            if byte != ord("-"):
                return False
        elif not (ord("0") <= byte <= ord("9") or ord("a") <= byte <= ord("f")):
            return False
    return True


# ── times ────────────────────────────────────────────────────────────────────────────────────────


@kernel
def _read_time(data: Bytes, begin: Int, size: Int) -> Int:
    """Read `2025-11-01T10:00:00`, up to six decimals, and `Z` or `+01:00`, in ms; else `UNREAD`."""
    if size < _MIN_TIME_SIZE:
        return UNREAD
    end = begin + size
    year, month, day = (
        _number(data, begin, 4),
        _number(data, begin + 5, 2),
        _number(data, begin + 8, 2),
    )
    hour, minute = _number(data, begin + 11, 2), _number(data, begin + 14, 2)
    second = _number(data, begin + 17, 2)
    if (
        data[begin + 4] != ord("-")
        or data[begin + 7] != ord("-")
        or (data[begin + 10] != ord("T") and data[begin + 10] != ord(" "))
        or data[begin + 13] != ord(":")
        or data[begin + 16] != ord(":")
        or year < 1
        or month < 1
        or month > 12
        or day < 1
        or day > _days_in(year, month)
        or not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60)
    ):
        return UNREAD
    p, ms, digits = begin + 19, np.int64(0), 0
    if data[p] == ord("."):
        p += 1
        while p < end and digits < 6 and ord("0") <= data[p] <= ord("9"):
            if digits < 3:
                ms = 10 * ms + data[p] - ord("0")
            digits += 1
            p += 1
        if digits == 0:
            return UNREAD
        for _ in range(digits, 3):
            ms *= 10
    offset = _read_zone(data, p, end)
    if offset == UNREAD:
        return UNREAD
    seconds = 60 * (60 * hour + minute) + second - 60 * (offset - _DAY_MINUTES)
    return 1_000 * (86_400 * _days_from_1970(year, month, day) + seconds) + ms


_DAY_MINUTES: Final = 24 * 60


@kernel
def _read_zone(data: Bytes, p: Int, end: Int) -> Int:
    """Return the minutes east of Greenwich plus those of a day; `UNREAD` if it is not a zone."""
    if end - p == 1 and data[p] == ord("Z"):
        return _DAY_MINUTES
    if end - p != _ZONE_SIZE or data[p + 3] != ord(":"):
        return UNREAD
    hours, minutes = _number(data, p + 1, 2), _number(data, p + 4, 2)
    if not (0 <= hours < 24 and 0 <= minutes < 60):
        return UNREAD
    if data[p] == ord("+"):
        return _DAY_MINUTES + 60 * hours + minutes
    return _DAY_MINUTES - 60 * hours - minutes if data[p] == ord("-") else UNREAD


@kernel
def _number(data: Bytes, begin: Int, digits: Int) -> Int:
    """Read a number of `digits` digits; `UNREAD` if one of them is not a digit."""
    number = np.int64(0)
    for p in range(begin, begin + digits):
        digit = np.int64(data[p]) - ord("0")
        if digit < 0 or digit > 9:
            return UNREAD
        number = 10 * number + digit
    return number


@kernel
def _days_in(year: Int, month: Int) -> Int:
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month in (4, 6, 9, 11) else 31


@kernel
def _days_from_1970(year: Int, month: Int, day: Int) -> Int:
    """Return the days since 1970. Years begin in March here, so that a leap day is the last."""
    y = year - 1 if month <= 2 else year
    in_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return 365 * y + y // 4 - y // 100 + y // 400 + in_year - 719_468
