"""Queries: asked once, answered by ClickHouse, in the terms of the definitions.

Each kind is a package or module of its own. Adding one adds an entry to `QUERIES`, and its spec to
`schemas.queries.QUERIES`.
"""

from typing import Final

from services.query.queries.contract import AnyQuery
from services.query.queries.trends.kind import TRENDS

__all__ = ["QUERIES"]

QUERIES: Final[tuple[AnyQuery, ...]] = (TRENDS,)
