"""The routes of dashboards, tiles and links, and their descriptions."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.query.dashboards.links import Links
from services.query.dashboards.resource import Dashboards
from services.query.dashboards.response import (
    DashboardListResponse,
    DashboardResponse,
    LinkListResponse,
    LinkResponse,
    NewLink,
    NewLinkResponse,
    SharedDashboardResponse,
    SharedTile,
    TileRequest,
    TileResponse,
)
from services.query.dashboards.shared import SharedDashboards
from services.query.http.describe import (
    IF_MATCH,
    Json,
    content_response,
    json_response,
    operation,
    page_parameters,
    path_parameter,
    public_operation,
    reference,
    tagged_response,
)
from services.query.http.routes import ApiRoute, RouteGroup

_DASHBOARDS: Final = "/dashboards"
_DASHBOARD: Final = "/dashboards/{id}"

DASHBOARD_ROUTES: Final[RouteGroup[Dashboards]] = RouteGroup(
    (
        ApiRoute(
            "GET",
            _DASHBOARDS,
            Dashboards.list,
            operation(
                "listDashboards",
                "The dashboards of a project, by id",
                {"200": json_response(DashboardListResponse)},
                parameters=page_parameters("dashboards"),
            ),
            "ListDashboards",
        ),
        ApiRoute(
            "GET",
            _DASHBOARD,
            Dashboards.read,
            operation(
                "readDashboard", "A dashboard", {"200": tagged_response(DashboardResponse)}, 404
            ),
            "GetDashboard",
        ),
        ApiRoute(
            "PUT",
            _DASHBOARD,
            Dashboards.put,
            operation(
                "putDashboard",
                "Create a dashboard, or give it new tiles",
                {
                    "200": tagged_response(DashboardResponse),
                    "201": tagged_response(DashboardResponse),
                },
                *(404, 409, 413),
                parameters=(IF_MATCH,),
                body="NewDashboard",
            ),
            "PutDashboard",
        ),
        ApiRoute(
            "DELETE",
            _DASHBOARD,
            Dashboards.delete,
            operation(
                "deleteDashboard",
                "Delete a dashboard, and end all links to it",
                {"204": {"description": "Deleted"}},
                *(404, 409),
                parameters=(IF_MATCH,),
            ),
            "DeleteDashboard",
        ),
        ApiRoute(
            "POST",
            "/tile",
            Dashboards.tile,
            operation(
                "readTile",
                "The figures of a tile, by its range and filters",
                {"200": json_response(TileResponse)},
                *(404, 413),
                body="TileRequest",
            ),
            "GetTile",
            scope="read",
        ),
    ),
    (DashboardResponse, DashboardListResponse, TileRequest, TileResponse),
)

LINK_ROUTES: Final = RouteGroup(
    (
        ApiRoute(
            "POST",
            f"{_DASHBOARD}/links",
            Links.create,
            operation(
                "createLink",
                "Make a link that shows the dashboard to whoever has it, until it ends",
                {"201": json_response(NewLinkResponse)},
                *(404, 409, 413),
                body="NewLink",
            ),
            "CreateLink",
        ),
        ApiRoute(
            "GET",
            "/links",
            Links.list,
            operation(
                "listLinks",
                "The links to the project's dashboards that have not ended, the newest first",
                {"200": json_response(LinkListResponse)},
            ),
            "ListLinks",
        ),
        ApiRoute(
            "DELETE",
            "/links/{id}",
            Links.revoke,
            operation("revokeLink", "End a link at once", {"204": {"description": "Revoked"}}, 404),
            "RevokeLink",
        ),
    ),
    (NewLink, NewLinkResponse, LinkResponse, LinkListResponse),
)


def refine(schemas: Json) -> None:
    """Add to the document's schemas what the queries of tiles are, and what may be sent back."""
    for tile, query in (
        ("TrendTile", "TrendsQuery"),
        ("NumberTile", "TrendsQuery"),
        ("TopTile", "ValuesQuery"),
    ):
        schemas[tile]["properties"]["query"] = reference(query)
    schemas["QueryTile"]["properties"]["query"] = {"type": "object", "additionalProperties": True}


class SharedRoute(NamedTuple):
    """One path of what a link shows; `handle` takes the resource and the request."""

    path: str
    handle: Callable[[SharedDashboards, Request], Awaitable[Response]]
    operation: Json


def _shared(name: str, summary: str, body: type[msgspec.Struct], *parts: str) -> Json:
    described = operation(name, summary, {"200": json_response(body)}, 404)
    parameters = [path_parameter(part) for part in parts]
    return described | {"parameters": parameters, "security": [{"dashboardLink": []}]}


SHARED_TYPES: Final[tuple[type[msgspec.Struct], ...]] = (SharedDashboardResponse, SharedTile)
SHARED_ROUTES: Final = (
    SharedRoute(
        "/shared/{id}",
        SharedDashboards.page,
        public_operation(
            "sharedPage",
            "The web page of a link; the pages that the link allows may show it in a frame",
            {"200": content_response("text/html", {})},
        )
        | {"parameters": [path_parameter("id")]},
    ),
    SharedRoute(
        "/shared/{id}/dashboard",
        SharedDashboards.read,
        _shared("readSharedDashboard", "What a link shows", SharedDashboardResponse, "id"),
    ),
    SharedRoute(
        "/shared/{id}/tiles/{tile}",
        SharedDashboards.tile,
        _shared("readSharedTile", "The figures of a tile", TileResponse, "id", "tile"),
    ),
)
