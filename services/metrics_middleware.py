"""Middleware that times requests by the route that answered them, and gives each a log line."""

import re
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
                status, seconds, method=method, path=logged_path(scope), client=client_of(scope)
            )


_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _method(scope: Scope) -> str:
    # An invented method must not become a time series of its own.
    return scope["method"] if scope["method"] in _METHODS else "other"


_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_PERSON: Final = "person"
# What follows, in a path of which nothing else is known, may be a person's id.
_PERSONS: Final = "/persons/"
_MAX_PATH_CHARS: Final = 200


def logged_path(scope: Scope) -> str:
    """Return the path of a request without the ids of persons: `{person}` has their place."""
    route, given = _route(scope), scope.get("path_params", {})
    if _PERSON in given:

        def value(found: re.Match[str]) -> str:
            name = found[1]
            return f"{{{name}}}" if name == _PERSON else str(given.get(name, found[0]))

        return _PARAMETER.sub(value, route)[:_MAX_PATH_CHARS]
    before, persons, after = scope["path"].partition(_PERSONS)
    path: str = f"{before}{persons}{{{_PERSON}}}" if after else scope["path"]
    return path[:_MAX_PATH_CHARS]


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", None) or "none"
