"""Finds the fields of events in JSON, without making objects of them.

Only events as clients send them nearly always are found: known fields alone, texts without escape
sequences, objects where objects belong. Of an array with any other it is told that there is one,
and nothing else: what it is in truth, the doors find out.
"""

from typing import Final

import msgspec
import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int64s, kernel
from pipelines.columnar.json_scan import byte_at, skip_space
from services.ingest.fast_path.columns import (
    ANONYMOUS_ID,
    COLUMNS,
    CONTEXT,
    DISTINCT_ID,
    EVENT,
    EVENT_ID,
    NONE,
    NOW,
    PROPERTIES,
    SESSION_ID,
    TEXTS,
    TIME,
    Columns,
)

SHORTEST: Final = len('{"event":"","distinct_id":"","event_id":""}')
_MAX_DIGITS: Final = 15


def scan(events: msgspec.Raw) -> Columns | None:
    """The columns of `events`, a JSON array whose grammar has been checked; None if unusual."""
    data = bytes(events)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeError:
            return None
    most = len(data) // SHORTEST + 1
    begins = np.empty((most, COLUMNS), np.int64)
    sizes = np.empty((most, COLUMNS), np.int64)
    times = np.empty(most, np.int64)
    count = find_events(np.frombuffer(data, np.uint8), begins, sizes, times)
    if count == NONE:
        return None
    return Columns(data, begins, sizes, times).part(0, count)


@kernel
def find_events(data: Bytes, begins: Int64s, sizes: Int64s, times: Int64s) -> Int:
    """Find all fields of an array of events; returns how many events, `NONE` if it is unusual.

    There is a row for each event that `data` may have. Reads nothing beyond `data`, whatever it
    is; but only of valid JSON it is said that what is found is right.
    """
    end = len(data)
    p = skip_space(data, np.int64(0), end)
    if byte_at(data, p, end) != ord("["):
        return NONE
    count = np.int64(0)
    while count < len(times):
        p = skip_space(data, p + 1, end)
        p = _find_fields(data, p, end, begins, sizes, times, count)
        if p == NONE:
            return NONE
        count += 1
        p = skip_space(data, p, end)
        byte = byte_at(data, p, end)
        if byte != ord(","):
            return count if byte == ord("]") else NONE
    return NONE


@kernel
def _find_fields(
    data: Bytes, p: Int, end: Int, begins: Int64s, sizes: Int64s, times: Int64s, event: Int
) -> Int:
    """Find those of one event, which begins at `p`; returns where it ends, or `NONE`."""
    if byte_at(data, p, end) != ord("{"):
        return NONE
    for column in range(COLUMNS):
        begins[event, column] = 0
        sizes[event, column] = NONE
    times[event] = NOW
    while True:
        name = skip_space(data, p + 1, end) + 1
        p = _end_of_text(data, name - 1, end)
        if p == NONE:
            return NONE
        column = _column(data, name, p - 1 - name)
        p = skip_space(data, p, end)
        if column == NONE or byte_at(data, p, end) != ord(":"):
            return NONE
        begin = skip_space(data, p + 1, end)
        byte = byte_at(data, begin, end)
        begins[event, column] = begin
        if byte == ord("n") and column not in (EVENT, DISTINCT_ID, EVENT_ID):  # null
            p = begin + 4
            sizes[event, column] = 0
            if column == TIME:
                times[event] = NOW
        elif column >= TEXTS:
            p = _end_of_object(data, begin, end)
            if p == NONE:
                return NONE
            sizes[event, column] = p - begin
        elif byte == ord('"'):
            p = _end_of_text(data, begin, end)
            if p == NONE:
                return NONE
            begins[event, column] = begin + 1
            sizes[event, column] = p - begin - 2
            if column == TIME:
                times[event] = NONE
        elif column == TIME:
            p, times[event] = _read_digits(data, begin, end)
            if p == begin:
                return NONE
            sizes[event, column] = 0
        else:
            return NONE
        p = skip_space(data, p, end)
        byte = byte_at(data, p, end)
        if byte == ord("}"):
            break
        if byte != ord(","):
            return NONE
    if (
        sizes[event, EVENT] == NONE
        or sizes[event, DISTINCT_ID] == NONE
        or sizes[event, EVENT_ID] == NONE
    ):
        return NONE
    for column in range(COLUMNS):
        sizes[event, column] = max(sizes[event, column], 0)
    return p + 1


@kernel
def _end_of_text(data: Bytes, p: Int, end: Int) -> Int:
    """Where the text that begins at `p` ends; `NONE` if it is none, or not as it is written."""
    if byte_at(data, p, end) != ord('"'):
        return NONE
    p = _skip_to(data, p + 1, end, True)
    return p + 1 if byte_at(data, p, end) == ord('"') else NONE


@kernel
def _end_of_object(data: Bytes, p: Int, end: Int) -> Int:
    """Where the object that begins at `p` ends; `NONE` if it is none."""
    if byte_at(data, p, end) != ord("{"):
        return NONE
    depth = np.int64(0)
    while p < end:
        byte = data[p]
        if byte == ord('"'):
            p = _skip_to(data, p + 1, end, False)
            while byte_at(data, p, end) == ord("\\"):
                p = _skip_to(data, p + 2, end, False)
        elif byte == ord("{") or byte == ord("["):
            depth += 1
        elif byte == ord("}") or byte == ord("]"):
            depth -= 1
            if depth == 0:
                return p + 1
        p += 1
    return NONE


_EACH: Final = np.uint64(0x0101010101010101)
_TOPS: Final = np.uint64(0x8080808080808080)


@kernel
def _skip_to(data: Bytes, p: Int, end: Int, controls: Int) -> Int:
    """Where the next quotation mark is, backslash, or character below 32 if `controls`; or `end`.

    Eight bytes at a time are seen to have none, by subtraction in each of them:
    https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord
    """
    while p + 8 <= end:
        word = _word(data, p)
        quotes, slashes = word ^ _EACH * np.uint64(34), word ^ _EACH * np.uint64(92)
        found = (quotes - _EACH) & ~quotes | (slashes - _EACH) & ~slashes
        if controls:
            found |= (word - _EACH * np.uint64(32)) & ~word
        if found & _TOPS != 0:
            break
        p += 8
    while p < end:
        byte = data[p]
        if byte in (34, 92) or (controls and byte < 32):
            return p
        p += 1
    return p


@kernel
def _word(data: Bytes, p: Int) -> Int:
    """Eight bytes as one number, the first one lowest; compilers make one load of it."""
    word = np.uint64(data[p])
    for place in range(1, 8):
        word |= np.uint64(data[p + place]) << np.uint64(8 * place)
    return word


@kernel
def _read_digits(data: Bytes, p: Int, end: Int) -> tuple[Int, Int]:
    """Where a number ends that has few digits and nothing else, and the number."""
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
    """The column of a field's name; `NONE` if there is none."""
    if size == len(_EVENT):
        return EVENT if _is(data, begin, _EVENT) else NONE
    if size == len(_DISTINCT_ID):
        return DISTINCT_ID if _is(data, begin, _DISTINCT_ID) else NONE
    if size == len(_EVENT_ID):
        return EVENT_ID if _is(data, begin, _EVENT_ID) else NONE
    if size == len(_TIME):
        return TIME if _is(data, begin, _TIME) else NONE
    if size == len(_CONTEXT):
        return CONTEXT if _is(data, begin, _CONTEXT) else NONE
    if size == len(_ANONYMOUS_ID):
        return ANONYMOUS_ID if _is(data, begin, _ANONYMOUS_ID) else NONE
    if size == len(_PROPERTIES):
        if _is(data, begin, _PROPERTIES):
            return PROPERTIES
        return SESSION_ID if _is(data, begin, _SESSION_ID) else NONE
    return NONE


@kernel
def _is(data: Bytes, begin: Int, name: Bytes) -> bool:
    is_it = True
    for place in range(len(name)):
        is_it &= data[begin + place] == name[place]
    return is_it
