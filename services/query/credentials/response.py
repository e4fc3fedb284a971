"""What the API takes and answers about write keys and query tokens."""

import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.definitions import Id, Text
from schemas.keys import (
    ALL_PROJECTS,
    MAX_TOKEN_DAYS,
    Origin,
    PerDay,
    PerSecond,
    QueryToken,
    Scope,
    WriteKey,
)
from services.query.http.params import instant
from services.query.sessions.response import Role, role_of

# The end of the year 9998, the last whole one that a time in JSON can have.
_FAR_MS: Final = 253_370_764_800_000


class NewWriteKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A write key to make; null is no limit. `key` is one that producers have from elsewhere."""

    name: Text = ""
    events_per_s: PerSecond | None = None
    events_per_day: PerDay | None = None
    origins: Annotated[tuple[Origin, ...], Meta(max_length=50)] = ()
    key: Id | None = None


class WriteKeyResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A write key, which is public; `id` is the key itself."""

    id: str
    name: str
    created_at: datetime.datetime
    events_per_s: int | None
    events_per_day: int | None
    origins: tuple[str, ...]


class WriteKeyListResponse(msgspec.Struct, frozen=True):
    """The write keys of a project, the newest first."""

    keys: list[WriteKeyResponse]


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A query token to make: for this project, or with `all_projects` for all.

    A token of the scope `read` is a viewer's, one that also has `write` an editor's, and that of
    all projects an administrator's.
    """

    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=2)]
    days: Annotated[int, Meta(ge=1, le=MAX_TOKEN_DAYS)] = 90
    name: Text = ""
    all_projects: bool = False


class TokenResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A query token, whose text is not stored. `current` marks the one of this request."""

    id: str
    name: str
    project_id: str
    role: Role
    scopes: tuple[Scope, ...]
    created_at: datetime.datetime
    expires_at: datetime.datetime
    sessions: int
    current: bool


class NewTokenResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just made. `text` is the token itself, and is shown this once."""

    token: TokenResponse
    text: str

    def __repr__(self) -> str:
        return "NewTokenResponse(…)"


class TokenListResponse(msgspec.Struct, frozen=True):
    """The tokens that open a project, those of all projects included, the newest first."""

    tokens: list[TokenResponse]


def show_key(key: WriteKey) -> WriteKeyResponse:
    """Return the response for a write key."""
    return WriteKeyResponse(
        id=key.id,
        name=key.name,
        created_at=instant(key.created_at),
        events_per_s=key.events_per_s,
        events_per_day=key.events_per_day,
        origins=key.origins,
    )


def show_token(token: QueryToken, *, sessions: int, current: bool) -> TokenResponse:
    """Return the response for a token, with how many sessions were begun with it."""
    return TokenResponse(
        id=token.id,
        name=token.name,
        project_id=token.project_id,
        role=role_of(token),
        scopes=token.scopes,
        created_at=instant(token.created_at),
        expires_at=instant(min(token.expires_at, _FAR_MS)),
        sessions=sessions,
        current=current,
    )


def opens(token: QueryToken, project: str) -> bool:
    """Whether a token is for a project."""
    return token.project_id in {project, ALL_PROJECTS}
