"""Sessions: how many, how long, how many with one event, and with what they begin and end."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from schemas.queries.journeys import SESSIONS as SPEC
from schemas.queries.journeys import SessionsQuery
from services.query.clickhouse.tree import Events, Person, Select, Value, column, sql
from services.query.queries.contract import QueryContext, QueryKind
from services.query.queries.intervals import Intervals, Slot
from services.query.queries.response import IntervalResponse, QueryResponse, interval_response
from services.query.queries.rows import Row, rows_of
from services.query.tables.columns import columns

# How long after the range the events of a session count.
_TAIL_MS: Final = 86_400_000


class SessionFigures(msgspec.Struct, frozen=True):
    """Figures of sessions; `persons` is how many have one.

    `bounces` is how many have a single event. Lengths are the seconds from the first to the last
    event, and null without sessions; the median is the least length that half of the sessions do
    not exceed.
    """

    sessions: int
    persons: int
    events: int
    bounces: int
    average_length_s: float | None
    median_length_s: float | None


class SessionEventResponse(msgspec.Struct, frozen=True):
    """How many sessions begin or end with an event; of all events not shown, if `other`."""

    event: str | None
    other: bool
    sessions: int


class SessionsResponse(QueryResponse, frozen=True, kw_only=True):
    """Sessions that begin in each interval (`values`), and in the whole range (`total`).

    `entries` and `exits` have the events that sessions of the range begin and end with, the most
    frequent first; equal ones by name. An interval is `incomplete` as long as its last session may
    still go on.
    """

    interval: str
    timezone: str
    intervals: list[IntervalResponse]
    values: list[SessionFigures]
    total: SessionFigures
    entries: list[SessionEventResponse]
    exits: list[SessionEventResponse]


def _plan(query: SessionsQuery, now: int) -> list[Slot]:
    intervals = Intervals(query.interval, query.timezone, query.week_start)
    return intervals.of_query(query, query.last, now)


def _sessions(query: SessionsQuery, slots: list[Slot]) -> Select:
    """Return a row for each session that begins in the range.

    Whether an event begins one depends on the events of the gap before it.
    """
    begin, end = slots[0].first, slots[-1].last
    gap_ms = 1_000 * query.gap_s
    gap = Value(gap_ms, "Int64")
    found = Select(
        {
            "person": Person(),
            "act": sql("(toUnixTimestamp64Milli(timestamp), _offset, toString(event))"),
        },
        Events([(begin - gap_ms, end + _TAIL_MS)], query.where),
    )
    persons = Select(
        {"who": column("person"), "acts": sql("arraySort(groupArray(act))")},
        found,
        group_by=("who",),
    )
    split = Select(
        {
            "who": column("who"),
            "session": sql(
                "arrayJoin(arrayMap(session -> (session[1].1, session[-1].1 - session[1].1,"
                " length(session), session[1].3, session[-1].3),"
                " arraySplit((one, passed) -> passed > {gap}, acts,"
                " arrayDifference(arrayMap(one -> one.1, acts)))))",
                gap=gap,
            ),
        },
        persons,
    )
    return Select(
        {
            "person": column("who"),
            "at": sql("session.1"),
            "length": sql("session.2"),
            "acts": sql("session.3"),
            "entry": sql("session.4"),
            "exit": sql("session.5"),
        },
        split,
        where=(
            sql(
                "at >= {begin} AND at < {end}", begin=Value(begin, "Int64"), end=Value(end, "Int64")
            ),
        ),
    )


def sessions_select(query: SessionsQuery, slots: list[Slot]) -> Select:
    """Return the query of the figures of each interval, of the range, and of both ends' events.

    The figures of the range have neither an interval nor an event. All of it is one query, for to
    find the sessions takes longer than to count them.
    """
    begins = Value([slot.begin for slot in slots], "Array(Int64)")
    numbered = Select(
        {
            "slot": sql("roundDown(at, {begins})", begins=begins),
            **{name: column(name) for name in ("person", "length", "acts", "entry", "exit")},
        },
        _sessions(query, slots),
    )
    return Select(
        {
            "of_slot": sql("NOT grouping(slot)"),
            "of_entry": sql("NOT grouping(entry)"),
            "of_exit": sql("NOT grouping(exit)"),
            "begin": column("slot"),
            "first": column("entry"),
            "last": column("exit"),
            "sessions": sql("count()"),
            "persons": sql("uniqExact(person)"),
            "events": sql("sum(acts)"),
            "bounces": sql("countIf(acts = 1)"),
            "average": sql("avg(length)"),
            "median": sql("quantileExactLow(0.5)(length)"),
        },
        numbered,
        grouping_sets=(("slot",), (), ("entry",), ("exit",)),
    )


def _figures(row: Sequence[Any]) -> SessionFigures:
    sessions, persons, events, bounces, average, median = row
    known = int(sessions) > 0
    return SessionFigures(
        int(sessions),
        int(persons),
        int(events),
        int(bounces),
        float(average) / 1_000 if known else None,
        float(median) / 1_000 if known else None,
    )


_NONE: Final = SessionFigures(0, 0, 0, 0, None, None)


def _shown(counts: Iterable[tuple[str, int]], top: int) -> list[SessionEventResponse]:
    ordered = sorted(counts, key=lambda one: (-one[1], one[0].encode()))
    shown = [SessionEventResponse(name, False, total) for name, total in ordered[:top]]
    rest = sum(total for _, total in ordered[top:])
    return [*shown, SessionEventResponse(None, True, rest)] if rest else shown


async def _answer(context: QueryContext, query: SessionsQuery) -> SessionsResponse:
    slots = _plan(query, context.now)
    result = await context.run(sessions_select(query, slots))
    found: dict[int | None, SessionFigures] = {}
    entries: list[tuple[str, int]] = []
    exits: list[tuple[str, int]] = []
    for of_slot, of_entry, of_exit, begin, first, last, *row in zip(*result.columns, strict=True):
        if of_entry:
            entries.append((str(first), int(row[0])))
        elif of_exit:
            exits.append((str(last), int(row[0])))
        else:
            found[int(begin) if of_slot else None] = _figures(row)
    gap_ms = 1_000 * query.gap_s
    intervals = [interval_response(slot, context.is_complete(slot.end + gap_ms)) for slot in slots]
    return SessionsResponse(
        **context.parts(incomplete=any(one.incomplete for one in intervals)),
        interval=query.interval,
        timezone=query.timezone,
        intervals=intervals,
        values=[found.get(slot.begin, _NONE) for slot in slots],
        total=found.get(None, _NONE),
        entries=_shown(entries, query.top),
        exits=_shown(exits, query.top),
    )


def _rows(answer: SessionsResponse) -> list[Row]:
    pairs = zip(rows_of(answer.intervals), rows_of(answer.values), strict=True)
    return [{**interval, **figures} for interval, figures in pairs]


SESSIONS: Final = QueryKind(
    SPEC,
    _answer,
    "QuerySessions",
    SessionsResponse,
    (SessionsQuery, SessionsResponse, SessionFigures, SessionEventResponse, IntervalResponse),
    rows=_rows,
    table=columns(
        begin="time",
        end="time",
        incomplete="boolean",
        sessions="integer",
        persons="integer",
        events="integer",
        bounces="integer",
        average_length_s="number",
        median_length_s="number",
    ),
    check=_plan,
    closes=lambda query, now: _plan(query, now)[-1].end + _TAIL_MS + 1_000 * query.gap_s,
)
