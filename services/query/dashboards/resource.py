"""The endpoints of dashboards, which are definitions that count nothing, and of their tiles."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.dashboards import (
    MAX_DASHBOARDS_PER_PROJECT,
    DashboardDefinition,
    check_tile,
    decode_dashboard,
    encode,
)
from schemas.definitions import counts_alike, definition_key, read_request
from schemas.errors import Conflict, InvalidRequest, NotFound
from schemas.keys import record_key
from schemas.queries.filters import check_filters
from services.commands import Commands, Write
from services.keys.view import Keys
from services.query.dashboards.figures import TileFigures
from services.query.dashboards.response import (
    DashboardListResponse,
    TileRequest,
    show,
)
from services.query.http.params import (
    ANY,
    encode_response,
    key_of,
    now_ms,
    parts,
    project_of,
    read_expected,
    read_fields,
    read_page,
    take,
)
from services.query.views.catalog import Definitions
from services.query.views.changes import tombstone_headers
from services.topic_view import TopicView

_tile = msgspec.json.Decoder(TileRequest)


class Dashboards:
    """The endpoints under `/api/projects/{project}/dashboards`, and that of a tile's figures."""

    def __init__(
        self,
        dashboards: Definitions[DashboardDefinition],
        keys: Keys,
        view: TopicView[Any],
        commands: Commands,
        figures: TileFigures,
    ) -> None:
        self._dashboards = dashboards
        self._keys = keys
        self._view = view
        self._commands = commands
        self._figures = figures

    async def list(self, request: Request) -> Response:
        """Show a page of the project's dashboards."""
        project = project_of(request)
        after, limit = read_page(request)
        self._view.require()
        found = self._dashboards.page(project, after, limit + 1)
        page, more = found[:limit], len(found) > limit
        shown = [show(one) for one in page]
        return encode_response(DashboardListResponse(shown, page[-1].id if more else None))

    async def read(self, request: Request) -> Response:
        """Show a dashboard."""
        key = key_of(request)
        self._view.require()
        return _answer(self._dashboards.get(key))

    async def put(self, request: Request) -> Response:
        """Create a dashboard, or change it."""
        key = key_of(request)
        fields = await read_fields(request)
        expected = read_expected(request, fields)
        if take(fields, "id", str) not in {None, key.id}:
            raise InvalidRequest(f"the dashboard of this address is {key.id}", "id")
        # A dashboard may be sent back as it is shown.
        fields.pop("created_at", None)
        fields.pop("updated_at", None)
        dashboard = decode_dashboard(msgspec.json.encode(fields))
        self._view.require()

        def decide() -> Write[tuple[DashboardDefinition, bool]]:
            before = self._dashboards.find(key)
            numbers = self._dashboards.numbers(key)
            if before is not None or self._dashboards.unreadable(key) is not None:
                expected.check(key.id, numbers)
            elif expected != ANY:
                raise NotFound(f"project {key.project_id} has no dashboard {key.id}")
            elif len(self._dashboards.of(key.project_id)) >= MAX_DASHBOARDS_PER_PROJECT:
                raise Conflict(
                    f"project {key.project_id} has {MAX_DASHBOARDS_PER_PROJECT} dashboards, which "
                    "is the maximum: delete one first"
                )
            now = now_ms()
            created = before.created_at if before else now
            updated = max(now, before.updated_at) if before else now
            following = numbers.next()
            if before is not None and counts_alike(before.dashboard, dashboard):
                following = following._replace(version=before.version)
            definition = DashboardDefinition(
                **parts(key, following, created, updated), dashboard=dashboard
            )
            return Write(definition.key, encode(definition), {}, (definition, before is None))

        definition, is_new = await self._commands.change(decide)
        return _answer(definition, 201 if is_new else 200)

    async def delete(self, request: Request) -> Response:
        """Delete a dashboard, with all links to it."""
        key = key_of(request)
        expected = read_expected(request, {})
        self._view.require()

        def decide() -> Write[None]:
            if self._dashboards.unreadable(key) is None:
                self._dashboards.get(key)
            numbers = self._dashboards.numbers(key)
            expected.check(key.id, numbers)
            links = [
                Write(record_key(link), None, {}, None)
                for link in self._keys.links.values()
                if (link.project_id, link.dashboard) == key
            ]
            record = definition_key(key.project_id, DashboardDefinition.KIND, key.id)
            return Write(record, None, tombstone_headers(numbers), None, links)

        await self._commands.change(decide)
        return Response(status_code=204)

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


def _answer(definition: DashboardDefinition, status: int = 200) -> Response:
    return encode_response(show(definition), status, {"ETag": f'"{definition.revision}"'})
