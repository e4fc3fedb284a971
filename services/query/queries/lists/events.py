"""Events, the newest first, page by page.

The order is that of time; of equal times, that of the event store. So a page begins where the one
before ended, whatever has come meanwhile.
"""

import datetime
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from schemas.errors import InvalidRequest
from schemas.queries.lists import EVENTS as SPEC
from schemas.queries.lists import EventsQuery
from services.query.clickhouse.queries import QueryResult
from services.query.clickhouse.tree import Events, Expression, Matches, Person, Select, Value, sql
from services.query.http.params import instant
from services.query.queries.contract import QueryContext, QueryKind, StateStatement
from services.query.queries.ranges import read_range
from services.query.queries.response import QueryResponse
from services.query.queries.rows import rows_of
from services.query.queries.stored_json import read_stored
from services.query.tables.columns import columns as columns_of


class EventResponse(msgspec.Struct, frozen=True):
    """An event, and its position in the event store.

    `properties` has what was sent, but for nulls and empty objects, which are not stored.
    """

    event_id: str
    event: str
    person: str
    distinct_id: str
    timestamp: datetime.datetime
    received_at: datetime.datetime
    # JSON, which the sender defines.
    properties: Any
    partition: int
    offset: int


# Of a row for each event, as files have it.
TABLE: Final = columns_of(
    event_id="text",
    event="text",
    person="text",
    distinct_id="text",
    timestamp="time",
    received_at="time",
    properties="json",
    partition="integer",
    offset="integer",
)


class EventsResponse(QueryResponse, frozen=True, kw_only=True):
    """Some events; `next` is the next page's `after`, null at the end."""

    events: list[EventResponse]
    next: str | None


class Position(NamedTuple):
    """Where an event comes in the order: its time (ms), and its place in the event store."""

    at: int
    partition: int
    offset: int

    @property
    def cursor(self) -> str:
        """The position as a text of digits and dots."""
        return ".".join(map(str, self))


def read_cursor(text: str) -> Position | None:
    """Return the position that a page comes after; None for the first page.

    Raises:
        InvalidRequest: it is not the `next` of a page.
    """
    if not text:
        return None
    numbers = text.split(".")
    if len(numbers) != 3 or not all(one.isascii() and one.isdigit() for one in numbers):
        raise InvalidRequest("must be the `next` of the page before", "after")
    found = Position(*map(int, numbers))
    if found.at >= 2**63 or found.partition >= 2**32 or found.offset >= 2**64:
        raise InvalidRequest("must be the `next` of the page before", "after")
    return found


def events_select(query: EventsQuery) -> Select:
    """Return the query of a page of events, and of one more."""
    columns: dict[str, Expression] = {
        "id": sql("toString(event_id)"),
        "name": sql("event"),
        "person": Person(),
        "sender": sql("distinct_id"),
        "at": sql("toUnixTimestamp64Milli(timestamp)"),
        "received": sql("toUnixTimestamp64Milli(received_at)"),
        "stored": sql("if(_properties = '', toJSONString(properties), _properties)"),
        "place": sql("_partition"),
        "position": sql("_offset"),
    }
    return _select(query, columns, query.limit + 1)


def export_select(query: EventsQuery) -> Select:
    """Return the query of all events, with the columns of `TABLE`.

    A blank precedes properties that are no JSON object, so that they are looked at.
    """
    columns: dict[str, Expression] = {
        "id": sql("toString(event_id)"),
        "name": sql("toString(event)"),
        "person": Person(),
        "sender": sql("distinct_id"),
        "at": sql("timestamp"),
        "received": sql("received_at"),
        "stored": sql("if(_properties = '', toJSONString(properties), concat(' ', _properties))"),
        "place": sql("_partition"),
        "position": sql("_offset"),
    }
    return _select(query, columns)


def _select(
    query: EventsQuery, columns: Mapping[str, Expression], limit: int | None = None
) -> Select:
    where: list[Expression] = [Matches(query.event)]
    if query.person is not None:
        where.append(sql("{person} = {id}", person=Person(), id=Value(query.person, "String")))
    after = read_cursor(query.after)
    if after is not None:
        where.append(
            sql(
                "(toUnixTimestamp64Milli(timestamp), _partition, _offset)"
                " < ({at}, {partition}, {offset})",
                at=Value(after.at, "Int64"),
                partition=Value(after.partition, "UInt32"),
                offset=Value(after.offset, "UInt64"),
            )
        )
    return Select(
        columns,
        Events([read_range(query)], query.where),
        where=where,
        order_by=(sql("timestamp DESC"), sql("_partition DESC"), sql("_offset DESC")),
        limit=limit,
    )


def read_events(result: QueryResult, limit: int) -> tuple[list[EventResponse], str | None]:
    """Read the result of an `events_select`, and where the next page begins."""
    found = [
        EventResponse(
            id_,
            event,
            person,
            sender,
            instant(int(at)),
            instant(int(received)),
            read_stored(stored),
            int(partition),
            int(offset),
        )
        for id_, event, person, sender, at, received, stored, partition, offset in zip(
            *result.columns, strict=True
        )
    ]
    if len(found) <= limit:
        return found, None
    times = result.columns[4]
    last = found[limit - 1]
    return found[:limit], Position(int(times[limit - 1]), last.partition, last.offset).cursor


async def _answer(context: QueryContext, query: EventsQuery) -> EventsResponse:
    result = await context.run(events_select(query))
    events, after = read_events(result, query.limit)
    return EventsResponse(**context.parts(), events=events, next=after)


async def _export(context: QueryContext, query: EventsQuery) -> StateStatement:
    return context.printed(export_select(query))


EVENTS: Final = QueryKind(
    SPEC,
    _answer,
    "QueryEvents",
    EventsResponse,
    (EventsQuery, EventsResponse, EventResponse),
    rows=lambda answer: rows_of(answer.events),
    table=TABLE,
    export=_export,
)
