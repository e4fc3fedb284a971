"""Find the fields of events in JSON without creating objects.

All events of the array must be written as clients nearly always write them: known fields only,
texts without escape sequences, objects where objects belong. An array with any other event is
skipped as a whole, and the format reads it.
"""

from typing import Final

import msgspec
import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int64s, kernel
from pipelines.columnar.json_scan import byte_at, skip_space, skip_string, skip_to
from services.ingest.fast_path.columns import (
    ANONYMOUS_ID,
    COLUMNS,
    CONTEXT,
    DISTINCT_ID,
    EVENT,
    EVENT_ID,
    ON_ARRIVAL,
    PROPERTIES,
    SESSION_ID,
    TEXT_COLUMNS,
    TIME,
    UNREAD,
    Columns,
)

MIN_EVENT_BYTES: Final = len('{"event":"","distinct_id":"","event_id":""}')
_MAX_DIGITS: Final = 15


def scan(events: msgspec.Raw) -> Columns | None:
    """Return the columns of `events`, which is a valid JSON array; None if one event is unusual."""
    data = bytes(events)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeError:
            return None
    max_events = len(data) // MIN_EVENT_BYTES + 1
    begins = np.empty((max_events, COLUMNS), np.int64)
    sizes = np.empty((max_events, COLUMNS), np.int64)
    times = np.empty(max_events, np.int64)
    count = find_events(np.frombuffer(data, np.uint8), begins, sizes, times)
    if count == UNREAD:
        return None
    return Columns(data, begins, sizes, times).part(0, count)


@kernel
def find_events(data: Bytes, begins: Int64s, sizes: Int64s, times: Int64s) -> Int:
    """Find all fields in an array of events; return the number of events, or `UNREAD` if unusual.

    The arrays must have a row for each event that `data` may hold. Never reads beyond `data`; the
    result is right only if `data` is valid JSON.
    """
    end = len(data)
    p = skip_space(data, np.int64(0), end)
    if byte_at(data, p, end) != ord("["):
        return UNREAD
    count = np.int64(0)
    while count < len(times):
        p = skip_space(data, p + 1, end)
        p = _find_fields(data, p, end, begins, sizes, times, count)
        if p == UNREAD:
            return UNREAD
        count += 1
        p = skip_space(data, p, end)
        byte = byte_at(data, p, end)
        if byte != ord(","):
            return count if byte == ord("]") else UNREAD
    return UNREAD


@kernel
def _find_fields(
    data: Bytes, p: Int, end: Int, begins: Int64s, sizes: Int64s, times: Int64s, event: Int
) -> Int:
    """Find the fields of the event that begins at `p`; return where it ends, or `UNREAD`."""
    if byte_at(data, p, end) != ord("{"):
        return UNREAD
    for column in range(COLUMNS):
        begins[event, column] = 0
        sizes[event, column] = UNREAD
    times[event] = ON_ARRIVAL
    while True:
        name = skip_space(data, p + 1, end) + 1
        p = _end_of_text(data, name - 1, end)
        if p == UNREAD:
            return UNREAD
        column = _column(data, name, p - 1 - name)
        p = skip_space(data, p, end)
        if column == UNREAD or byte_at(data, p, end) != ord(":"):
            return UNREAD
        begin = skip_space(data, p + 1, end)
        byte = byte_at(data, begin, end)
        begins[event, column] = begin
        if byte == ord("n") and column not in (EVENT, DISTINCT_ID, EVENT_ID):  # null
            p = begin + 4
            sizes[event, column] = 0
            if column == TIME:
                times[event] = ON_ARRIVAL
        elif column >= TEXT_COLUMNS:
            p = _end_of_object(data, begin, end)
            if p == UNREAD:
                return UNREAD
            sizes[event, column] = p - begin
        elif byte == ord('"'):
            p = _end_of_text(data, begin, end)
            if p == UNREAD:
                return UNREAD
            begins[event, column] = begin + 1
            sizes[event, column] = p - begin - 2
            if column == TIME:
                times[event] = UNREAD
        elif column == TIME:
            p, times[event] = _read_digits(data, begin, end)
            if p == begin:
                return UNREAD
            sizes[event, column] = 0
        else:
            return UNREAD
        p = skip_space(data, p, end)
        byte = byte_at(data, p, end)
        if byte == ord("}"):
            break
        if byte != ord(","):
            return UNREAD
    if (
        sizes[event, EVENT] == UNREAD
        or sizes[event, DISTINCT_ID] == UNREAD
        or sizes[event, EVENT_ID] == UNREAD
    ):
        return UNREAD
    for column in range(COLUMNS):
        sizes[event, column] = max(sizes[event, column], 0)
    return p + 1


@kernel
def _end_of_text(data: Bytes, p: Int, end: Int) -> Int:
    """Return where the text that begins at `p` ends; `UNREAD` if it has escapes or is no text."""
    if byte_at(data, p, end) != ord('"'):
        return UNREAD
    p = skip_to(data, p + 1, end, True)
    return p + 1 if byte_at(data, p, end) == ord('"') else UNREAD


@kernel
def _end_of_object(data: Bytes, p: Int, end: Int) -> Int:
    """Return where the object that begins at `p` ends; `UNREAD` if it is not an object."""
    if byte_at(data, p, end) != ord("{"):
        return UNREAD
    depth = np.int64(0)
    while p < end:
        byte = data[p]
        if byte == ord('"'):
            p = skip_string(data, p, end)
        elif byte == ord("{") or byte == ord("["):
            depth += 1
        elif byte == ord("}") or byte == ord("]"):
            depth -= 1
            if depth == 0:
                return p + 1
        p += 1
    return UNREAD


@kernel
def _read_digits(data: Bytes, p: Int, end: Int) -> tuple[Int, Int]:
    """Read a number of at most `_MAX_DIGITS` digits; return where it ends, and its value."""
    begin, number = p, np.int64(0)
    while p < end and p - begin < _MAX_DIGITS and ord("0") <= data[p] <= ord("9"):
        number = 10 * number + np.int64(data[p]) - ord("0")
        p += 1
    return p, number


_EVENT: Final = np.frombuffer(b"event", np.uint8)
_DISTINCT_ID: Final = np.frombuffer(b"distinct_id", np.uint8)
_EVENT_ID: Final = np.frombuffer(b"event_id", np.uint8)
_TIME: Final = np.frombuffer(b"timestamp", np.uint8)
_ANONYMOUS_ID: Final = np.frombuffer(b"anonymous_id", np.uint8)
_SESSION_ID: Final = np.frombuffer(b"session_id", np.uint8)
_PROPERTIES: Final = np.frombuffer(b"properties", np.uint8)
_CONTEXT: Final = np.frombuffer(b"context", np.uint8)


@kernel
def _column(data: Bytes, begin: Int, size: Int) -> Int:
    """Return the column of the field with this name; `UNREAD` if there is none."""
    if size == len(_EVENT):
        return EVENT if _is(data, begin, _EVENT) else UNREAD
    if size == len(_DISTINCT_ID):
        return DISTINCT_ID if _is(data, begin, _DISTINCT_ID) else UNREAD
    if size == len(_EVENT_ID):
        return EVENT_ID if _is(data, begin, _EVENT_ID) else UNREAD
    if size == len(_TIME):
        return TIME if _is(data, begin, _TIME) else UNREAD
    if size == len(_CONTEXT):
        return CONTEXT if _is(data, begin, _CONTEXT) else UNREAD
    if size == len(_ANONYMOUS_ID):
        return ANONYMOUS_ID if _is(data, begin, _ANONYMOUS_ID) else UNREAD
    if size == len(_PROPERTIES):
        if _is(data, begin, _PROPERTIES):
            return PROPERTIES
        return SESSION_ID if _is(data, begin, _SESSION_ID) else UNREAD
    return UNREAD


@kernel
def _is(data: Bytes, begin: Int, name: Bytes) -> bool:
    equal = True
    for place in range(len(name)):
        equal &= data[begin + place] == name[place]
    return equal
