"""Queries of a project's events in ClickHouse, each over exactly a prefix of the log."""

import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.errors import Unavailable
from services.query.clickhouse.client import Store
from services.query.clickhouse.events import (
    EventSource,
    Prefix,
    Statement,
    newest_event_statement,
    positions_statement,
    stored_statement,
)
from services.query.clickhouse.persons import has_persons_statement
from services.query.log.as_of import AsOf
from services.query.log.event_log import STORED_TIMEOUT_S, EventLog

# To read the offsets of rows costs a simple query as much again: it is done while the sink writes.
_BUSY_S: Final = 2.0


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


class AskedPrefix(NamedTuple):
    """The events that a request asks for: those below some positions.

    `clock` is the time (ms) of the newest event of the project among them; None if there is none.
    """

    positions: dict[int, int]
    clock: int | None


class EventStore:
    """The events in one database of a store, which is filled from `log`.

    Without a log nothing is known of positions but what the rows say.
    """

    def __init__(self, store: Store, database: str, log: EventLog | None = None) -> None:
        self._store = store
        self._database = database
        self._log = log
        self._busy_until = 0.0
        self._has_persons = False  # once it is true, it remains so

    @property
    def log(self) -> EventLog:
        """The log that the store is filled from."""
        assert self._log is not None, "the store was made without its log"
        return self._log

    async def query(
        self,
        project_id: str,
        state: Callable[[EventSource], Statement],
        positions: Mapping[int, int] | None = None,
    ) -> QueryResult:
        """Run the statement that `state` makes for a prefix of the log; may take seconds.

        Without `positions` it is all that the store has. The result has exactly the events below
        its positions. While the sink writes nothing and the store has no others, the statement is
        for all events, which spares it to compare their offsets.

        Raises what `Store.columns` does.
        """
        if self._log is not None and time.monotonic() > self._busy_until:
            before = await self._log.unwritten()
            below = None if before is None else await self._completed(project_id, before)
            if below is not None and positions in (None, below):
                columns = await self._store.columns(
                    project_id, *state(Prefix(self._database, None))
                )
                if await self._log.unwritten() == before:
                    return QueryResult(columns, below)
            if below is None or positions in (None, below):
                self._busy_until = time.monotonic() + _BUSY_S
        below = await self.positions(project_id) if positions is None else dict(positions)
        columns = await self._store.columns(project_id, *state(Prefix(self._database, below)))
        return QueryResult(columns, below)

    def stream(
        self,
        project_id: str,
        state: Callable[[Prefix], Statement],
        positions: Mapping[int, int],
    ) -> AsyncGenerator[bytes, None]:
        """Yield the result over the events below some positions, as an Arrow stream.

        Raises what `Store.stream` does.
        """
        statement = state(Prefix(self._database, positions))
        return self._store.stream(project_id, *statement)

    async def positions(self, project_id: str) -> dict[int, int]:
        """Return the offsets below which the store has all events of a project, by partition.

        They are what the sink has committed: it writes the months of a chunk one after the other,
        so that the newest row may be there before older ones. Partitions of which it has committed
        nothing, for Kafka has forgotten its group or does not answer, end with their newest row.
        """
        committed = {}
        if self._log is not None:
            with contextlib.suppress(Unavailable):
                committed = await self._log.stored()
        return await self._completed(project_id, committed)

    async def _completed(self, project_id: str, committed: dict[int, int]) -> dict[int, int]:
        """Add the newest row's position for each partition where the sink has committed nothing."""
        if self._log is not None and len(committed) == self._log.partitions:
            return committed
        rows = await self._positions(project_id, positions_statement(self._database, project_id))
        return {**rows, **committed}

    async def rows(
        self, project_id: str, state: Callable[[str], Statement]
    ) -> Sequence[Sequence[Any]]:
        """Return the columns of a statement that `state` makes for the database.

        It reads no events, so it has no positions. Raises what `Store.columns` does.
        """
        return await self._store.columns(project_id, *state(self._database))

    async def has_persons(self, project_id: str) -> bool:
        """Return whether the store keeps persons, and has all of them (`Persons` of a tree).

        Raises what `Store.columns` does.
        """
        if not self._has_persons:
            statement = has_persons_statement(self._database)
            ((count,),) = await self._store.columns(project_id, *statement)
            self._has_persons = bool(count)
        return self._has_persons

    async def prefix(self, project_id: str, asked: AsOf, field: str = "as_of") -> AskedPrefix:
        """Return the events that a request asks for by a field, as soon as the store has them.

        Raises:
            InvalidRequest: Kafka does not keep these positions; says which are accepted.
            BackOff: the store does not have them yet.
            Unavailable: Kafka or the store does not answer.
        """
        positions = await self.log.resolve(asked, field)
        await self.await_stored(project_id, positions)
        clock = await self.newest_event(project_id, positions)
        return AskedPrefix(positions, clock)

    async def await_stored(
        self, project_id: str, positions: Mapping[int, int], timeout_s: float = STORED_TIMEOUT_S
    ) -> None:
        """Wait until the store has all events below some positions, of all projects.

        Raises:
            BackOff: it has not had them in time.
            Unavailable: Kafka or the store does not answer.
        """

        async def stored() -> dict[int, int]:
            committed = await self.log.stored()
            if positions.keys() <= committed.keys():
                return committed
            rows = await self._positions(project_id, stored_statement(self._database))
            return {**rows, **committed}

        await self.log.await_stored(positions, stored, timeout_s)

    async def newest_event(self, project_id: str, positions: Mapping[int, int]) -> int | None:
        """Return the time (ms) of a project's newest event below some positions."""
        result = await self.query(
            project_id, lambda source: newest_event_statement(source, project_id), positions
        )
        newest = next(iter(result.only), None)
        return None if newest is None else int(newest)

    async def _positions(self, project_id: str, statement: Statement) -> dict[int, int]:
        columns = await self._store.columns(project_id, *statement)
        return dict(itertools.starmap(_whole, zip(*columns, strict=True)))


def _whole(partition: int, offset: int) -> tuple[int, int]:
    return int(partition), int(offset)
