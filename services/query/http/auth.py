"""Lets requests to the API pass if they carry a query token for it, or a session of the page."""

from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.keys.tokens import Needed, authorize, authorize_session, valid_session
from services.keys.view import Keys
from services.query.http.params import now_ms
from services.query.sessions.cookie import check_own_page, secret_of
from services.topic_view import TopicView

# Any other method counts as one that changes something.
_READING: Final = {"GET", "HEAD"}


class AuthMiddleware:
    """Middleware for a route with a `{project}`: the token or the session must be for this project.

    It must have the route's scope. Without one, reading needs `read`, and everything else `write`.
    Raises, before the endpoint is called, what `check_access` and `view.require` raise.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys,
        view: TopicView[Any],
        clock: Callable[[], int] = now_ms,
        scope: Needed | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._view = view
        self._clock = clock
        self._scope = scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its token or its session allows it."""
        self._view.require()
        reading = scope["method"] in _READING
        check_access(
            self._keys,
            Headers(scope=scope),
            self._scope or ("read" if reading else "write"),
            scope["path_params"]["project"],
            self._clock(),
            changing=not reading,
        )
        await self._app(scope, receive, send)


def check_access(
    keys: Keys,
    headers: Headers,
    scope: Needed,
    project_id: str,
    now_ms: int,
    *,
    changing: bool,
) -> None:
    """Return if a request with these headers has `scope` in a project.

    `changing` is true of any method but GET and HEAD: its session must come with an `Origin`.

    A token in `Authorization` decides alone; without one, the session in the cookie does.

    Raises:
        Unauthorized: there is neither, or what there is has ended.
        Forbidden: it is for another project or another scope, or the session's request does not
            come from our own page.
    """
    secret = secret_of(headers)
    if "authorization" in headers or not secret:
        authorize(keys, headers.get("authorization", ""), scope, project_id, now_ms)
        return
    valid_session(keys, secret, now_ms)
    check_own_page(headers, changing=changing)
    authorize_session(keys, secret, scope, project_id, now_ms)
