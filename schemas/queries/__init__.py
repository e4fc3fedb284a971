"""The kinds of queries, which are asked once and answered by ClickHouse.

To add a kind, add its spec here, and the kind itself in `services/query/queries/`: routes, OpenAPI,
gRPC, the command line and the tests of all kinds iterate the two tuples.
"""

from typing import Any, Final

from schemas.queries.activity import LIFECYCLE, STICKINESS
from schemas.queries.adhoc import COHORT, FUNNEL, SEGMENT
from schemas.queries.journeys import PATHS, SESSIONS
from schemas.queries.lists import EVENTS, PERSON, PERSONS, PROPERTIES, VALUES
from schemas.queries.query import Query, QuerySpec
from schemas.queries.trends import TRENDS

__all__ = ["QUERIES", "Query", "QuerySpec"]

# Of any request: only the kind knows which.
QUERIES: Final[tuple[QuerySpec[Any], ...]] = (
    TRENDS,
    EVENTS,
    PERSONS,
    PERSON,
    PROPERTIES,
    VALUES,
    LIFECYCLE,
    STICKINESS,
    SESSIONS,
    PATHS,
    FUNNEL,
    COHORT,
    SEGMENT,
)
