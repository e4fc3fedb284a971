"""What a link to a dashboard shows: its page, its tiles, and their figures. Nothing else.

A link has an id, which is in its address, and a secret, which browsers keep to themselves (it
follows the `#`) and show in `Authorization`. So the secret is in no log and no `Referer`, and no
cookie is needed, which a frame on another site would not get. The page of every id is the same but
for the pages that may show it in a frame.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.dashboards import DashboardDefinition, TextTile, Tile, kind_of
from schemas.definitions import Definition
from schemas.errors import InvalidRequest, NotFound, Unauthorized
from schemas.keys import DashboardLink
from schemas.operators import OPERATORS
from services.keys.view import Keys
from services.page.assets import Page
from services.query.dashboards.asks import Find, definition_of
from services.query.dashboards.figures import TileFigures
from services.query.dashboards.recent import RecentAnswers
from services.query.dashboards.response import SharedDashboardResponse, SharedTile
from services.query.http.params import encode_response, instant, now_ms
from services.query.views.catalog import Definitions
from services.query.views.changes import Key
from services.topic_view import TopicView


class SharedDashboards:
    """The endpoints under `/shared/{id}`; `clock` returns ms since 1970."""

    def __init__(
        self,
        dashboards: Definitions[DashboardDefinition],
        keys: Keys,
        view: TopicView[Any],
        figures: TileFigures,
        find: Callable[[str], Find],
        page: Page,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._dashboards = dashboards
        self._keys = keys
        self._view = view
        self._figures = figures
        self._find = find
        self._page = page
        self._clock = clock
        self._recent = RecentAnswers()
        self._names = secrets.token_bytes(32)

    async def page(self, request: Request) -> Response:
        """Answer with the document, which only the link's own pages may show in a frame."""
        link = self._keys.links.get(request.path_params["id"])
        is_valid = link is not None and self._clock() < link.expires_at
        return self._page.framed(request, link.embed if link is not None and is_valid else ())

    async def read(self, request: Request) -> Response:
        """Show the dashboard without what its tiles ask for."""
        link, definition = self._opened(request)
        dashboard = definition.dashboard
        days = self._figures.days(link.project_id, dashboard.range)
        return encode_response(
            SharedDashboardResponse(
                name=dashboard.name or definition.id,
                description=dashboard.description,
                tiles=tuple(self._shown(link.project_id, tile) for tile in dashboard.tiles),
                last_days=dashboard.range.last_days,
                first_day=days and days[0].isoformat(),
                last_day=days and days[1].isoformat(),
                filtered=bool(dashboard.where),
                expires_at=instant(link.expires_at),
            ),
            headers=_PRIVATE,
        )

    async def tile(self, request: Request) -> Response:
        """Show the figures of a tile of the dashboard; viewers of one second share them."""
        link, definition = self._opened(request)
        dashboard, name = definition.dashboard, request.path_params["tile"]
        tile = next((one for one in dashboard.tiles if one.id == name), None)
        if tile is None:
            raise NotFound("the dashboard has no such tile")
        await request.body()

        async def make() -> bytes:
            try:
                answer = await self._figures.answer(
                    link.project_id, tile, dashboard.range, dashboard.where, request.receive
                )
            except NotFound:
                raise NotFound("what this tile shows was deleted") from None
            except InvalidRequest:
                # The message would quote conditions.
                raise NotFound("what this tile asks for is not accepted any more") from None
            public = _public(json.loads(bytes(answer.figures)))
            if answer.kind == "events":
                self._rename_events(public)
            return msgspec.json.encode(
                msgspec.structs.replace(answer, figures=msgspec.Raw(msgspec.json.encode(public)))
            )

        body = await self._recent.get((definition.key, definition.revision, tile.id), make)
        return Response(body, headers=_PRIVATE, media_type="application/json")

    def _rename_events(self, figures: dict[str, Any]) -> None:
        """Give events other ids: senders choose them, and may have put persons into them."""
        for one in figures["events"]:
            name = str(one["event_id"]).encode()
            one["event_id"] = hashlib.blake2b(name, digest_size=16, key=self._names).hexdigest()

    def _opened(self, request: Request) -> tuple[DashboardLink, DashboardDefinition]:
        """Return the link of the address, whose secret the request shows, and its dashboard.

        Raises:
            Unauthorized: the secret is another link's or nobody's, or the link has ended.
        """
        self._view.require()
        scheme, _, secret = request.headers.get("authorization", "").strip().partition(" ")
        link = self._keys.find_link(secret.strip()) if scheme.lower() == "bearer" else None
        if link is None or link.id != request.path_params["id"]:
            raise Unauthorized("the link is unknown or was revoked: ask for another one")
        if self._clock() >= link.expires_at:
            raise Unauthorized("the link has ended: ask for another one")
        definition = self._dashboards.find(Key(link.project_id, link.dashboard))
        if definition is None:
            raise Unauthorized("the dashboard of this link was deleted")
        return link, definition

    def _shown(self, project: str, tile: Tile) -> SharedTile:
        shown: Definition | None = None
        named = definition_of(tile)
        if named is not None:
            try:
                shown = self._find(project)(*named)
            except NotFound:
                shown = None
        return SharedTile(
            id=tile.id,
            kind=kind_of(tile),
            name=tile.title or _name_of(shown),
            width=tile.width,
            height=tile.height,
            text=tile.text if isinstance(tile, TextTile) else "",
        )


def _name_of(definition: Definition | None) -> str:
    if definition is None:
        return ""
    body = getattr(definition, definition.KIND, None)
    return getattr(body, "name", "") or definition.id


def _public(figures: Any) -> Any:
    """Return figures without conditions, rules and positions: what they are of is not shown.

    Their shape is that of many endpoints.
    """
    if not isinstance(figures, dict):
        return figures
    shown = {name: value for name, value in figures.items() if name not in _HIDDEN}
    for kind in _KINDS:
        if isinstance(definition := shown.get(kind), dict):
            shown[kind] = {name: definition[name] for name in _DISPLAYED if name in definition}
    if "previous" in shown and _KINDS & shown.keys():
        shown["previous"] = _public(shown["previous"])
    return shown


_PRIVATE: Final = {"Cache-Control": "no-store"}
_HIDDEN: Final = ("positions", "features", "withheld_because")
_KINDS: Final = {spec.name for spec in OPERATORS}
_DISPLAYED: Final = ("id", "name", "measure", "property", "bucket_s", "period", "periods")
