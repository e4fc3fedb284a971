"""A funnel's figures counted in ClickHouse, over all events that it has."""

import datetime
import itertools

from schemas.definitions import FunnelDefinition
from services.query.figures import Counted
from services.query.funnel_sql import funnel_statement, positions_statement, read_counts
from services.query.store import Store


class FunnelStore:
    """Counts funnels in one database of a store."""

    def __init__(self, store: Store, database: str) -> None:
        self._store = store
        self._database = database

    async def count(
        self,
        definition: FunnelDefinition,
        first: datetime.date,
        last: datetime.date,
        now_ms: int,
    ) -> Counted:
        """Count a funnel's totals, and its entry days from `first` to `last`.

        May take seconds, and raises as `Store.columns` does.
        """
        # Asked first: whatever is stored before these offsets is then in the figures too.
        ends = await self._store.columns(
            *positions_statement(self._database, definition.project_id)
        )
        statement = funnel_statement(self._database, definition, first, last)
        columns = await self._store.columns(*statement)
        positions = dict(itertools.starmap(_whole, zip(*ends, strict=True)))
        return read_counts(definition, columns, positions, now_ms)


def _whole(partition: int, offset: int) -> tuple[int, int]:
    return int(partition), int(offset)
