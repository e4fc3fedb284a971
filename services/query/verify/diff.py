"""What changed between two answers: which figures, and by which events."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from schemas.errors import InvalidRequest
from schemas.event_filter import EventSelector
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import EventSource, Statement, below_sql, events, holds
from services.query.http.describe import CLOCK, Json, choice, json_response, operation, parameter
from services.query.http.params import instant
from services.query.verify.compare import FigureDifference, Value
from services.query.verify.response import MAX_FIGURES

MAX_EVENTS: Final = 200

Which = Literal["late", "all"]
WHICH: Final[tuple[Which, ...]] = ("late", "all")


class FigureChange(msgspec.Struct, frozen=True):
    """A figure by its path in the results, and what both answers have there; null for nothing."""

    figure: str
    before: Value
    after: Value


class ChangingEvent(msgspec.Struct, frozen=True):
    """An event that the definition selects and that only the later answer includes.

    `late_by_ms` is by how much a later event of the same person had arrived before it; 0 if none
    had. `too_late` says whether that is more than the allowed lateness: then the stream has counted
    it by a recount.
    """

    partition: int
    offset: int
    event_id: str
    person: str
    event: str
    at: datetime.datetime
    late_by_ms: int
    too_late: bool


class DiffResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from one answer of a definition to a later one, by ClickHouse.

    `from` and `to` are their positions, and both are counted as of `clock`, so that they differ by
    events alone. `figures` has those that differ, up to 200 of the `differing`, by their path in
    the results. `events` are those that the definition selects from the one's positions to the
    other's: those that came late, or all of them, in the order of the log, up to 200 at a time.
    `next` is the next page's `after`, null at the end.
    """

    id: str
    kind: str
    version: int
    from_: dict[int, int] = msgspec.field(name="from")
    to: dict[int, int]
    clock: datetime.datetime | None
    differing: int
    figures: list[FigureChange]
    events: list[ChangingEvent]
    next: str | None


class Span(NamedTuple):
    """The events from some positions on and below others."""

    begin: Mapping[int, int]
    end: Mapping[int, int]


def span_of(begin: Mapping[int, int], end: Mapping[int, int]) -> Span:
    """Return the span between two positions.

    Raises:
        InvalidRequest: the first are ahead of the second.
    """
    for number, offset in begin.items():
        if offset > end.get(number, 0):
            raise InvalidRequest(
                f"partition {number} is ahead of `to`: accepted is at most {end.get(number, 0)}",
                "from",
            )
    return Span(begin, end)


def changes(found: Sequence[FigureDifference]) -> list[FigureChange]:
    """Return the first differences as changes."""
    return [FigureChange(*msgspec.structs.astuple(one)) for one in found[:MAX_FIGURES]]


def changing_events_statement(
    source: EventSource,
    project_id: str,
    selectors: Sequence[EventSelector] | None,
    begin: Mapping[int, int],
    which: Which,
    after: tuple[int, int],
) -> Statement:
    """Return the statement for a page of events, and one more, which `read_events` understands.

    The events are those of `source` from the positions `begin` on; without selectors all of them.
    """
    bind = Binder()
    selected = "1"
    if selectors is not None:
        selected = " OR ".join(f"({holds(selector, bind)})" for selector in selectors) or "0"
    new = f"NOT ({below_sql(begin, bind)})"
    number, offset = bind(after[0], "UInt64"), bind(after[1], "UInt64")
    text = f"""
SELECT _partition, _offset, id, person_id, event, at, late_by
FROM (
    SELECT *, greatest(ifNull(newest - at, 0), 0) AS late_by
    FROM (
        SELECT *, max(toNullable(at)) OVER (
            PARTITION BY person_id ORDER BY _offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS newest
        FROM (
            SELECT
                _partition, _offset, toString(event_id) AS id, person_id, event,
                toUnixTimestamp64Milli(timestamp) AS at
            FROM {events(source, project_id, bind)} AND ({selected}) AND person_id IN (
                SELECT person_id FROM {events(source, project_id, bind)} AND ({selected}) AND {new}
            )
        )
    )
)
WHERE {new} AND (_partition, _offset) >= ({number}, {offset})
    {"AND late_by > 0" if which == "late" else ""}
ORDER BY _partition, _offset
LIMIT {bind(MAX_EVENTS + 1, "UInt32")}
"""  # noqa: S608
    return Statement(text, bind.parameters)


def read_events(columns: Sequence[Sequence[Any]], lateness_ms: int) -> Iterator[ChangingEvent]:
    """Read the result of a `changing_events_statement`."""
    for number, offset, id_, person, event, at, late_by in zip(*columns, strict=True):
        yield ChangingEvent(
            int(number),
            int(offset),
            str(id_),
            str(person),
            str(event),
            instant(int(at)),
            int(late_by),
            int(late_by) > lateness_ms,
        )


def describe_diff(kind: str) -> Json:
    """Describe the endpoint `diff` of an operator."""
    position = {"type": "string"}
    return operation(
        f"diff{kind.capitalize()}",
        f"What changed between two answers about a {kind}: which figures, and by which events",
        {"200": json_response(DiffResponse)},
        404,
        parameters=(
            parameter(
                "from", position, "The earlier positions, or a time: as `as_of`.", required=True
            ),
            parameter("to", position, "The later ones; by default all that the store has."),
            choice("events", WHICH, "List the events that came late, or all of them."),
            parameter("after", position, "Only events from here on: `next` of an earlier answer."),
            CLOCK,
        ),
    )
