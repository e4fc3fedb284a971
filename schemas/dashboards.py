"""Dashboards: tiles that show figures side by side, as definitions.

A dashboard is a definition, `project/dashboard/<id>` on the definitions topic. It counts nothing: a
tile names a definition, or has a query. So `version` rises with the tiles, the range and the
filters, and `revision` with every change.
"""

import datetime
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from schemas.definitions import Definition, EventName, Id, Text, decode_with, read_request
from schemas.errors import InvalidRequest
from schemas.queries import QUERIES, Query
from schemas.queries.filters import QueryFilters, check_filters

MAX_DASHBOARDS_PER_PROJECT: Final = 100
MAX_TILES: Final = 40
MAX_QUERY_BYTES: Final = 16_384
MAX_RANGE_DAYS: Final = 3_660
FIRST_DAY: Final = datetime.date(1970, 1, 1)
LAST_DAY: Final = datetime.date(2199, 12, 31)

Title = Annotated[str, Meta(max_length=200)]
TileText = Annotated[str, Meta(min_length=1, max_length=2_000)]
Width = Annotated[int, Meta(ge=1, le=4)]
Height = Annotated[int, Meta(ge=1, le=4)]
Day = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)")]
Days = Annotated[int, Meta(ge=1, le=MAX_RANGE_DAYS)]
# Queries that list no persons: whoever sees a dashboard by a link must not see those.
TileQuery = Literal[
    "trends", "lifecycle", "stickiness", "sessions", "paths", "funnel", "cohort", "values"
]


class _Tile(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    tag_field="kind",
):
    """What tiles of all kinds have. The grid is four columns wide; `id` is unique on a dashboard.

    Without a `title`, a tile has the name of what it shows.
    """

    id: Id
    title: Title = ""
    width: Width = 2
    height: Height = 2


class FunnelTile(_Tile, frozen=True, tag="funnel"):
    """How far persons get in a defined funnel, live."""

    funnel: Id


class CohortTile(_Tile, frozen=True, tag="cohort"):
    """The retention grid of a defined cohort."""

    cohort: Id


class MetricTile(_Tile, frozen=True, tag="metric"):
    """A defined metric over time, live."""

    metric: Id


class ActiveTile(_Tile, frozen=True, tag="active"):
    """How many persons are active now, by a defined metric that measures `persons`."""

    metric: Id


class SegmentTile(_Tile, frozen=True, tag="segment"):
    """How many persons are in a defined segment, now and day by day."""

    segment: Id


class PredictionTile(_Tile, frozen=True, tag="prediction"):
    """How good the models of a defined prediction are."""

    prediction: Id


class FeedTile(_Tile, frozen=True, tag="feed"):
    """Events as they come: those of the name `event`, or all without one."""

    event: EventName | None = None


class TrendTile(_Tile, frozen=True, tag="trend"):
    """Figures over time, by a query of the kind `trends`."""

    query: dict[str, Any]


class NumberTile(_Tile, frozen=True, tag="number"):
    """One figure, compared to the period before if the `trends` query has `compare`."""

    query: dict[str, Any]


class TopTile(_Tile, frozen=True, tag="top"):
    """The most frequent values of a property, or names of events, by a query of kind `values`."""

    query: dict[str, Any]


class QueryTile(_Tile, frozen=True, tag="query"):
    """The answer to a query of any kind that lists no persons, as a table."""

    of: TileQuery
    query: dict[str, Any]


class TextTile(_Tile, frozen=True, tag="text"):
    """Plain text."""

    text: TileText


Tile = (
    FunnelTile
    | CohortTile
    | MetricTile
    | ActiveTile
    | SegmentTile
    | PredictionTile
    | FeedTile
    | TrendTile
    | NumberTile
    | TopTile
    | QueryTile
    | TextTile
)


class DashboardRange(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"from_": "from"},
):
    """The days that tiles show: the last `last_days`, including today, or `from` to `to`.

    Days are those of the project's time zone. Without any field, each tile has its own range.
    """

    last_days: Days | None = None
    from_: Day | None = None
    to: Day | None = None

    def check(self, path: str) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest` with the field's path."""
        for name, text in (("from", self.from_), ("to", self.to)):
            if text is not None:
                _read_day(text, f"{path}.{name}")
        if self.last_days is not None and (self.from_ or self.to):
            raise InvalidRequest(
                "must not be set together with `from` or `to`", f"{path}.last_days"
            )
        if self.from_ is None and self.to is not None:
            raise InvalidRequest("must be set if `to` is", f"{path}.from")
        if self.from_ and self.to and self.from_ > self.to:
            raise InvalidRequest("must not be after `to`", f"{path}.from")

    def days(self, today: datetime.date) -> tuple[datetime.date, datetime.date] | None:
        """Return the first and the last day; None if tiles have ranges of their own."""
        if self.last_days is not None:
            return today - datetime.timedelta(days=self.last_days - 1), today
        if self.from_ is None:
            return None
        first = datetime.date.fromisoformat(self.from_)
        return first, datetime.date.fromisoformat(self.to) if self.to else max(first, today)


class Dashboard(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Tiles in their order, row by row on a grid of four columns.

    `range` and `where` apply to all tiles that have a time range, or that count events; tiles that
    show what is true now ignore them.
    """

    name: Text = ""
    description: Text = ""
    tiles: Annotated[tuple[Tile, ...], Meta(max_length=MAX_TILES)] = ()
    range: DashboardRange = DashboardRange()
    where: QueryFilters = ()


class DashboardDefinition(Definition, frozen=True, kw_only=True):
    """A dashboard on the definitions topic."""

    KIND = "dashboard"

    dashboard: Dashboard


def kind_of(tile: Tile) -> str:
    """Return the `kind` of a tile."""
    return str(tile.__struct_config__.tag)


# The kinds of queries that tiles have, by the name of the kind.
_SPECS: Final = {spec.name: spec for spec in QUERIES}


def query_of(tile: Tile) -> tuple[str, dict[str, Any]] | None:
    """Return the kind and the body of a tile's query; None if it has none."""
    match tile:
        case TrendTile() | NumberTile():
            return "trends", tile.query
        case TopTile():
            return "values", tile.query
        case QueryTile():
            return tile.of, tile.query
    return None


def check_tile(tile: Tile, path: str) -> None:
    """Refuse a tile whose query is none.

    Raises:
        InvalidRequest: with the path of the field, which begins with `path`.
    """
    asked = query_of(tile)
    if asked is None:
        return
    kind, body = asked
    encoded = msgspec.json.encode(body)
    if len(encoded) > MAX_QUERY_BYTES:
        raise InvalidRequest(f"must have at most {MAX_QUERY_BYTES} bytes", f"{path}.query")
    try:
        query: Query = _SPECS[kind].decode(encoded)
    except InvalidRequest as error:
        field = f"{path}.query.{error.field}" if error.field else f"{path}.query"
        raise InvalidRequest(error.reason, field) from None
    if query.as_of is not None:
        raise InvalidRequest(
            "must not be set: a tile shows the newest events", f"{path}.query.as_of"
        )


def decode_dashboard(body: bytes) -> Dashboard:
    """Decode a dashboard from a request body.

    Raises:
        InvalidRequest: names the field and what is accepted.
    """
    try:
        dashboard = read_request(_dashboard, body)
    except InvalidRequest as error:
        if _KIND_FIELD.fullmatch(error.field):
            raise InvalidRequest(f"{error.reason}; accepted are {_KINDS}", error.field) from None
        raise
    dashboard.range.check("range")
    check_filters(dashboard.where, "where")
    _check_ids(dashboard.tiles)
    for place, tile in enumerate(dashboard.tiles):
        check_tile(tile, f"tiles[{place}]")
    return dashboard


def encode(definition: DashboardDefinition) -> bytes:
    """Encode a definition as a record of the definitions topic."""
    return msgspec.json.encode(definition)


def decode(value: bytes) -> DashboardDefinition:
    """Decode a record of the definitions topic.

    Raises:
        msgspec.DecodeError: it is not a dashboard.
    """
    return decode_with(_definition, value)


def _check_ids(tiles: Sequence[Tile]) -> None:
    seen: set[str] = set()
    for place, tile in enumerate(tiles):
        if tile.id in seen:
            raise InvalidRequest(f"another tile is called {tile.id}", f"tiles[{place}].id")
        seen.add(tile.id)


def _read_day(text: str, path: str) -> None:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest("accepted is a day as YYYY-MM-DD", path) from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise InvalidRequest(f"accepted are days from {FIRST_DAY} to {LAST_DAY}", path)


_dashboard = msgspec.json.Decoder(Dashboard)
_KIND_FIELD: Final = re.compile(r"tiles\[\d+\]\.kind")
_KINDS: Final = ", ".join(f"`{one.__struct_config__.tag}`" for one in get_args(Tile))
_definition = msgspec.json.Decoder(DashboardDefinition)
