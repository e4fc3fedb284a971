"""Lets pages of any origin send to the doors: what a browser asks before, and wants to see after.

Events come from the pages of whoever embeds an SDK, so every origin is answered by its own name;
which origins a key is for is its access list's to say. `*` would not do: a beacon is sent with
credentials, and for those a browser wants the origin named. We have no cookies that it could abuse.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

# For a day; browsers shorten it to what they hold right.
_MAX_AGE_S: Final = b"86400"
_MAX_HEADER_BYTES: Final = 1_000


def allow(origin: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a page of `origin` read an answer, and when to come back."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"retry-after"),
        (b"vary", b"origin"),
    ]


async def permit(send: Send, given: Mapping[bytes, bytes], methods: Iterable[str]) -> None:
    """Answer `OPTIONS`: a browser's question before a request, or anyone's about the methods."""
    await send({"type": "http.response.start", "status": 204, "headers": _permit(given, methods)})
    await send({"type": "http.response.body"})


def permit_stub(request: Request) -> Response:
    """The same for a Starlette route."""
    response = Response(status_code=204)
    response.raw_headers = _permit(dict(request.headers.raw), {"GET", "POST"})
    return response


def _permit(given: Mapping[bytes, bytes], methods: Iterable[str]) -> list[tuple[bytes, bytes]]:
    accepted = ", ".join((*sorted(methods), "OPTIONS")).encode()
    lines = [(b"allow", accepted)]
    if (origin := given.get(b"origin")) is None:
        return lines
    lines += allow(origin)
    lines.append((b"access-control-allow-methods", accepted))
    lines.append((b"access-control-max-age", _MAX_AGE_S))
    # SDKs send headers of their own, and new ones with new versions: what is asked for is allowed.
    wanted = given.get(b"access-control-request-headers", b"")
    if wanted and len(wanted) <= _MAX_HEADER_BYTES:
        lines.append((b"access-control-allow-headers", wanted))
    return lines
