"""What a kind of query is on the query side: one `QueryKind` each, in `queries.QUERIES`."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from schemas.operators.segment import SegmentDefinition
from schemas.queries.query import Query, QuerySpec
from services.query.clickhouse.printer import QueryScope, print_query
from services.query.clickhouse.queries import EventStore, QueryResult
from services.query.clickhouse.tree import Select
from services.query.http.describe import Json
from services.query.operators.segment.sql import members_sql

Q = TypeVar("Q", bound=Query)


class QueryContext(NamedTuple):
    """What a query is answered with.

    `now` is the time of day (ms), `clock` the project's time then, None before its first event, and
    `lateness_ms` how late events may come. `segments` are those that the query refers to, by id.
    """

    events: EventStore
    project_id: str
    segments: Mapping[str, SegmentDefinition]
    now: int
    clock: int | None
    lateness_ms: int

    @property
    def complete_until(self) -> int:
        """The time (ms) before which no event is missing, but for those that come too late."""
        return (self.now if self.clock is None else min(self.clock, self.now)) - self.lateness_ms

    async def run(self, select: Select) -> QueryResult:
        """Run a query of the project; raises what `EventStore.query` does."""
        clock = self.now if self.clock is None else self.clock
        scope = QueryScope(self.project_id, self.segments, clock, members_sql)
        return await self.events.query(
            self.project_id, lambda database: print_query(database, scope, select)
        )


def no_refinement(schemas: Json) -> None:
    """Leave the document's schemas as their types express them."""


class QueryKind(NamedTuple, Generic[Q]):
    """A kind of query, as the query side knows it.

    `answer` answers a request. `rpc` is the method of `avila.v1.Query` that asks for the same.
    `types` are those of requests and responses; `response` is the whole response. `refine` adds to
    the document's schemas what their types cannot express.
    """

    spec: QuerySpec[Q]
    answer: Callable[[QueryContext, Q], Coroutine[Any, Any, msgspec.Struct]]
    rpc: str
    response: type[msgspec.Struct]
    types: tuple[type[msgspec.Struct], ...]
    refine: Callable[[Json], None] = no_refinement


# Of any request: only the kind knows which.
AnyQuery = QueryKind[Any]
