"""Questions about a project's events, asked of ClickHouse."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from services.query.clickhouse.client import Store
from services.query.clickhouse.events import Statement, positions_statement


class QueryResult(NamedTuple):
    """Columns of a result, and the offsets before which all events are in it, by partition."""

    columns: Sequence[Sequence[Any]]
    positions: dict[int, int]

    @property
    def only(self) -> Sequence[Any]:
        """The column of a result that has one: no rows may come as no columns."""
        (column,) = self.columns or ((),)
        return column

    def page(self, limit: int) -> tuple[list[str], str | None]:
        """The first texts of the only column, and the last of them if there are more."""
        texts = [str(text) for text in self.only[:limit]]
        return texts, texts[-1] if len(self.only) > limit else None


class EventStore:
    """The events in one database of a store."""

    def __init__(self, store: Store, database: str) -> None:
        self._store = store
        self._database = database

    async def ask(self, project_id: str, state: Callable[[str], Statement]) -> QueryResult:
        """Ask what `state` makes of the database's name; may take seconds.

        Raises what `Store.columns` does.
        """
        # Asked first: whatever is stored before these offsets is then in the answer too.
        ends = await self._store.columns(*positions_statement(self._database, project_id))
        columns = await self._store.columns(*state(self._database))
        return QueryResult(columns, dict(itertools.starmap(_whole, zip(*ends, strict=True))))


def _whole(partition: int, offset: int) -> tuple[int, int]:
    return int(partition), int(offset)
