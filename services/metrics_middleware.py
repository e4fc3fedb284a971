"""Middleware that times requests by the route that answered them, and gives each a log line."""

import time
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.access_log import AccessLog
from services.listening import client_of


class Observer(Protocol):
    """What counts requests."""

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""


class MetricsMiddleware:
    """Middleware that times every request by the route that answered it."""

    def __init__(self, app: ASGIApp, telemetry: Observer, log: AccessLog) -> None:
        self._app = app
        self._telemetry = telemetry
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it however it ends."""
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
            method = _method(scope)
            self._telemetry.observe(method, _route(scope), status, seconds)
            self._log.line(
                status, seconds, method=method, path=scope["path"], client=client_of(scope)
            )


_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _method(scope: Scope) -> str:
    # An invented method must not become a time series of its own.
    return scope["method"] if scope["method"] in _METHODS else "other"


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", None) or "none"
