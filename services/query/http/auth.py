"""Lets requests to the API pass if they carry a query token for it."""

from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.keys import Scope as TokenScope
from services.keys.tokens import authorize
from services.keys.view import Keys
from services.query.http.params import now_ms
from services.topic_view import TopicView

# Any other method counts as one that changes something.
_READING: Final = {"GET", "HEAD"}


class AuthMiddleware:
    """Middleware for a route with a `{project}`: the token must be for this project.

    It must have the route's scope. Without one, reading needs `read`, and everything else `write`.
    Raises, before the endpoint is called,
    what `authorize` and `view.require` raise.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        view: TopicView[Any],
        clock: Callable[[], int] = now_ms,
        scope: TokenScope | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._view = view
        self._clock = clock
        self._scope = scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its token allows it."""
        self._view.require()
        authorize(
            self._keys,
            Headers(scope=scope).get("authorization", ""),
            self._scope or ("read" if scope["method"] in _READING else "write"),
            scope["path_params"]["project"],
            self._clock(),
        )
        await self._app(scope, receive, send)
