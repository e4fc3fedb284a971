"""The routes of sessions, and their descriptions. They are of no project, and not on gRPC."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.query.http.describe import (
    Json,
    json_response,
    operation,
    parameter,
    path_parameter,
)
from services.query.sessions.oidc.endpoint import BEGIN_PATH, OidcSignIn
from services.query.sessions.oidc.provider import CALLBACK_PATH
from services.query.sessions.resource import Sessions
from services.query.sessions.response import (
    SessionGrant,
    SessionListResponse,
    SessionResponse,
    SignedIn,
    SignIn,
)


class SessionRoute(NamedTuple):
    """One method of a path; `handle` takes the resource and the request."""

    method: str
    path: str
    handle: Callable[[Sessions, Request], Awaitable[Response]]
    operation: Json


class OidcRoute(NamedTuple):
    """One path of signing in at a provider; it takes whatever the provider adds to its query."""

    path: str
    handle: Callable[[OidcSignIn, Request], Awaitable[Response]]
    operation: Json


_SENT: Final[Json] = {
    "303": {
        "description": "Go on there",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}
_ENDED: Final[Json] = {"204": {"description": "Ended"}}
_ANYBODY: Final[Json] = {"security": []}
_ID: Final[Json] = {"parameters": [path_parameter("id")]}

TYPES: Final[tuple[type[msgspec.Struct], ...]] = (
    SignIn,
    SignedIn,
    SessionGrant,
    SessionResponse,
    SessionListResponse,
)
ROUTES: Final = (
    SessionRoute(
        "POST",
        "/session",
        Sessions.sign_in,
        operation(
            "signIn",
            "Begin a session of the page with a query token; only the page itself may",
            {"201": json_response(SignedIn)},
            *(413, 429),
            body="SignIn",
        )
        | _ANYBODY,
    ),
    SessionRoute(
        "GET",
        "/session",
        Sessions.read,
        operation("readSession", "Who is signed in", {"200": json_response(SignedIn)}) | _ANYBODY,
    ),
    SessionRoute(
        "DELETE",
        "/session",
        Sessions.sign_out,
        operation("signOut", "End the session", _ENDED) | _ANYBODY,
    ),
    SessionRoute(
        "GET",
        "/sessions",
        Sessions.list_all,
        operation(
            "listSessions",
            "The sessions of the same token; to an admin, all; to whoever is not signed in, none",
            {"200": json_response(SessionListResponse)},
        )
        | _ANYBODY,
    ),
    SessionRoute(
        "DELETE",
        "/sessions/{id}",
        Sessions.end,
        operation("endSession", "End a session", _ENDED, 404) | _ID | _ANYBODY,
    ),
)
OIDC_ROUTES: Final = (
    OidcRoute(
        BEGIN_PATH,
        OidcSignIn.begin,
        operation("beginSignIn", "Go to the identity provider to sign in", _SENT, 404) | _ANYBODY,
    ),
    OidcRoute(
        CALLBACK_PATH,
        OidcSignIn.end,
        operation(
            "endSignIn",
            "Where the identity provider sends people back: begin a session of the page",
            _SENT,
            404,
            parameters=tuple(
                parameter(name, {"type": "string"}, described)
                for name, described in (
                    ("code", "What the provider gives an ID token for."),
                    ("state", "That of the attempt that this browser began."),
                    ("iss", "The provider's issuer."),
                    ("error", "Why the provider has refused."),
                )
            ),
        )
        | _ANYBODY,
    ),
)
