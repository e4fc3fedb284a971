"""The endpoints of write keys and query tokens: list, make and revoke; for administrators."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import read_request
from schemas.errors import NotFound
from schemas.keys import ALL_PROJECTS
from services.keys.commands import KeyCommands
from services.query.credentials.response import (
    NewToken,
    NewTokenResponse,
    NewWriteKey,
    TokenListResponse,
    WriteKeyListResponse,
    opens,
    show_key,
    show_token,
)
from services.query.http.params import encode_response, key_of, now_ms, project_of, read_fields
from services.query.sessions.cookie import secret_of
from services.topic_view import TopicView

_new_key = msgspec.json.Decoder(NewWriteKey)
_new_token = msgspec.json.Decoder(NewToken)


class Credentials:
    """The endpoints `/write-keys` and `/tokens`; `clock` returns ms since 1970."""

    def __init__(
        self, commands: KeyCommands, view: TopicView[Any], clock: Callable[[], int] = now_ms
    ) -> None:
        self._commands = commands
        self._keys = commands.keys
        self._view = view
        self._clock = clock

    async def list_keys(self, request: Request) -> Response:
        """Show the write keys of the project."""
        project = project_of(request)
        self._view.require()
        found = [one for one in self._keys.write_keys.values() if one.project_id == project]
        newest = sorted(found, key=lambda one: (-one.created_at, one.id))
        return encode_response(WriteKeyListResponse([show_key(one) for one in newest]))

    async def create_key(self, request: Request) -> Response:
        """Make a write key of the project."""
        project = project_of(request)
        asked = read_request(_new_key, msgspec.json.encode(await read_fields(request)))
        self._view.require()
        made = await self._commands.create_write_key(
            project,
            name=asked.name,
            events_per_s=asked.events_per_s,
            events_per_day=asked.events_per_day,
            origins=asked.origins,
            key=asked.key,
        )
        return encode_response(show_key(made), 201)

    async def revoke_key(self, request: Request) -> Response:
        """Revoke a write key of the project: within a second its events are refused."""
        key = key_of(request)
        self._view.require()
        found = self._keys.write_keys.get(key.id)
        if found is None or found.project_id != key.project_id:
            raise NotFound(f"project {key.project_id} has no write key {key.id}")
        await self._commands.revoke_write_key(key.id)
        return Response(status_code=204)

    async def list_tokens(self, request: Request) -> Response:
        """Show the tokens that open the project and have not expired."""
        project = project_of(request)
        self._view.require()
        now, current = self._clock(), self._token_of(request.headers)
        found = [
            one
            for one in self._keys.tokens.values()
            if opens(one, project) and now < one.expires_at
        ]
        newest = sorted(found, key=lambda one: (-one.created_at, one.id))
        return encode_response(
            TokenListResponse(
                [
                    show_token(one, sessions=self._sessions(one.id, now), current=one.id == current)
                    for one in newest
                ]
            )
        )

    async def create_token(self, request: Request) -> Response:
        """Make a token; the answer alone has its text."""
        project = project_of(request)
        asked = read_request(_new_token, msgspec.json.encode(await read_fields(request)))
        self._view.require()
        text, made = await self._commands.create_token(
            ALL_PROJECTS if asked.all_projects else project,
            asked.scopes,
            days=asked.days,
            name=asked.name,
        )
        shown = show_token(made, sessions=0, current=False)
        return encode_response(NewTokenResponse(token=shown, text=text), 201)

    async def revoke_token(self, request: Request) -> Response:
        """Revoke a token that opens the project, and with it the sessions begun with it."""
        key = key_of(request)
        self._view.require()
        found = self._keys.tokens.get(key.id)
        if found is None or not opens(found, key.project_id):
            raise NotFound(f"no query token {key.id} opens project {key.project_id}")
        await self._commands.revoke_token(key.id)
        return Response(status_code=204)

    def _sessions(self, token: str, now: int) -> int:
        held = self._keys.sessions.values()
        return sum(one.token == token and now < one.expires_at for one in held)

    def _token_of(self, headers: Headers) -> str:
        """Return the id of the token that a request shows, itself or by its session."""
        _, _, text = headers.get("authorization", "").strip().partition(" ")
        if text:
            token = self._keys.find_token(text.strip())
            return "" if token is None else token.id
        session = self._keys.find_session(secret_of(headers))
        return "" if session is None else session.token
