"""The endpoints of links, each of which shows one dashboard to whoever has it."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.dashboards import DashboardDefinition
from schemas.definitions import read_request
from schemas.errors import Conflict, NotFound
from schemas.keys import (
    MAX_LINKS_PER_PROJECT,
    DashboardLink,
    digest_of,
    encode,
    mint_link,
    record_key,
    token_id,
)
from services.commands import Commands, Write
from services.keys.view import Keys
from services.query.dashboards.response import (
    LinkListResponse,
    NewLink,
    NewLinkResponse,
    show_link,
)
from services.query.http.params import encode_response, key_of, now_ms, project_of, read_fields
from services.query.views.catalog import Definitions
from services.topic_view import TopicView

_DAY_MS: Final = 86_400_000

_new = msgspec.json.Decoder(NewLink)


class Links:
    """The endpoints `/dashboards/{id}/links` and `/links`; `clock` returns ms since 1970."""

    def __init__(
        self,
        dashboards: Definitions[DashboardDefinition],
        keys: Keys,
        view: TopicView[Any],
        commands: Commands,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._dashboards = dashboards
        self._keys = keys
        self._view = view
        self._commands = commands
        self._clock = clock

    async def create(self, request: Request) -> Response:
        """Make a link to a dashboard; the answer alone has its secret."""
        key = key_of(request)
        asked = read_request(_new, msgspec.json.encode(await read_fields(request)))
        self._view.require()
        secret, now = mint_link(), self._clock()
        digest = digest_of(secret)
        link = DashboardLink(
            project_id=key.project_id,
            id=token_id(digest),
            digest=digest,
            dashboard=key.id,
            created_at=now,
            expires_at=now + asked.days * _DAY_MS,
            name=asked.name,
            embed=asked.embed,
        )

        def decide() -> Write[None]:
            self._dashboards.get(key)
            held = [one for one in self._keys.links.values() if one.project_id == key.project_id]
            ended = [one for one in held if now >= one.expires_at]
            if len(held) - len(ended) >= MAX_LINKS_PER_PROJECT:
                raise Conflict(
                    f"project {key.project_id} has {MAX_LINKS_PER_PROJECT} links, which is the "
                    "maximum: revoke one first"
                )
            also = [Write(record_key(one), None, {}, None) for one in ended]
            return Write(record_key(link), encode(link), {}, None, also)

        await self._commands.change(decide)
        made = NewLinkResponse(link=show_link(link), path=f"/shared/{link.id}#{secret}")
        return encode_response(made, 201)

    async def list(self, request: Request) -> Response:
        """Show the links of the project that have not ended."""
        project = project_of(request)
        self._view.require()
        now = self._clock()
        found = [
            one
            for one in self._keys.links.values()
            if one.project_id == project and now < one.expires_at
        ]
        newest = sorted(found, key=lambda one: (-one.created_at, one.id))
        return encode_response(LinkListResponse([show_link(one) for one in newest]))

    async def revoke(self, request: Request) -> Response:
        """End a link at once."""
        key = key_of(request)
        self._view.require()

        def decide() -> Write[None]:
            link = self._keys.links.get(key.id)
            if link is None or link.project_id != key.project_id:
                raise NotFound(f"project {key.project_id} has no link {key.id}")
            return Write(record_key(link), None, {}, None)

        await self._commands.change(decide)
        return Response(status_code=204)
