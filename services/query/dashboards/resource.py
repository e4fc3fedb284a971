"""The endpoints of dashboards, which are definitions that count nothing, and of their tiles."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.dashboards import (
    MAX_DASHBOARDS_PER_PROJECT,
    Dashboard,
    DashboardDefinition,
    check_tile,
    decode_dashboard,
    encode,
)
from schemas.definitions import counts_alike, read_request
from schemas.keys import record_key
from schemas.queries.filters import check_filters
from services.commands import Commands, Write
from services.keys.view import Keys
from services.query.dashboards.figures import TileFigures
from services.query.dashboards.response import DashboardListResponse, TileRequest, show
from services.query.documents.resource import Documents, DocumentSpec
from services.query.http.params import encode_response, project_of, read_fields
from services.query.views.catalog import Definitions
from services.query.views.changes import Key
from services.topic_view import TopicView

_tile = msgspec.json.Decoder(TileRequest)


def _define(parts: dict[str, Any], dashboard: Dashboard) -> DashboardDefinition:
    return DashboardDefinition(**parts, dashboard=dashboard)


SPEC: Final = DocumentSpec(
    kind=DashboardDefinition.KIND,
    plural="dashboards",
    read=decode_dashboard,
    define=_define,
    body=lambda definition: definition.dashboard,
    counts_alike=counts_alike,
    encode=encode,
    show=show,
    page=DashboardListResponse,
)


class Dashboards(Documents[Dashboard, DashboardDefinition]):
    """The endpoints under `/api/projects/{project}/dashboards`, and that of a tile's figures."""

    max_per_project = MAX_DASHBOARDS_PER_PROJECT

    def __init__(
        self,
        dashboards: Definitions[DashboardDefinition],
        keys: Keys,
        view: TopicView[Any],
        commands: Commands,
        figures: TileFigures,
    ) -> None:
        super().__init__(SPEC, view, commands, dashboards)
        self._keys = keys
        self._figures = figures

    async def tile(self, request: Request) -> Response:
        """Show the figures of a tile that the request describes."""
        project = project_of(request)
        fields = await read_fields(request)
        asked = read_request(_tile, msgspec.json.encode(fields))
        asked.range.check("range")
        check_filters(asked.where, "where")
        check_tile(asked.tile, "tile")
        self._view.require()
        answer = await self._figures.answer(
            project, asked.tile, asked.range, asked.where, request.receive
        )
        return encode_response(answer)

    def _deleted_with(self, key: Key) -> Sequence[Write[Any]]:
        """Return the writes that end all links to a dashboard."""
        return [
            Write(record_key(link), None, {}, None)
            for link in self._keys.links.values()
            if (link.project_id, link.dashboard) == key
        ]
