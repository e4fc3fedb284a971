"""Queries of a project's events in ClickHouse."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from services.query.clickhouse.client import Store
from services.query.clickhouse.events import Statement, positions_statement


class QueryResult(NamedTuple):
    """The columns of a result, and the offset before which it has all events, by partition."""

    columns: Sequence[Sequence[Any]]
    positions: dict[int, int]

    @property
    def only(self) -> Sequence[Any]:
        """The only column of the result; a result without rows may have no columns."""
        (column,) = self.columns or ((),)
        return column

    def page(self, limit: int) -> tuple[list[str], str | None]:
        """Return up to `limit` texts of the only column, and the last of them if there are more."""
        texts = [str(text) for text in self.only[:limit]]
        return texts, texts[-1] if len(self.only) > limit else None


class EventStore:
    """The events in one database of a store."""

    def __init__(self, store: Store, database: str) -> None:
        self._store = store
        self._database = database

    async def query(self, project_id: str, state: Callable[[str], Statement]) -> QueryResult:
        """Run the statement that `state` makes for the database's name; may take seconds.

        Raises what `Store.columns` does.
        """
        # Read first: the result then has everything that is stored before these offsets.
        ends = await self._store.columns(
            project_id, *positions_statement(self._database, project_id)
        )
        columns = await self._store.columns(project_id, *state(self._database))
        return QueryResult(columns, dict(itertools.starmap(_whole, zip(*ends, strict=True))))


def _whole(partition: int, offset: int) -> tuple[int, int]:
    return int(partition), int(offset)
