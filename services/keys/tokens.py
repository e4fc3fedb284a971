"""Decide what a query token may do: pure functions."""

from datetime import UTC, datetime
from typing import Final

from schemas.errors import Forbidden, Unauthorized
from schemas.keys import ALL_PROJECTS, TOKEN_PREFIX, WRITE_KEY_PREFIX, Scope
from services.keys.view import Keys

_SEND: Final = f"send `Authorization: Bearer {TOKEN_PREFIX}…`"
_CREATE: Final = "create one with `avila tokens create`"


def authorize(keys: Keys, authorization: str, scope: Scope, project_id: str, now_ms: int) -> None:
    """Return if the token in an `Authorization` header has `scope` in a project.

    Raises:
        Unauthorized: the header has no token, or one that is unknown, revoked or expired.
        Forbidden: the token is for another project or another scope.
    """
    scheme, _, text = authorization.strip().partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text:
        raise Unauthorized(f"a query token is required: {_SEND}; {_CREATE}")
    if text.startswith(WRITE_KEY_PREFIX) or text in keys.write_keys:
        raise Unauthorized(
            f"this is a write key, which sends events and reads nothing; {_SEND}; {_CREATE}"
        )
    token = keys.find_token(text)
    if token is None:
        raise Unauthorized(f"the query token is unknown or was revoked; {_CREATE}")
    if now_ms >= token.expires_at:
        day = datetime.fromtimestamp(token.expires_at / 1_000, UTC).date()
        raise Unauthorized(f"the query token {token.id} expired on {day}; {_CREATE}")
    if token.project_id not in {ALL_PROJECTS, project_id}:
        raise Forbidden(f"the query token {token.id} is for project {token.project_id}")
    if scope not in token.scopes:
        raise Forbidden(
            f"the query token {token.id} has no scope `{scope}`, only {', '.join(token.scopes)}: "
            f"create one that has both with `avila tokens create --project {project_id} "
            "--scope read --scope write`"
        )
