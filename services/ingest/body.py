"""Read request bodies within a limit as received, and another as decompressed."""

import asyncio
from contextlib import nullcontext

from starlette.types import Receive

from schemas.errors import InvalidRequest
from services.ingest.admission import Reservation
from services.ingest.encodings import decode, read_encodings
from services.ingest.limits import Limits, TooLarge


class ClientGone(Exception):
    """The client disconnected before its request was complete; nobody waits for an answer."""


class TooSlow(InvalidRequest):
    """Send the body faster: it was not complete in time."""

    code = "too_slow"


async def read_body(
    receive: Receive,
    encoding: str,
    length: int | None,
    reservation: Reservation,
    limits: Limits,
    *,
    is_whole: bool = False,
) -> bytes:
    """Return the body, decompressed and without a byte order mark.

    `encoding` is its `Content-Encoding`, and `length` its `Content-Length`. With `is_whole`, the
    server has received all of it, so this does not wait.

    Raises:
        ClientGone: the client disconnected.
        BackOff: the process is at a limit.
        TooSlow: the body was not complete in time.
        TooLarge: the body exceeds a limit; the rest was not read.
        UnsupportedMedia: an encoding is not supported.
        InvalidRequest: the body is not in its encoding.
    """
    encodings = read_encodings(encoding) if encoding else []
    limit = "max_compressed_bytes" if encodings else "max_body_bytes"
    body = await _receive(receive, length, reservation, limits, limit, is_whole=is_whole)
    return decode(body, encodings, reservation.grow, limits)


async def _receive(
    receive: Receive,
    length: int | None,
    reservation: Reservation,
    limits: Limits,
    limit: str,
    *,
    is_whole: bool,
) -> bytes:
    max_bytes: int = getattr(limits, limit)
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
