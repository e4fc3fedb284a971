"""What the API takes and answers about dashboards, the figures of tiles, and links."""

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.dashboards import DashboardDefinition, DashboardRange, Tile
from schemas.definitions import Text
from schemas.keys import MAX_LINK_DAYS, DashboardLink, FrameOrigin
from schemas.queries.filters import QueryFilters
from schemas.time.calendar import Period
from services.query.dashboards.asks import AnsweredBy, Part
from services.query.http.params import instant


class DashboardResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A dashboard as it is shown; times in milliseconds since 1970.

    Without `id`, numbers and times it can be given to another dashboard: that is its export.
    """

    id: str
    revision: int
    version: int
    created_at: int
    updated_at: int
    name: str
    description: str
    tiles: tuple[Tile, ...]
    range: DashboardRange
    where: QueryFilters


class DashboardListResponse(msgspec.Struct, frozen=True):
    """Some of a project's dashboards, by id; `next` is the next page's `after`, null at the end."""

    dashboards: list[DashboardResponse]
    next: str | None


class TileRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A tile, which need not be on a dashboard, and the range and filters that apply to it."""

    tile: Tile
    range: DashboardRange = DashboardRange()
    where: QueryFilters = ()


class TileResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a tile.

    `figures` are what answers the tile: of `stream`, the results of its definition; of `store`, the
    answer to its query, or up to 200 rows of it for a tile of the kind `query`; null for a text.
    No tile lists persons: a segment that ClickHouse has counted has its size only, and events have
    their names and times. `period` is that of a grid from ClickHouse. `ignores` are the parts of
    the dashboard's scope that are set and do not apply.
    """

    id: str
    answered_by: AnsweredBy
    kind: str
    period: Period | None
    ignores: tuple[Part, ...]
    # The shape depends on the kind: see the responses to queries and results.
    figures: msgspec.Raw


class NewLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A link to make: for how many days, and which web pages may show it in a frame."""

    days: Annotated[int, Meta(ge=1, le=MAX_LINK_DAYS)] = 30
    name: Text = ""
    embed: Annotated[tuple[FrameOrigin, ...], Meta(max_length=20)] = ()


class LinkResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A link to a dashboard, which does not show the secret that it needs."""

    id: str
    dashboard: str
    name: str
    embed: tuple[str, ...]
    created_at: datetime.datetime
    expires_at: datetime.datetime


class NewLinkResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A link that was just made. `path` contains its secret, and is shown this once.

    The secret follows a `#`, so browsers do not send it to the server with the address.
    """

    link: LinkResponse
    path: str

    def __repr__(self) -> str:
        return "NewLinkResponse(…)"


class LinkListResponse(msgspec.Struct, frozen=True):
    """The links of a project that have not ended, the newest first."""

    links: list[LinkResponse]


class SharedTile(msgspec.Struct, frozen=True, kw_only=True):
    """A tile without what it asks for; `name` is its title, or what its definition is called."""

    id: str
    kind: str
    name: str
    width: int
    height: int
    text: str = ""


class SharedDashboardResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a link shows of its dashboard, beside the figures of the tiles."""

    name: str
    description: str
    tiles: tuple[SharedTile, ...]
    last_days: int | None
    first_day: str | None
    last_day: str | None
    filtered: bool
    expires_at: datetime.datetime


def show(definition: DashboardDefinition) -> DashboardResponse:
    """Return the response for a dashboard."""
    dashboard = definition.dashboard
    return DashboardResponse(
        id=definition.id,
        revision=definition.revision,
        version=definition.version,
        created_at=definition.created_at,
        updated_at=definition.updated_at,
        name=dashboard.name,
        description=dashboard.description,
        tiles=dashboard.tiles,
        range=dashboard.range,
        where=dashboard.where,
    )


def show_link(link: DashboardLink) -> LinkResponse:
    """Return the response for a link."""
    return LinkResponse(
        id=link.id,
        dashboard=link.dashboard,
        name=link.name,
        embed=link.embed,
        created_at=instant(link.created_at),
        expires_at=instant(link.expires_at),
    )
