"""Middleware that times requests by the route that answered them."""

import time
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Observer(Protocol):
    """Who is told of requests."""

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Take note of a request that has been answered."""


class Measured:
    """Middleware that times every request by the route that answered it."""

    def __init__(self, app: ASGIApp, metrics: Observer) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it whatever comes of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        begun = time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            seconds = time.perf_counter() - begun
            self._metrics.observe(_method(scope), _route(scope), status, seconds)


_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _method(scope: Scope) -> str:
    # What a caller invents must not become a time series of its own.
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", None) or "none"
