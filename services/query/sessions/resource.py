"""The endpoints of sessions: sign in, sign out, who is signed in, and the list of sessions.

A session is a record on the definitions topic, so it is known to every process and survives their
restarts. One that was begun with a token may do what the token may, and ends with it. One that was
begun at an identity provider (`services.query.sessions.oidc`) has grants of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import read_request
from schemas.errors import NotFound, Unauthorized
from schemas.keys import (
    ALL_PROJECTS,
    Grant,
    QueryToken,
    Session,
    digest_of,
    encode,
    mint_session,
    record_key,
    token_id,
)
from services.commands import Commands, Write
from services.keys.tokens import is_admin, tokens_of, valid_session, valid_token
from services.keys.view import Keys
from services.listening import client_of
from services.query.http.params import encode_response, now_ms, read_fields
from services.query.sessions.attempts import Attempts
from services.query.sessions.cookie import check_own_page, secret_of, set_cookie
from services.query.sessions.response import (
    SessionListResponse,
    SessionResponse,
    SignedIn,
    SignIn,
    show,
)
from services.topic_view import TopicView

SESSION_S: Final = 7 * 86_400
MAX_SESSIONS_PER_TOKEN: Final = 50
_MAX_CLIENT_CHARS: Final = 200

_sign_in = msgspec.json.Decoder(SignIn)


class Sessions:
    """The endpoints `/session` and `/sessions`.

    `projects` returns the projects that have definitions; `clock` milliseconds since 1970.
    `provider` is the name of the identity provider, if there is one.
    """

    def __init__(
        self,
        keys: Keys,
        view: TopicView[Any],
        commands: Commands,
        projects: Callable[[], Iterable[str]],
        clock: Callable[[], int] = now_ms,
        *,
        provider: str | None = None,
    ) -> None:
        self._keys = keys
        self._view = view
        self._commands = commands
        self._projects = projects
        self._clock = clock
        self._provider = provider
        self._attempts = Attempts()

    async def sign_in(self, request: Request) -> Response:
        """Begin a session with a query token, and set its cookie."""
        check_own_page(request.headers, changing=True)
        client = client_of(request.scope)
        given = read_request(_sign_in, msgspec.json.encode(await read_fields(request)))
        self._view.require()
        try:
            token = valid_token(self._keys, given.token, self._clock())
        except Unauthorized:
            self._attempts.failed(client)
            raise
        expires_at = min(self._clock() + SESSION_S * 1_000, token.expires_at)
        secret, session = await self.begin(
            request, project_id=token.project_id, token=token.id, expires_at=expires_at
        )
        body = self._signed_in(session, (token,))
        seconds = (expires_at - self._clock()) // 1_000
        return encode_response(body, 201, {"Set-Cookie": set_cookie(secret, seconds)})

    async def begin(
        self,
        request: Request,
        *,
        project_id: str,
        token: str,
        expires_at: int,
        user: str = "",
        grants: tuple[Grant, ...] = (),
    ) -> tuple[str, Session]:
        """Begin a session for the browser that sends the request; returns its secret and record.

        The arguments are the fields of `schemas.keys.Session`. A session that the browser had
        before ends, and so do those of the same `token` beyond `MAX_SESSIONS_PER_TOKEN`, the oldest
        first. Raises what `Commands.change` does.
        """
        self._view.require()
        secret = mint_session()
        digest = digest_of(secret)
        session = Session(
            project_id=project_id,
            id=token_id(digest),
            digest=digest,
            token=token,
            created_at=self._clock(),
            expires_at=expires_at,
            client=request.headers.get("user-agent", "")[:_MAX_CLIENT_CHARS],
            user=user,
            grants=grants,
        )
        replaced = secret_of(request.headers)
        await self._commands.change(lambda: self._begin(session, replaced))
        return secret, session

    async def sign_out(self, request: Request) -> Response:
        """End the session of the request, if it has one, and remove its cookie."""
        check_own_page(request.headers, changing=True)
        secret = secret_of(request.headers)
        session = self._keys.find_session(secret) if secret else None
        if session is not None:
            await self._end(session.id)
        return Response(status_code=204, headers={"Set-Cookie": set_cookie("", 0)})

    async def read(self, request: Request) -> Response:
        """Show who is signed in; nobody is no error."""
        check_own_page(request.headers, changing=False)
        self._view.require()
        try:
            session, tokens = self._valid(request.headers)
        except Unauthorized:
            return encode_response(SignedIn(session=None, projects=[], provider=self._provider))
        return encode_response(self._signed_in(session, tokens))

    async def list_all(self, request: Request) -> Response:
        """Show the sessions of the same token; to an admin, all; if nobody is signed in, none."""
        return encode_response(SessionListResponse(self._listed(request.headers, changing=False)))

    async def end(self, request: Request) -> Response:
        """End a session that the list shows."""
        name: str = request.path_params["id"]
        if all(name != one.id for one in self._listed(request.headers, changing=True)):
            raise NotFound("there is no such session")
        await self._end(name)
        return Response(status_code=204)

    def _signed_in(self, session: Session, tokens: Sequence[QueryToken]) -> SignedIn:
        return SignedIn(
            session=show(session, tokens, current=True),
            projects=self._readable_by(tokens),
            provider=self._provider,
        )

    def _valid(self, headers: Headers) -> tuple[Session, tuple[QueryToken, ...]]:
        self._view.require()
        return valid_session(self._keys, secret_of(headers), self._clock())

    def _listed(self, headers: Headers, *, changing: bool) -> list[SessionResponse]:
        try:
            own, tokens = self._valid(headers)
        except Unauthorized:
            return []
        check_own_page(headers, changing=changing)
        return list(self._seen_by(own, tokens))

    def _seen_by(self, own: Session, tokens: Sequence[QueryToken]) -> Iterable[SessionResponse]:
        now, admin = self._clock(), any(map(is_admin, tokens))
        for one in sorted(self._keys.sessions.values(), key=lambda one: -one.created_at):
            begun_with = tokens_of(self._keys, one)
            if not begun_with or now >= min(one.expires_at, begun_with[0].expires_at):
                continue
            if admin or one.token == own.token:
                yield show(one, begun_with, current=one.id == own.id)

    def _begin(self, session: Session, replaced: str) -> Write[None]:
        """Return the record of a new session, and tombstones of those that end with it.

        They are those that must make room, and the one with the secret `replaced`, which the
        browser forgets.
        """
        forgotten = self._keys.find_session(replaced) if replaced else None
        others = sorted(
            (one for one in self._keys.sessions.values() if one.token == session.token),
            key=lambda one: -one.created_at,
        )
        ended = [
            one
            for place, one in enumerate(others)
            if place >= MAX_SESSIONS_PER_TOKEN - 1 or session.created_at >= one.expires_at
        ]
        if forgotten is not None and forgotten not in ended:
            ended.append(forgotten)
        tombstones = [Write(record_key(one), None, {}, None) for one in ended]
        return Write(record_key(session), encode(session), {}, None, tombstones)

    async def _end(self, name: str) -> None:
        def decide() -> Write[None]:
            session = self._keys.sessions.get(name)
            if session is None:
                raise NotFound("there is no such session")
            return Write(record_key(session), None, {}, None)

        await self._commands.change(decide)

    def _readable_by(self, tokens: Sequence[QueryToken]) -> list[str]:
        readable = {token.project_id for token in tokens}
        if ALL_PROJECTS not in readable:
            return sorted(readable)
        named = {key.project_id for key in self._keys.write_keys.values()}
        return sorted({*named, *self._keys.projects, *self._projects()})
