"""Reads request bodies: up to a limit as they come, and up to another when decompressed."""

import asyncio
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

import zstandard
from starlette.types import Receive

from schemas.errors import InvalidRequest
from services.ingest.admission import Hold
from services.ingest.limits import Limits, TooLarge

_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate", "zstd"})


class Gone(Exception):
    """The client has left before its request was whole; nobody waits for an answer."""


class TooSlow(InvalidRequest):
    """Send the body without pauses: it was not whole in time."""

    code = "too_slow"


class UnsupportedMedia(InvalidRequest):
    """Send the body in an encoding or a format that is understood."""

    code = "unsupported_media"


async def read_body(
    receive: Receive,
    encoding: str,
    length: int | None,
    hold: Hold,
    limits: Limits,
    *,
    is_here: bool = False,
) -> bytes:
    """Return the body, decompressed as `encoding` says; `length` is what the client announced.

    `is_here`: nothing of it is to be waited for.

    Raises:
        Gone: the client left.
        BackOff: there is no memory for it now.
        TooSlow: the body was not whole in time.
        TooLarge: it is, or would be, larger than the limits allow; nothing more was read.
        UnsupportedMedia: `encoding` is not understood.
        InvalidRequest: the body is not what `encoding` says.
    """
    if encoding in {"", "identity"}:
        return await _receive(
            receive, length, hold, limits, limits.max_body_bytes, "max_body_bytes", is_here=is_here
        )
    if encoding not in _ENCODINGS:
        raise UnsupportedMedia(
            f"{encoding[:40]!r} is not an encoding that is understood; accepted are "
            f"{', '.join(sorted(_ENCODINGS))}",
            "Content-Encoding",
        )
    most = limits.max_compressed_bytes
    body = await _receive(
        receive, length, hold, limits, most, "max_compressed_bytes", is_here=is_here
    )
    return expand(body, encoding, hold.grow, limits)


def expand(body: bytes, encoding: str, grow: Callable[[int], None], limits: Limits) -> bytes:
    """Return `body` decompressed; `encoding` is gzip, x-gzip, deflate (which is zlib's) or zstd.

    `grow` is told how many bytes more are in memory.

    Raises:
        BackOff: there is no memory for it now.
        TooLarge: it is, or would be, larger than the limits allow; it was not unpacked further.
        InvalidRequest: it is not what `encoding` says.
    """
    most, limit = limits.max_compressed_bytes, "max_compressed_bytes"
    if len(body) > most:
        raise TooLarge(f"the body has {len(body)} bytes", limit, most)
    most, limit = limits.max_body_bytes, "max_body_bytes"
    if (by_ratio := len(body) * limits.max_compression_ratio) < most:
        most, limit = by_ratio, "max_compression_ratio"
    expanded = _unzstd(body, most) if encoding == "zstd" else _inflate(body, encoding, most)
    if expanded is None:
        value = getattr(limits, limit)
        raise TooLarge(f"the body expands to more than {most} bytes", limit, value)
    grow(len(expanded))
    return expanded


async def _receive(
    receive: Receive,
    length: int | None,
    hold: Hold,
    limits: Limits,
    most: int,
    limit: str,
    *,
    is_here: bool,
) -> bytes:
    if length is not None and length > most:
        raise TooLarge(f"the body has {length} bytes", limit, most)
    chunks: list[bytes] = []
    size = 0
    try:
        # To set a time-out takes as long as to check and encode a dozen events.
        async with nullcontext() if is_here else asyncio.timeout(limits.read_timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunk: bytes = message.get("body", b"")
                hold.grow(len(chunk))
                size += len(chunk)
                if size > most:
                    raise TooLarge(f"the body has more than {most} bytes", limit, most)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise TooSlow(
            f"the body was not whole after {limits.read_timeout_s:g} s (read_timeout_s)"
        ) from None


def _inflate(body: bytes, encoding: str, most: int) -> bytes | None:
    """Return `body` decompressed, or None if it would have more than `most` bytes."""
    window = zlib.MAX_WBITS if encoding == "deflate" else zlib.MAX_WBITS | 16
    out: list[bytes] = []
    room = most
    while body or not out:
        member = zlib.decompressobj(window)
        try:
            out.append(member.decompress(body, room + 1))
        except zlib.error as error:
            raise InvalidRequest(f"the body is not {encoding}: {error}") from None
        room -= len(out[-1])
        if room < 0:
            return None
        if not member.eof:
            raise InvalidRequest(f"the body is not {encoding}: its end is missing")
        body = member.unused_data
    return out[0] if len(out) == 1 else b"".join(out)


def _unzstd(body: bytes, most: int) -> bytes | None:
    """Return `body` decompressed, or None if it would have more than `most` bytes."""
    try:
        size = zstandard.get_frame_parameters(body).content_size
        if size != zstandard.CONTENTSIZE_UNKNOWN and size > most:
            return None
        return _ZSTD.decompress(body, max_output_size=most, allow_extra_data=False)
    except zstandard.ZstdError as error:
        # The same error stands for a frame that does not fit and for one that is cut off.
        if _expands_beyond(body, most):
            return None
        raise InvalidRequest(f"the body is not one zstd frame: {error}") from None


def _expands_beyond(body: bytes, most: int) -> bool:
    try:
        with _ZSTD.stream_reader(body) as reader:
            return len(reader.read(most + 1)) > most
    except zstandard.ZstdError:
        return False


# A frame may ask for a window of its own choice, which is memory taken before a byte is out.
_ZSTD = zstandard.ZstdDecompressor(max_window_size=8 << 20)
