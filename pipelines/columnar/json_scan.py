"""Finds members of JSON objects without building Python objects.

The texts are the properties of events. Plain texts are scanned: those without escape sequences,
without numbers that a double might not hold, and without deep nesting. Nearly all texts are plain.
For any other text the answer is `NOT_PLAIN`, and nothing else. The answer for a plain text can be
relied on, because its whole grammar is checked.
"""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int32s, kernel
from pipelines.columnar.key_index import same

NOT_PLAIN: Final = -1
ABSENT: Final = -1
_MAX_DEPTH: Final = 60  # each level takes a bit of 64
_MAX_DIGITS: Final = 30

_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_OPEN, _CLOSE, _BEGIN, _END = ord("{"), ord("}"), ord("["), ord("]")
_COMMA, _COLON, _MINUS, _DOT = ord(","), ord(":"), ord("-"), ord(".")
_ZERO, _NINE = ord("0"), ord("9")


@kernel
def find_members(
    data: Bytes,
    begin: Int,
    end: Int,
    name_starts: Int32s,
    names: Bytes,
    begins: Int32s,
    sizes: Int32s,
) -> Int:
    """Find the values of some members of the object `data[begin:end]`, as they are written.

    Name j is `names[name_starts[j]:name_starts[j + 1]]`. Its value takes `sizes[j]` bytes from
    `begins[j]` on; the size is `ABSENT` if there is no such member. Of several members with one
    name, the last one counts. Returns 0, or `NOT_PLAIN` if the text is not a plain object.
    """
    for j in range(len(sizes)):
        sizes[j] = ABSENT
    p = skip_space(data, begin, end)
    if byte_at(data, p, end) != _OPEN:
        return NOT_PLAIN
    p = skip_space(data, p + 1, end)
    if byte_at(data, p, end) != _CLOSE:
        while True:
            name = p + 1
            p = _end_of_text(data, p, end)
            if p == NOT_PLAIN:
                return NOT_PLAIN
            size = p - 1 - name
            p = skip_space(data, p, end)
            if byte_at(data, p, end) != _COLON:
                return NOT_PLAIN
            value = skip_space(data, p + 1, end)
            p = _end_of_value(data, value, end)
            if p == NOT_PLAIN:
                return NOT_PLAIN
            for j in range(len(sizes)):
                first = name_starts[j]
                if name_starts[j + 1] - first == size and same(data, name, names, first, size):
                    begins[j] = value
                    sizes[j] = p - value
            p = skip_space(data, p, end)
            if byte_at(data, p, end) != _COMMA:
                break
            p = skip_space(data, p + 1, end)
    if byte_at(data, p, end) != _CLOSE:
        return NOT_PLAIN
    return 0 if skip_space(data, p + 1, end) == end else NOT_PLAIN


@kernel
def _end_of_value(data: Bytes, p: Int, end: Int) -> Int:
    """Return the end of the value that begins at `p`."""
    depth = objects = 0  # a bit for each level: whether it is an object
    while True:
        byte = byte_at(data, p, end)
        if byte in (_OPEN, _BEGIN):
            if depth == _MAX_DEPTH:
                return NOT_PLAIN
            depth += 1
            objects = objects << 1 | (byte == _OPEN)
            p = skip_space(data, p + 1, end)
            if byte_at(data, p, end) != (_CLOSE if objects & 1 else _END):
                if objects & 1:
                    p = _begin_of_value(data, p, end)
                    if p == NOT_PLAIN:
                        return NOT_PLAIN
                continue
        else:
            p = _end_of_scalar(data, p, end)
            if p == NOT_PLAIN or depth == 0:
                return p
            p = skip_space(data, p, end)
        # After a value, inside an object or array.
        while byte_at(data, p, end) == (_CLOSE if objects & 1 else _END):
            depth -= 1
            objects >>= 1
            p += 1
            if depth == 0:
                return p
            p = skip_space(data, p, end)
        if byte_at(data, p, end) != _COMMA:
            return NOT_PLAIN
        p = skip_space(data, p + 1, end)
        if objects & 1:
            p = _begin_of_value(data, p, end)
            if p == NOT_PLAIN:
                return NOT_PLAIN


@kernel
def _begin_of_value(data: Bytes, p: Int, end: Int) -> Int:
    """Return where the value begins of the member that begins at `p`."""
    p = _end_of_text(data, p, end)
    if p == NOT_PLAIN:
        return NOT_PLAIN
    p = skip_space(data, p, end)
    return skip_space(data, p + 1, end) if byte_at(data, p, end) == _COLON else NOT_PLAIN


@kernel
def _end_of_scalar(data: Bytes, p: Int, end: Int) -> Int:
    byte = byte_at(data, p, end)
    if byte == _QUOTE:
        return _end_of_text(data, p, end)
    if byte == ord("t"):
        return _end_of_word(data, p, end, _TRUE)
    if byte == ord("f"):
        return _end_of_word(data, p, end, _FALSE)
    if byte == ord("n"):
        return _end_of_word(data, p, end, _NULL)
    return _end_of_number(data, p, end)


_TRUE: Final = b"true"
_FALSE: Final = b"false"
_NULL: Final = b"null"


@kernel
def _end_of_word(data: Bytes, p: Int, end: Int, word: bytes) -> Int:
    if p + len(word) > end:
        return NOT_PLAIN
    for i in range(len(word)):
        if data[p + i] != word[i]:
            return NOT_PLAIN
    return p + len(word)


@kernel
def _end_of_text(data: Bytes, p: Int, end: Int) -> Int:
    """Return the end of the quoted string that begins at `p`."""
    if byte_at(data, p, end) != _QUOTE:
        return NOT_PLAIN
    p += 1
    while p < end and data[p] != _QUOTE:
        if data[p] == _BACKSLASH or data[p] < 32:
            return NOT_PLAIN
        p += 1
    return p + 1 if p < end else NOT_PLAIN


@kernel
def _end_of_number(data: Bytes, p: Int, end: Int) -> Int:
    """Return the end of the number that begins at `p`; a plain one is short and has no exponent."""
    begin = p
    if byte_at(data, p, end) == _MINUS:
        p += 1
    digits = p
    p = _skip_digits(data, p, end)
    if p == digits or (data[digits] == _ZERO and p > digits + 1):
        return NOT_PLAIN
    if byte_at(data, p, end) == _DOT:
        digits = p + 1
        p = _skip_digits(data, digits, end)
        if p == digits:
            return NOT_PLAIN
    return p if p - begin <= _MAX_DIGITS else NOT_PLAIN


@kernel
def _skip_digits(data: Bytes, p: Int, end: Int) -> Int:
    while p < end and _ZERO <= data[p] <= _NINE:
        p += 1
    return p


@kernel
def skip_space(data: Bytes, p: Int, end: Int) -> Int:
    """Return the end of the white space, if any, that begins at `p`."""
    while p < end and (data[p] == 32 or data[p] == 10 or data[p] == 13 or data[p] == 9):
        p += 1
    return p


@kernel
def byte_at(data: Bytes, p: Int, end: Int) -> Int:
    """Return the byte at `p`, or 0 at the end; a text that contains a zero byte is not plain."""
    return data[p] if p < end else 0


_EACH: Final = np.uint64(0x0101010101010101)
_TOPS: Final = np.uint64(0x8080808080808080)


@kernel
def skip_to(data: Bytes, p: Int, end: Int, controls: Int) -> Int:
    """Return the position of the next quotation mark or backslash, else `end`.

    If `controls`, characters below 32 are found too. Skips eight bytes at a time:
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
def skip_string(data: Bytes, p: Int, end: Int) -> Int:
    """Return the position of the quotation mark that closes the string opened at `p`, else `end`.

    What is between them need not be valid.
    """
    p = skip_to(data, p + 1, end, False)
    while byte_at(data, p, end) == _BACKSLASH:
        p = skip_to(data, p + 2, end, False)
    return p


@kernel
def _word(data: Bytes, p: Int) -> Int:
    """Return eight bytes as a little-endian number; compiled to a single load."""
    word = np.uint64(data[p])
    for place in range(1, 8):
        word |= np.uint64(data[p + place]) << np.uint64(8 * place)
    return word
