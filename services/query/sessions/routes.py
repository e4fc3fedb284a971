"""The routes of sessions, and their descriptions. They are of no project, and not on gRPC."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.query.http.describe import Json, json_response, operation, path_parameter
from services.query.sessions.resource import Sessions
from services.query.sessions.response import (
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


_ENDED: Final[Json] = {"204": {"description": "Ended"}}
_ANYBODY: Final[Json] = {"security": []}
_ID: Final[Json] = {"parameters": [path_parameter("id")]}

TYPES: Final[tuple[type[msgspec.Struct], ...]] = (
    SignIn,
    SignedIn,
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
