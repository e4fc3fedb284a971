"""The routes of flags, and their descriptions."""

from typing import Final

from schemas.flags import Flag
from services.query.documents.routes import DocumentTypes, document_routes
from services.query.flags.resource import (
    SPEC,
    FlagListResponse,
    FlagResponse,
    Flags,
    FlagStatusResponse,
)
from services.query.http.describe import json_response, operation
from services.query.http.routes import ApiRoute, RouteGroup

FLAG_ROUTES: Final = RouteGroup(
    (
        *document_routes(
            DocumentTypes(SPEC.kind, SPEC.plural, Flag, FlagResponse, FlagListResponse),
            summary="Switch a feature on for a segment, or for a share of all persons",
        ),
        ApiRoute(
            "GET",
            f"/{SPEC.plural}/{{id}}/status",
            Flags.status,
            operation(
                "readFlagStatus",
                "What a flag does, and why nobody sees the feature if that is so",
                {"200": json_response(FlagStatusResponse)},
                404,
            ),
            "GetStatus",
            SPEC.kind,
        ),
    ),
    (Flag, FlagResponse, FlagListResponse, FlagStatusResponse),
)
