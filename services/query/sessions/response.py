"""What the API answers about sessions."""

import datetime
from collections.abc import Sequence
from typing import Final, Literal, get_args

import msgspec

from schemas.keys import ALL_PROJECTS, QueryToken, Scope, Session
from services.keys.tokens import is_admin
from services.query.http.params import instant

Role = Literal["viewer", "editor", "admin"]
_ROLES: Final[tuple[Role, ...]] = get_args(Role)


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query token, to begin a session with."""

    token: str

    def __repr__(self) -> str:
        return "SignIn(…)"


class SessionGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What a session may do in a project; `*` is all projects."""

    project_id: str
    role: Role
    scopes: tuple[Scope, ...]


class SessionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A session: which token it was begun with, what it allows, and how long.

    A `viewer` has the scope `read`, an `editor` also `write`, and an `admin` has both in all
    projects (`*`). `grants` have this for each project; `project_id`, `role` and `scopes` are those
    of the widest. A session that was begun at an identity provider has the account's name in
    `user`, and an id that stands for the account in `token`. `current` marks the session of this
    request.
    """

    id: str
    token: str
    user: str
    grants: tuple[SessionGrant, ...]
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
    `provider` is the name of the identity provider at which people may sign in, if there is one.
    """

    session: SessionResponse | None
    projects: list[str]
    provider: str | None = None


class SessionListResponse(msgspec.Struct, frozen=True):
    """The sessions that have not ended, the newest first."""

    sessions: list[SessionResponse]


def show(session: Session, tokens: Sequence[QueryToken], *, current: bool) -> SessionResponse:
    """Return the response for a session that has not ended; `tokens` are those of its rights."""
    widest = max(tokens, key=lambda token: (_ROLES.index(role_of(token)), _is_of_all(token)))
    return SessionResponse(
        id=session.id,
        token=session.token,
        user=session.user,
        grants=tuple(
            SessionGrant(project_id=one.project_id, role=role_of(one), scopes=one.scopes)
            for one in tokens
        ),
        project_id=widest.project_id,
        role=role_of(widest),
        scopes=widest.scopes,
        client=session.client,
        created_at=instant(session.created_at),
        expires_at=instant(min(session.expires_at, widest.expires_at)),
        current=current,
    )


def role_of(token: QueryToken) -> Role:
    """Return what sessions of a token may do, in one word."""
    if "write" not in token.scopes:
        return "viewer"
    return "admin" if is_admin(token) else "editor"


def _is_of_all(token: QueryToken) -> bool:
    return token.project_id == ALL_PROJECTS
