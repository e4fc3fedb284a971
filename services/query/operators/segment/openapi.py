"""The descriptions of the endpoints that only segments have."""

from typing import Final

from services.query.http.describe import (
    AS_OF,
    CLOCK,
    SOURCE,
    Json,
    day_parameters,
    json_response,
    operation,
    page_parameters,
    parameter,
)
from services.query.operators.segment.response import (
    MAX_OVERLAPPED,
    SegmentMembersResponse,
    SegmentOverlapResponse,
    SegmentResultsResponse,
)
from services.query.tables.media import table_response

RESULTS: Final = operation(
    "readSegmentResults",
    "How many persons are in a segment, and were",
    {"200": json_response(SegmentResultsResponse)},
    404,
    parameters=(
        SOURCE,
        AS_OF,
        CLOCK,
        *day_parameters("day to show", "who is in now is counted in any case"),
    ),
)
MEMBERS: Final = operation(
    "listSegmentMembers",
    "The persons in a segment, by id",
    {"200": table_response(SegmentMembersResponse)},
    404,
    parameters=(*page_parameters("persons"), SOURCE, AS_OF, CLOCK),
)
_OTHERS: Final[Json] = {
    "type": "array",
    "items": {"type": "string"},
    "minItems": 1,
    "maxItems": MAX_OVERLAPPED - 1,
}
OVERLAP: Final = operation(
    "readSegmentOverlap",
    "How many persons segments have in common",
    {"200": json_response(SegmentOverlapResponse)},
    404,
    parameters=(
        parameter("with", _OTHERS, "One or two other segments: `a,b`.", required=True)
        | {"explode": False},
        SOURCE,
        AS_OF,
        CLOCK,
    ),
)
