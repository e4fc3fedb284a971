"""What the API answers about sessions."""

import datetime
from typing import Literal

import msgspec

from schemas.keys import QueryToken, Scope, Session
from services.keys.tokens import is_admin
from services.query.http.params import instant

Role = Literal["viewer", "editor", "admin"]


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query token, to begin a session with."""

    token: str

    def __repr__(self) -> str:
        return "SignIn(…)"


class SessionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A session: which token it was begun with, what it allows, and how long.

    `project_id` is the token's: `*` is all projects. A `viewer` has the scope `read`, an `editor`
    also `write`, and an `admin` has both in all projects. `current` marks the session of this
    request.
    """

    id: str
    token: str
    project_id: str
    role: Role
    scopes: tuple[Scope, ...]
    client: str
    created_at: datetime.datetime
    expires_at: datetime.datetime
    current: bool


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in: `session` is null if nobody is.

    `projects` are those that the session may read and that have a key, a setting or a definition.
    """

    session: SessionResponse | None
    projects: list[str]


class SessionListResponse(msgspec.Struct, frozen=True):
    """The sessions that have not ended, the newest first."""

    sessions: list[SessionResponse]


def show(session: Session, token: QueryToken, *, current: bool) -> SessionResponse:
    """Return the response for a session that has not ended."""
    return SessionResponse(
        id=session.id,
        token=token.id,
        project_id=token.project_id,
        role=role_of(token),
        scopes=token.scopes,
        client=session.client,
        created_at=instant(session.created_at),
        expires_at=instant(min(session.expires_at, token.expires_at)),
        current=current,
    )


def role_of(token: QueryToken) -> Role:
    """Return what sessions of a token may do, in one word."""
    if "write" not in token.scopes:
        return "viewer"
    return "admin" if is_admin(token) else "editor"
