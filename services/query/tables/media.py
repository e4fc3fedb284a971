"""The media types that an answer can have, and which one a request asks for."""

from typing import Final

import msgspec
from starlette.requests import Request

from schemas.errors import InvalidRequest
from services.query.http.describe import Json, json_response
from services.query.http.params import one_of

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
PARQUET: Final = "application/vnd.apache.parquet"
ARROW: Final = "application/vnd.apache.arrow.stream"
TABLES: Final = (NDJSON, CSV, PARQUET, ARROW)
_ACCEPTED: Final = (JSON, *TABLES)
_ANY: Final = {"*/*", "application/*", ""}


def read_media_type(request: Request) -> str:
    """Return the first media type of ours that a request accepts; JSON if it accepts any.

    Raises:
        InvalidRequest: it accepts none of ours; says which there are.
    """
    accepted = [one.split(";")[0].strip() for one in request.headers.get("accept", "").split(",")]
    for one in accepted:
        if one.lower() in _ACCEPTED:
            return one.lower()
        if one in _ANY:
            return JSON
    raise InvalidRequest(f"accepted are {one_of(_ACCEPTED)}", "Accept")


def table_response(body: type[msgspec.Struct]) -> Json:
    """Describe a response in JSON that can be a table, too."""
    described = json_response(body)
    for media_type in (NDJSON, CSV):
        described["content"][media_type] = {"schema": {"type": "string"}}
    for media_type in (PARQUET, ARROW):
        described["content"][media_type] = {"schema": {"type": "string", "format": "binary"}}
    return described
