"""Queries: asked once, answered by ClickHouse, in the terms of the definitions.

Each kind is a package or module of its own. Adding one adds an entry to `QUERIES`, and its spec to
`schemas.queries.QUERIES`.
"""

from typing import Final

from services.query.queries.activity.lifecycle import LIFECYCLE
from services.query.queries.activity.stickiness import STICKINESS
from services.query.queries.adhoc.cohort import COHORT
from services.query.queries.adhoc.funnel import FUNNEL
from services.query.queries.adhoc.segment import SEGMENT
from services.query.queries.contract import AnyQuery
from services.query.queries.journeys.paths import PATHS
from services.query.queries.journeys.sessions import SESSIONS
from services.query.queries.lists.events import EVENTS
from services.query.queries.lists.person import PERSON
from services.query.queries.lists.persons import PERSONS
from services.query.queries.lists.properties import PROPERTIES
from services.query.queries.lists.values import VALUES
from services.query.queries.trends.kind import TRENDS

__all__ = ["QUERIES"]

QUERIES: Final[tuple[AnyQuery, ...]] = (
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
