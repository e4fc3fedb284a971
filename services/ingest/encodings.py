"""Undo content encodings within limits: gzip, deflate, zstd and Brotli.

Every decoder stops as soon as its output exceeds the limit, so a small body cannot fill the memory.
"""

import zlib
from collections.abc import Callable
from typing import Final

import brotli
import zstandard

from schemas.errors import InvalidRequest
from schemas.json_text import BYTE_ORDER_MARK
from services.ingest.limits import Limits, TooLarge

_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
# The encodings that the first bytes of a body reveal; no JSON begins with either.
_MAGIC: Final = {_GZIP_MAGIC: "gzip", _ZSTD_MAGIC: "zstd"}

_MAX_ENCODINGS: Final = 4
# Of a gzip or zstd body, which may be several compressed ones in a row.
_MAX_MEMBERS: Final = 1_000
_PIECE_BYTES: Final = 1 << 18
# A block of zstd expands to at most 128 KiB and takes at least four bytes.
_ZSTD_PIECE_BYTES: Final = 256


class UnsupportedMedia(InvalidRequest):
    """Send the body in a supported encoding or format."""

    code = "unsupported_media"


def read_encodings(header: str) -> list[str]:
    """Return the encodings in a `Content-Encoding` header, in the order of their removal.

    Raises:
        UnsupportedMedia: one is not supported, or there are too many.
    """
    names = [name.strip().lower() for name in header.split(",")]
    encodings = [name for name in names if name not in {"", "identity"}]
    for name in encodings:
        if name not in _DECODERS:
            raise UnsupportedMedia(
                f"{name[:40]!r} is not a supported encoding; accepted are "
                f"{', '.join(sorted(_DECODERS))}",
                "Content-Encoding",
            )
    if len(encodings) > _MAX_ENCODINGS:
        raise UnsupportedMedia(
            f"the body has {len(encodings)} encodings; accepted are {_MAX_ENCODINGS}",
            "Content-Encoding",
        )
    return encodings[::-1]


def magic_encoding(body: bytes) -> str:
    """Return the encoding that the first bytes of `body` reveal, "" if they reveal none."""
    if not body.startswith((_GZIP_MAGIC, _ZSTD_MAGIC)):
        return ""
    return next(name for magic, name in _MAGIC.items() if body.startswith(magic))


def decode(body: bytes, encodings: list[str], grow: Callable[[int], None], limits: Limits) -> bytes:
    """Undo `encodings`, then those that the first bytes reveal, and remove a byte order mark.

    Proxies may compress a body without saying so, or remove the header and not the encoding. Calls
    `grow` with the number of bytes that each result takes.

    Raises:
        BackOff: the process is at a limit.
        TooLarge: the body exceeds a limit.
        InvalidRequest: the body is not in one of the encodings.
    """
    for encoding in encodings:
        body = decompress(body, encoding, grow, limits)
    for _ in range(_MAX_ENCODINGS):
        if not (encoding := magic_encoding(body)):
            break
        body = decompress(body, encoding, grow, limits)
    return body.removeprefix(BYTE_ORDER_MARK)


def decompress(body: bytes, encoding: str, grow: Callable[[int], None], limits: Limits) -> bytes:
    """Return `body` decompressed from `encoding`, one of those that `read_encodings` accepts.

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
    expanded = _DECODERS[encoding](body, max_bytes)
    if expanded is None:
        value = getattr(limits, limit)
        raise TooLarge(f"the body expands to more than {max_bytes} bytes", limit, value)
    grow(len(expanded))
    return expanded


# Each decoder returns None if the result would take more than `max_bytes`.


def _gunzip(body: bytes, max_bytes: int) -> bytes | None:
    return _inflate(body, max_bytes, zlib.MAX_WBITS | 16, "gzip")


def _undeflate(body: bytes, max_bytes: int) -> bytes | None:
    """Decompress deflate in zlib's format, as the standard says, or raw, as some clients send."""
    has_header = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and not _u16(body) % 31
    return _inflate(body, max_bytes, zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS, "deflate")


def _u16(body: bytes) -> int:
    return int.from_bytes(body[:2])


def _inflate(body: bytes, max_bytes: int, window: int, name: str) -> bytes | None:
    out: list[bytes] = []
    room = max_bytes
    position = 0
    members = 0
    while position < len(body) or not members:
        members += 1
        _check_members(members, name)
        member = zlib.decompressobj(window)
        while not member.eof:
            piece = body[position : position + _PIECE_BYTES]
            if not piece:
                raise InvalidRequest(f"the body is not {name}: its end is missing")
            try:
                out.append(member.decompress(piece, room + 1))
            except zlib.error as error:
                raise InvalidRequest(f"the body is not {name}: {error}") from None
            room -= len(out[-1])
            if room < 0:
                return None
            position += len(piece) - len(member.unused_data)
    return out[0] if len(out) == 1 else b"".join(out)


def _unzstd(body: bytes, max_bytes: int) -> bytes | None:
    try:
        size = zstandard.get_frame_parameters(body).content_size
        if size != zstandard.CONTENTSIZE_UNKNOWN and size > max_bytes:
            return None
        if not size:  # zstandard ignores what follows an empty frame
            return _unzstd_frames(body, max_bytes)
        return _ZSTD.decompress(body, max_output_size=max_bytes, allow_extra_data=False)
    except zstandard.ZstdError:
        # Too large, cut off, or several frames.
        return _unzstd_frames(body, max_bytes)


def _unzstd_frames(body: bytes, max_bytes: int) -> bytes | None:
    out: list[bytes] = []
    room = max_bytes
    position = 0
    frames = 0
    while position < len(body) or not frames:
        frames += 1
        _check_members(frames, "zstd")
        frame = _ZSTD.decompressobj()
        while not frame.eof:
            piece = body[position : position + _ZSTD_PIECE_BYTES]
            if not piece:
                raise InvalidRequest("the body is not zstd: its end is missing")
            try:
                out.append(frame.decompress(piece))
            except zstandard.ZstdError as error:
                raise InvalidRequest(f"the body is not zstd: {error}") from None
            room -= len(out[-1])
            if room < 0:
                return None
            position += len(piece) - len(frame.unused_data)
    return b"".join(out)


def _unbrotli(body: bytes, max_bytes: int) -> bytes | None:
    decoder = brotli.Decompressor()
    out: list[bytes] = []
    room = max_bytes
    given = body
    while not decoder.is_finished():
        try:
            out.append(decoder.process(given, output_buffer_limit=room + 1))
        except brotli.error as error:
            raise InvalidRequest(f"the body is not Brotli: {error}") from None
        if not given and not out[-1]:
            raise InvalidRequest("the body is not Brotli: its end is missing")
        given = b""
        room -= len(out[-1])
        if room < 0:
            return None
    return out[0] if len(out) == 1 else b"".join(out)


def _check_members(count: int, name: str) -> None:
    if count > _MAX_MEMBERS:
        raise InvalidRequest(f"the body is more than {_MAX_MEMBERS} {name} bodies in a row")


# A frame names its window, which is allocated before any output: bound it.
_ZSTD = zstandard.ZstdDecompressor(max_window_size=8 << 20)

_DECODERS: Final[dict[str, Callable[[bytes, int], bytes | None]]] = {
    "br": _unbrotli,
    "deflate": _undeflate,
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "zstd": _unzstd,
}
