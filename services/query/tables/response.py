"""Responses that are tables: whole if they are short, or else sent as they are read.

A short table has a `Content-Length`, and an error on the way has a status of its own. A long one is
sent in chunks; if it fails on the way, the connection is closed before the last chunk, so that no
client takes it for complete. HTTP/1.0, which has no chunks, is refused for long ones.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from schemas.errors import AvilaError, InvalidRequest
from services.query.http.leaving import unless_left

log = structlog.get_logger(__name__)

# Has the positions below which the events are that are in a table.
POSITIONS_HEADER: Final = "X-Avila-Positions"
HELD_BYTES: Final = 1 << 18
# A client that takes nothing for this long is disconnected: its query holds a place in the store.
WRITE_TIMEOUT_S: Final = 30.0


async def respond(
    request: Request,
    media_type: str,
    body: AsyncGenerator[bytes, None],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response with a body, whose beginning is read before this returns.

    The client leaving closes `body`, and so does this, whatever happens. Raises what reading the
    beginning does.

    Raises:
        InvalidRequest: the table is long, and the request came over HTTP/1.0.
    """
    given = dict(headers or {})
    try:
        held, is_whole = await unless_left(request, _begin(body))
        if is_whole:
            return Response(held, media_type=media_type, headers=given)
        if request.scope.get("http_version") == "1.0":
            raise InvalidRequest(
                "a table of this size is sent in chunks, which HTTP/1.0 does not have: use HTTP/1.1"
            )
    except BaseException:
        await body.aclose()
        raise
    return _TableResponse(held, body, media_type, given)


async def _begin(body: AsyncGenerator[bytes, None]) -> tuple[bytes, bool]:
    """Return the beginning of a body, and whether that is all of it."""
    held = bytearray()
    async for piece in body:
        held += piece
        if len(held) > HELD_BYTES:
            return bytes(held), False
    return bytes(held), True


class _TableResponse(Response):
    """A response that is sent as it is read."""

    def __init__(
        self,
        held: bytes,
        body: AsyncGenerator[bytes, None],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._held = held
        self._rest = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the table; the client leaving, or not reading, ends it."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._rest.aclose()
        match results[0]:
            case TimeoutError() | OSError() | asyncio.CancelledError():
                log.info("table_not_read", path=scope["path"])
            case AvilaError() as error:
                # Returning without the last chunk makes the server close the connection.
                log.warning("table_cut_off", path=scope["path"], error=str(error))
            case BaseException() as error:
                raise error

    async def _send(self, send: Send) -> None:
        head = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await send(head)
        await _send_part(send, self._held)
        self._held = b""
        async with contextlib.aclosing(self._rest) as rest:
            async for piece in rest:
                if piece:
                    await _send_part(send, piece)
        await send({"type": "http.response.body", "body": b""})


async def _send_part(send: Send, piece: bytes) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
