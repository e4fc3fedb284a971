"""Decide what a query token may do: pure functions."""

from datetime import UTC, datetime
from typing import Final, Literal

from schemas.errors import Forbidden, Unauthorized
from schemas.keys import ALL_PROJECTS, TOKEN_PREFIX, WRITE_KEY_PREFIX, QueryToken, Scope, Session
from services.keys.view import Keys

# What a route needs: a scope, or to administer keys and tokens.
Needed = Scope | Literal["admin"]

_SEND: Final = f"send `Authorization: Bearer {TOKEN_PREFIX}…`"
_CREATE: Final = "create one with `avila tokens create`"


def authorize(keys: Keys, authorization: str, scope: Needed, project_id: str, now_ms: int) -> None:
    """Return if the token in an `Authorization` header has `scope` in a project.

    Raises:
        Unauthorized: the header has no token, or one that is unknown, revoked or expired.
        Forbidden: the token is for another project or another scope.
    """
    scheme, _, text = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Unauthorized(f"a query token is required: {_SEND}; {_CREATE}")
    check_allowed(valid_token(keys, text, now_ms), scope, project_id)


def valid_token(keys: Keys, text: str, now_ms: int) -> QueryToken:
    """Return the token with a text.

    Raises:
        Unauthorized: there is none, or it has expired.
    """
    text = text.strip()
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
    return token


def tokens_of(keys: Keys, session: Session) -> tuple[QueryToken, ...]:
    """Return the tokens whose rights a session has; empty if the one that it began with ended.

    A session that was begun at an identity provider has one for each of its grants, which exists
    only here: no text is its secret.
    """
    if not session.grants:
        begun_with = keys.tokens.get(session.token)
        return () if begun_with is None else (begun_with,)
    return tuple(
        QueryToken(
            project_id=grant.project_id,
            id=session.token,
            digest="",
            scopes=grant.scopes,
            created_at=session.created_at,
            expires_at=session.expires_at,
            name=session.user,
        )
        for grant in session.grants
    )


def valid_session(keys: Keys, secret: str, now_ms: int) -> tuple[Session, tuple[QueryToken, ...]]:
    """Return the session with a secret, and the tokens whose rights it has, at least one.

    Raises:
        Unauthorized: the session is unknown or has ended, or its token has.
    """
    session = keys.find_session(secret)
    tokens = () if session is None else tokens_of(keys, session)
    if session is None or not tokens or now_ms >= min(session.expires_at, tokens[0].expires_at):
        raise Unauthorized("the session has ended: sign in again")
    return session, tokens


def authorize_session(keys: Keys, secret: str, scope: Needed, project_id: str, now_ms: int) -> None:
    """Return if the session with a secret has `scope` in a project.

    Raises:
        Unauthorized: the session is unknown or has ended, or its token has.
        Forbidden: it is for other projects or other scopes.
    """
    session, tokens = valid_session(keys, secret, now_ms)
    if not session.grants:
        check_allowed(tokens[0], scope, project_id)
    elif not any(_allows(token, scope, project_id) for token in tokens):
        granted = ", ".join(f"{one.project_id} ({' and '.join(one.scopes)})" for one in tokens)
        raise Forbidden(f"the session has no scope `{scope}` in project {project_id}: {granted}")


def _allows(token: QueryToken, scope: Needed, project_id: str) -> bool:
    if scope == "admin":
        return is_admin(token)
    return token.project_id in {ALL_PROJECTS, project_id} and scope in token.scopes


def is_admin(token: QueryToken) -> bool:
    """Whether a token may write in all projects, so that it also makes keys and tokens."""
    return token.project_id == ALL_PROJECTS and "write" in token.scopes


def check_allowed(token: QueryToken, scope: Needed, project_id: str) -> None:
    """Return if a valid token has `scope` in a project; raises `Forbidden` otherwise."""
    if scope == "admin":
        if not is_admin(token):
            raise Forbidden(
                f"the query token {token.id} is no administrator's: keys and tokens need one with "
                "the scope `write` in all projects"
            )
        return
    if token.project_id not in {ALL_PROJECTS, project_id}:
        raise Forbidden(f"the query token {token.id} is for project {token.project_id}")
    if scope not in token.scopes:
        raise Forbidden(
            f"the query token {token.id} has no scope `{scope}`, only {', '.join(token.scopes)}: "
            f"create one that has both with `avila tokens create --project {project_id} "
            "--scope read --scope write`"
        )
