"""Read request bodies within a limit as received, and another as decompressed."""

import asyncio
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

import zstandard
from starlette.types import Receive

from schemas.errors import InvalidRequest
from services.ingest.admission import Reservation
from services.ingest.limits import Limits, TooLarge

_ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate", "zstd"})


class ClientGone(Exception):
    """The client disconnected before its request was complete; nobody waits for an answer."""


class TooSlow(InvalidRequest):
    """Send the body faster: it was not complete in time."""

    code = "too_slow"


class UnsupportedMedia(InvalidRequest):
    """Send the body in a supported encoding or format."""

    code = "unsupported_media"


async def read_body(
    receive: Receive,
    encoding: str,
    length: int | None,
    reservation: Reservation,
    limits: Limits,
    *,
    is_whole: bool = False,
) -> bytes:
    """Return the body, decompressed from `encoding`; `length` is its `Content-Length`.

    With `is_whole`, the server has received all of it, so this does not wait.

    Raises:
        ClientGone: the client disconnected.
        BackOff: the process is at a limit.
        TooSlow: the body was not complete in time.
        TooLarge: the body exceeds a limit; the rest was not read.
        UnsupportedMedia: `encoding` is not supported.
        InvalidRequest: the body is not in this encoding.
    """
    if encoding in {"", "identity"}:
        return await _receive(
            receive,
            length,
            reservation,
            limits,
            limits.max_body_bytes,
            "max_body_bytes",
            is_whole=is_whole,
        )
    if encoding not in _ENCODINGS:
        raise UnsupportedMedia(
            f"{encoding[:40]!r} is not a supported encoding; accepted are "
            f"{', '.join(sorted(_ENCODINGS))}",
            "Content-Encoding",
        )
    max_bytes = limits.max_compressed_bytes
    body = await _receive(
        receive, length, reservation, limits, max_bytes, "max_compressed_bytes", is_whole=is_whole
    )
    return decompress(body, encoding, reservation.grow, limits)


def decompress(body: bytes, encoding: str, grow: Callable[[int], None], limits: Limits) -> bytes:
    """Return `body` decompressed; `encoding` is gzip, x-gzip, deflate (zlib) or zstd.

    Calls `grow` with the number of bytes that the result takes.

    Raises:
        BackOff: the process is at a limit.
        TooLarge: the body exceeds a limit; it was decompressed only up to there.
        InvalidRequest: the body is not in this encoding.
    """
    max_bytes, limit = limits.max_compressed_bytes, "max_compressed_bytes"
    if len(body) > max_bytes:
        raise TooLarge(f"the body has {len(body)} bytes", limit, max_bytes)
    max_bytes, limit = limits.max_body_bytes, "max_body_bytes"
    if (by_ratio := len(body) * limits.max_compression_ratio) < max_bytes:
        max_bytes, limit = by_ratio, "max_compression_ratio"
    expanded = (
        _unzstd(body, max_bytes) if encoding == "zstd" else _inflate(body, encoding, max_bytes)
    )
    if expanded is None:
        value = getattr(limits, limit)
        raise TooLarge(f"the body expands to more than {max_bytes} bytes", limit, value)
    grow(len(expanded))
    return expanded


async def _receive(
    receive: Receive,
    length: int | None,
    reservation: Reservation,
    limits: Limits,
    max_bytes: int,
    limit: str,
    *,
    is_whole: bool,
) -> bytes:
    if length is not None and length > max_bytes:
        raise TooLarge(f"the body has {length} bytes", limit, max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        # A timeout costs as much as checking and encoding a dozen events.
        async with nullcontext() if is_whole else asyncio.timeout(limits.read_timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk: bytes = message.get("body", b"")
                reservation.grow(len(chunk))
                size += len(chunk)
                if size > max_bytes:
                    raise TooLarge(f"the body has more than {max_bytes} bytes", limit, max_bytes)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise TooSlow(
            f"the body was not complete after {limits.read_timeout_s:g} s (read_timeout_s)"
        ) from None


def _inflate(body: bytes, encoding: str, max_bytes: int) -> bytes | None:
    """Return `body` decompressed; None if that takes more than `max_bytes`."""
    window = zlib.MAX_WBITS if encoding == "deflate" else zlib.MAX_WBITS | 16
    out: list[bytes] = []
    room = max_bytes
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


def _unzstd(body: bytes, max_bytes: int) -> bytes | None:
    """Return `body` decompressed; None if that takes more than `max_bytes`."""
    try:
        size = zstandard.get_frame_parameters(body).content_size
        if size != zstandard.CONTENTSIZE_UNKNOWN and size > max_bytes:
            return None
        return _ZSTD.decompress(body, max_output_size=max_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        # zstandard raises the same error for a frame that is too large and for one that is cut off.
        if _expands_beyond(body, max_bytes):
            return None
        raise InvalidRequest(f"the body is not one zstd frame: {error}") from None


def _expands_beyond(body: bytes, max_bytes: int) -> bool:
    try:
        with _ZSTD.stream_reader(body) as reader:
            return len(reader.read(max_bytes + 1)) > max_bytes
    except zstandard.ZstdError:
        return False


# A frame names its window, which is allocated before any output: bound it.
_ZSTD = zstandard.ZstdDecompressor(max_window_size=8 << 20)
