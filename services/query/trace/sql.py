"""The events of one person that matter to a funnel, as one ClickHouse statement.

Names and values of a definition are bound parameters of the statement, never its text.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from schemas.operators.funnel import Exclusion, FunnelDefinition, Step
from services.query.clickhouse.conditions import Binder
from services.query.clickhouse.events import (
    EventSource,
    Statement,
    events,
    fingerprint_sql,
    holds,
    token_sql,
    whole_token_sql,
)
from services.query.trace.chains import Happening


class Place(NamedTuple):
    """Where an event is in the order of a person's events: its time (ms) and offset."""

    at: int
    offset: int


class Recorded(NamedTuple):
    """An event as it is stored, and what it is to the funnel.

    `late_by` is by how much (ms) the person's newest relevant event was ahead of it when it came; 0
    if it was not.
    """

    place: Place
    partition: int
    event_id: str
    late_by: int
    happening: Happening


FIRST: Final = Place(-(2**62), 0)


def line_statement(
    source: EventSource,
    definition: FunnelDefinition,
    person: str,
    since: Place,
    until: Place | None,
    limit: int,
) -> Statement:
    """Return the statement for up to `limit` events of a person, which `read_line` understands.

    They are the first ones after `since`; or, with `until`, the last ones up to there.
    """
    funnel, bind = definition.funnel, Binder()
    selectors: list[Step | Exclusion] = [*funnel.steps, *funnel.exclusions]
    mask = " + ".join(
        f"bitShiftLeft(toUInt64({holds(selector, bind)}), {number})"
        for number, selector in enumerate(selectors)
    )
    held = ", ".join(whole_token_sql(name, bind) for name in funnel.hold_constant)
    token = token_sql(funnel.breakdown.property, bind) if funnel.breakdown else "''"
    names = bind(sorted({selector.event for selector in selectors}), "Array(String)")
    matters = "1" if funnel.order == "strict" else "mask > 0"
    after = f"(at, _offset) > ({bind(since.at, 'Int64')}, {bind(since.offset, 'UInt64')})"
    order = ""
    if until is not None:
        upto = f"({bind(until.at, 'Int64')}, {bind(until.offset, 'UInt64')})"
        after, order = f"{after} AND (at, _offset) <= {upto}", "DESC"
    text = f"""
SELECT at, _offset, _partition, id, event, mask, held, token, {fingerprint_sql("[token]")}, late_by
FROM (
    SELECT *, if({matters} AND newest > at, newest - at, 0) AS late_by
    FROM (
        SELECT *, maxIf(at, {matters}) OVER (
            ORDER BY _offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS newest
        FROM (
            SELECT
                toUnixTimestamp64Milli(timestamp) AS at, _offset, _partition,
                toString(event_id) AS id, event, {mask} AS mask,
                CAST([{held}], 'Array(String)') AS held, {token} AS token
            FROM {events(source, definition.project_id, bind, definition.since_ms)}
                AND person_id = {bind(person, "String")}
                {"" if funnel.order == "strict" else f"AND event IN {names}"}
        )
    )
)
WHERE {after}
ORDER BY at {order}, _offset {order}
LIMIT {bind(limit, "UInt32")}
"""  # noqa: S608
    return Statement(text, bind.parameters)


def read_line(definition: FunnelDefinition, columns: Sequence[Sequence[Any]]) -> list[Recorded]:
    """Read the result of a `line_statement`: events in order of time."""
    steps, count = len(definition.funnel.steps), len(definition.funnel.exclusions)
    line = []
    for at, offset, partition, id_, event, mask, held, token, order, late_by in zip(
        *columns, strict=True
    ):
        bits = int(mask)
        happening = Happening(
            int(at),
            str(event),
            frozenset(step + 1 for step in range(steps) if bits >> step & 1),
            frozenset(one + 1 for one in range(count) if bits >> (steps + one) & 1),
            tuple(map(str, held)),
            str(token),
            int(order),
        )
        place = Place(int(at), int(offset))
        line.append(Recorded(place, int(partition), str(id_), int(late_by), happening))
    return sorted(line, key=lambda one: one.place)
