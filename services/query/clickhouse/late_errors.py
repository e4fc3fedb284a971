"""Errors that ClickHouse writes into a result that it has begun to send.

They are at the very end, in a form that no result can be mistaken for, because the tag is random:

    __exception__ / tag / text of the error / its length, a space and the tag / __exception__

The transfer then ends without its last chunk, or, from some servers, with it.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import aiohttp

_MARK: Final = b"\r\n__exception__\r\n"
# An error's text is cut to less by ClickHouse.
_MAX_BYTES: Final = 1 << 16
_ERROR: Final = re.compile(
    rb"\r\n__exception__\r\n(\S{1,64})\r\n(.*?)\n?[0-9]+ \1\r\n__exception__\r\n", re.DOTALL
)
_CODE: Final = re.compile(r"Code: ([0-9]{1,5})\.")


class LateError(Exception):
    """An error of ClickHouse after a part of the result; `code` is its number, 0 if it has none."""

    def __init__(self, text: str) -> None:
        super().__init__(text.strip() or "the result is cut off")
        found = _CODE.search(text)
        self.code = int(found[1]) if found else 0


async def without_late_error(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield a result without the error at its end, which is raised instead.

    What may be the beginning of an error is held back.

    Raises:
        LateError: ClickHouse has ended the query.
        aiohttp.ClientError: the transfer was cut off, for no reason that is known.
    """
    held = b""
    try:
        async for chunk in chunks:
            held += chunk
            release = _end_of_result(held)
            if release:
                yield held[:release]
                held = held[release:]
    except aiohttp.ClientError:
        _raise_error(held)
        raise
    _raise_error(held)
    if held:
        yield held


def _end_of_result(held: bytes) -> int:
    """Return how many bytes do not belong to an error that may follow."""
    begin = max(0, len(held) - _MAX_BYTES)
    at = held.find(_MARK, begin)
    if at >= 0:
        return at
    most = min(len(held), len(_MARK) - 1)
    return next(
        (len(held) - size for size in range(most, 0, -1) if held.endswith(_MARK[:size])), len(held)
    )


def _raise_error(held: bytes) -> None:
    found = _ERROR.fullmatch(held)
    if found is not None:
        raise LateError(found[2].decode(errors="replace"))
