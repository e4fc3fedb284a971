"""Cross-origin requests (CORS): pages of any origin may send events.

Anybody may embed an SDK, so each answer allows the origin that asked; a write key may restrict its
origins. `*` is not enough: beacons are sent with credentials, for which browsers require the origin
itself. The service has no cookies, so this grants nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

# A day; browsers lower it to their own maximum.
_MAX_AGE_S: Final = b"86400"
_MAX_HEADER_BYTES: Final = 1_000


def allow_origin(origin: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers that let a page of `origin` read an answer and its `Retry-After`."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"retry-after"),
        (b"vary", b"origin"),
    ]


def list_methods(methods: Iterable[str]) -> str:
    """Return the value of an `Allow` header; HEAD is allowed where GET is."""
    accepted = set(methods)
    return ", ".join(sorted(accepted | {"HEAD"} if "GET" in accepted else accepted))


async def answer_options(send: Send, given: Mapping[bytes, bytes], methods: Iterable[str]) -> None:
    """Answer `OPTIONS`: a browser's preflight request, or a question about the methods."""
    await send({"type": "http.response.start", "status": 204, "headers": _headers(given, methods)})
    await send({"type": "http.response.body"})


def options_response(request: Request, methods: Iterable[str]) -> Response:
    """Return the answer to `OPTIONS` on a Starlette route."""
    response = Response(status_code=204)
    response.raw_headers = _headers(dict(request.headers.raw), methods)
    return response


def _headers(given: Mapping[bytes, bytes], methods: Iterable[str]) -> list[tuple[bytes, bytes]]:
    accepted = f"{list_methods(methods)}, OPTIONS".encode()
    lines = [(b"allow", accepted)]
    if (origin := given.get(b"origin")) is None:
        return lines
    lines += allow_origin(origin)
    lines.append((b"access-control-allow-methods", accepted))
    lines.append((b"access-control-max-age", _MAX_AGE_S))
    # SDKs send headers of their own, and new ones in new versions: allow all that are asked for.
    requested = given.get(b"access-control-request-headers", b"")
    if requested and len(requested) <= _MAX_HEADER_BYTES:
        lines.append((b"access-control-allow-headers", requested))
    return lines
