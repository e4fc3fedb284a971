"""Ends the work for a client that has left."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

T = TypeVar("T")

# Nobody reads it; it is what the access log has.
CLIENT_CLOSED_REQUEST: Final = 499


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns; cancel it as soon as the client has left.

    The request's body must have been read.

    Raises:
        HTTPException: the client has left.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise HTTPException(CLIENT_CLOSED_REQUEST, "the client has left")
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
