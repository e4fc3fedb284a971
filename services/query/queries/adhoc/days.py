"""The days that a query of entries is about."""

import datetime
from typing import Any, Final

from schemas.queries.query import Query
from schemas.time.calendar import find_zone
from services.query.queries.ranges import TimeRange, read_range

ONE_DAY: Final = datetime.timedelta(days=1)


def read_days(query: Query, _: int = 0) -> tuple[datetime.date, datetime.date]:
    """Return the first and the last day of a query's range, in its time zone.

    Raises:
        InvalidRequest: the range is none.
    """
    span: TimeRange = read_range(query)
    zone = find_zone(query.timezone)
    first, last = (
        datetime.datetime.fromtimestamp(at / 1_000, zone).date()
        for at in (span.begin, span.end - 1)
    )
    return first, last


def parts_of(project_id: str) -> dict[str, Any]:
    """Return the fields that a definition has which is not stored."""
    return {"project_id": project_id, "id": "", "version": 0, "created_at": 0, "updated_at": 0}
