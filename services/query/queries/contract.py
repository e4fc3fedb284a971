"""What a kind of query is on the query side: one `QueryKind` each, in `queries.QUERIES`."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from schemas.operators.segment import SegmentDefinition
from schemas.queries.filters import QueryFilter
from schemas.queries.query import Query, QuerySpec
from services.query.clickhouse.events import EventSource, Prefix, Statement
from services.query.clickhouse.printer import (
    QueryScope,
    TokenSql,
    filtered,
    print_query,
)
from services.query.clickhouse.queries import EventStore, QueryResult
from services.query.clickhouse.tree import Label, Select
from services.query.http.describe import Json
from services.query.http.params import instant
from services.query.operators.segment.sql import members_sql
from services.query.queries.ranges import read_range
from services.query.queries.rows import Row
from services.query.tables.columns import Column

Q = TypeVar("Q", bound=Query)
# Makes a statement over a prefix of the log.
StateStatement = Callable[[Prefix], Statement]


class QueryContext(NamedTuple):
    """What a query is answered with.

    The answer has exactly the events below `positions`, and none before `complete_until` (ms) is
    missing but those that come later than the allowed lateness; None while that is unknown. `now`
    is the time of day (ms), and `clock` the project's time, as of which persons are in segments.
    `segments` are those that the query refers to, by id, and `project_segments` all that there are.
    """

    events: EventStore
    project_id: str
    positions: Mapping[int, int]
    now: int
    clock: int
    complete_until: int | None
    segments: Mapping[str, SegmentDefinition]
    project_segments: Sequence[SegmentDefinition] = ()

    @property
    def scope(self) -> QueryScope:
        """What a query may see."""
        return QueryScope(self.project_id, self.segments, self.clock, members_sql)

    async def has_persons(self) -> bool:
        """Return whether a query may have the source `Persons`; raises what `run` does."""
        return await self.events.has_persons(self.project_id)

    async def run(self, select: Select) -> QueryResult:
        """Run a query of the project; raises what `EventStore.query` does."""
        return await self.run_statement(self.printed(select))

    async def run_statement(
        self, state: StateStatement, where: Sequence[QueryFilter] = ()
    ) -> QueryResult:
        """Run the statement that `state` makes, over the events that pass; raises as `run` does."""
        of_passing = self.passing(state, where)
        return await self.run_labelled(lambda source, _: of_passing(source))

    async def run_labelled(
        self,
        state: Callable[[Prefix, TokenSql], Statement],
        where: Sequence[QueryFilter] = (),
        span: tuple[int, int] | None = None,
        label: Label | None = None,
    ) -> QueryResult:
        """Run a statement over the events that pass and lie in the times (ms) of `span`.

        `state` makes it of them and of an expression for their labels, which is empty text without
        a `label`. Raises as `run` does.
        """
        labelled = self.labelled(state, where, span, label)
        return await self.events.query(self.project_id, labelled, self.positions)

    def labelled(
        self,
        state: Callable[[Prefix, TokenSql], Statement],
        where: Sequence[QueryFilter] = (),
        span: tuple[int, int] | None = None,
        label: Label | None = None,
    ) -> Callable[[EventSource], Statement]:
        """Return what makes the statement that `run_labelled` runs."""

        def of_source(source: EventSource) -> Statement:
            assert isinstance(source, Prefix), "the query has positions"
            passing = filtered(source, self.scope, where, span, label)
            return state(passing, TokenSql(source, self.scope, label))

        return of_source

    def printed(self, select: Select) -> StateStatement:
        """Return what makes the statement of a query of the project."""
        return lambda source: print_query(source, self.scope, select)

    def passing(self, state: StateStatement, where: Sequence[QueryFilter]) -> StateStatement:
        """Return what makes the same statement over the events that pass all filters."""
        return lambda source: state(filtered(source, self.scope, where))

    def is_complete(self, until: int) -> bool:
        """Whether no event before a time (ms) is missing."""
        return self.complete_until is not None and until <= self.complete_until

    def parts(self, *, incomplete: bool = False) -> dict[str, Any]:
        """Return the fields of a `QueryResponse`."""
        until = self.complete_until
        return {
            "as_of": instant(self.now),
            "complete_until": None if until is None else instant(until),
            "positions": dict(sorted(self.positions.items())),
            "incomplete": incomplete,
        }


def no_refinement(schemas: Json) -> None:
    """Leave the document's schemas as their types express them."""


def check_range(query: Query, _: int) -> None:
    """Refuse a range that is none; raises `InvalidRequest`."""
    read_range(query)


class QueryKind(NamedTuple, Generic[Q]):
    """A kind of query, as the query side knows it.

    `answer` answers a request. `rpc` is the method of `avila.v1.Query` that asks for the same.
    `types` are those of requests and responses; `response` is the whole response, and `rows` are
    those of a table of it, with the columns of `table`. A list that may be long has `export`, which
    makes the statement for all of that table, whatever the query's `limit`. A query that asks for
    the persons behind a figure has `persons`: a table of it has all of them instead, and not only a
    page; it is None of a query that does not ask for any.
    `refine` adds to the document's schemas what their types cannot express. `errors` are the
    statuses that only this kind fails with. `check` refuses, at a time of day (ms) and before
    anything is read, what the request's type cannot. `closes` returns the time (ms) by which no
    event of the query is missing; without it, answers are kept for seconds only.
    """

    spec: QuerySpec[Q]
    answer: Callable[[QueryContext, Q], Coroutine[Any, Any, msgspec.Struct]]
    rpc: str
    response: type[msgspec.Struct]
    types: tuple[type[msgspec.Struct], ...]
    rows: Callable[[Any], Iterable[Row]]
    table: tuple[Column, ...]
    refine: Callable[[Json], None] = no_refinement
    errors: tuple[int, ...] = ()
    check: Callable[[Q, int], object] = check_range
    closes: Callable[[Q, int], int] | None = None
    export: Callable[[QueryContext, Q], Coroutine[Any, Any, StateStatement]] | None = None
    persons: Callable[[QueryContext, Q], Coroutine[Any, Any, StateStatement | None]] | None = None


# Of any request: only the kind knows which.
AnyQuery = QueryKind[Any]
