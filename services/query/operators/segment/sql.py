"""Segments as ClickHouse queries, built from their definitions; equal to what the stream counts.

A query reduces each person's events once to the columns that the rules need, then evaluates the
rules over the columns. `clock` is the project's time (ms) as of which it does, a bound parameter.
"""

from collections.abc import Sequence
from typing import Final

from schemas.conditions import Condition
from schemas.errors import InvalidRequest
from schemas.event_filter import EventFilter
from schemas.operators.segment import (
    SET,
    SET_ONCE,
    EventSequence,
    Performed,
    Rule,
    Seen,
    SegmentDefinition,
    holds_without_events,
)
from schemas.time.rfc3339 import read_time
from services.query.clickhouse.conditions import Binder, condition_sql, property_sql
from services.query.clickhouse.events import EventSource, Statement, events, holds, limit_sql
from services.query.operators.segment.response import sets_of

# Events with equal times are in the order in which they came.
_ORDER: Final = "(at, _offset)"


def members_statement(
    source: EventSource, definition: SegmentDefinition, clock: int, after: str, limit: int | None
) -> Statement:
    """Return the statement for up to `limit` members whose ids come after `after`, by id.

    Without a limit it is for all of them.
    """
    bind = Binder()
    return Statement(
        f"{members_sql(source, definition, clock, bind)} AND person_id > {bind(after, 'String')} "
        f"ORDER BY person_id{limit_sql(limit, bind)}",
        bind.parameters,
    )


def members_sql(
    source: EventSource, definition: SegmentDefinition, clock: int, bind: Binder
) -> str:
    """Return the query of all members' ids, which ends with its WHERE clause."""
    (rule,), persons = _persons(source, [definition], clock, bind)
    return f"SELECT person_id FROM ({persons}) WHERE {rule}"  # noqa: S608


def sizes_statement(
    source: EventSource, definitions: Sequence[SegmentDefinition], clock: int
) -> Statement:
    """Return the statement for how many are in each of the sets of some segments, in one row."""
    bind = Binder()
    rules, persons = _persons(source, definitions, clock, bind)
    counts = (f"countIf({' AND '.join(some)})" for some in sets_of(rules))
    return Statement(f"SELECT {', '.join(counts)} FROM ({persons})", bind.parameters)  # noqa: S608


def memberships_statement(
    source: EventSource, definitions: Sequence[SegmentDefinition], clock: int, person: str
) -> Statement:
    """Return the statement for whether a person is in each of some segments: 1 or 0, in one row."""
    bind = Binder()
    rules, persons = _persons(source, definitions, clock, bind, person)
    return Statement(f"SELECT {', '.join(rules)} FROM ({persons})", bind.parameters)  # noqa: S608


def _persons(
    source: EventSource,
    definitions: Sequence[SegmentDefinition],
    clock: int,
    bind: Binder,
    person: str | None = None,
) -> tuple[list[str], str]:
    """Return expressions for the rules, and the subquery of persons that they apply to.

    They are those of the project, or only `person`.
    """
    needed = _Columns(bind, clock)
    rules = [needed.rule(definition.rule) for definition in definitions]
    only = "" if person is None else f" AND person_id = {bind(person, 'String')}"
    columns = "".join(f",\n    {sql} AS {name}" for sql, name in needed.columns.items())
    persons = f"""
SELECT
    person_id{columns}
FROM (
    SELECT person_id, event, properties, _offset, toUnixTimestamp64Milli(timestamp) AS at
    FROM {events(source, definitions[0].project_id, bind)}{only}
)
GROUP BY person_id
"""  # noqa: S608
    return rules, persons


class _Columns:
    """The columns that rules need of a person; `rule` returns an expression over them."""

    def __init__(self, bind: Binder, clock: int) -> None:
        self._bind = bind
        self._clock = bind(clock, "Int64")
        self.columns: dict[str, str] = {}

    def rule(self, rule: Rule) -> str:
        if rule.and_ or rule.or_:
            operator = " AND " if rule.and_ else " OR "
            return f"({operator.join(self.rule(inner) for inner in rule.and_ or rule.or_)})"
        if rule.not_ is not None:
            return f"(NOT {self.rule(rule.not_)})"
        if rule.performed is not None:
            return self._performed(rule.performed)
        if rule.sequence is not None:
            return self._sequence(rule.sequence)
        if rule.first_seen is not None:
            return self._seen(rule.first_seen, "minIf")
        if rule.last_seen is not None:
            return self._seen(rule.last_seen, "maxIf")
        if rule.predicted is not None:
            raise InvalidRequest(
                "a rule that asks for scores cannot be asked of ClickHouse: scores count on the "
                "stream only, from the segment's definition on",
                "rule.predicted",
            )
        return f"({' AND '.join(self._condition(condition) for condition in rule.person)})"

    def _column(self, sql: str) -> str:
        return self.columns.setdefault(sql, f"c{len(self.columns)}")

    def _ms(self, seconds: int) -> str:
        return self._bind(1_000 * seconds, "Int64")

    def _performed(self, performed: Performed) -> str:
        matches = holds(EventFilter(performed.event, performed.where), self._bind)
        if performed.within_s is not None:
            matches += f" AND at >= {self._clock} - {self._ms(performed.within_s)}"
        times = self._column(f"countIf({matches})")
        if performed.at_most is not None:
            return f"({times} <= {self._bind(performed.at_most, 'UInt8')})"
        if performed.exactly is not None:
            return f"({times} = {self._bind(performed.exactly, 'UInt8')})"
        return f"({times} >= {self._bind(performed.at_least or 1, 'UInt8')})"

    def _seen(self, seen: Seen, function: str) -> str:
        matches = holds(EventFilter(seen.event, seen.where), self._bind)
        ever = self._column(f"countIf({matches}) > 0")
        at = self._column(f"{function}(at, {matches})")
        if seen.before is not None:
            bound = f"{at} < {self._bind(read_time(seen.before), 'Int64')}"
        elif seen.after is not None:
            bound = f"{at} > {self._bind(read_time(seen.after), 'Int64')}"
        elif seen.within_s is not None:
            bound = f"{self._clock} - {at} <= {self._ms(seen.within_s)}"
        else:
            bound = f"{self._clock} - {at} > {self._ms(seen.not_within_s or 0)}"
        return f"({ever} AND {bound})"

    def _sequence(self, sequence: EventSequence) -> str:
        steps = ", ".join(holds(step, self._bind) for step in sequence.steps)
        window = self._bind(1_000 * sequence.window_s, "UInt64")
        done = self._column(f"windowFunnel({window})(toUInt64(at), {steps})")
        return f"({done} = {len(sequence.steps)})"

    def _condition(self, condition: Condition) -> str:
        if condition.and_:
            return f"({' AND '.join(self._condition(inner) for inner in condition.and_)})"
        if condition.or_:
            return f"({' OR '.join(self._condition(inner) for inner in condition.or_)})"
        if condition.not_ is not None:
            return f"(NOT {self._condition(condition.not_)})"
        cases = []
        for within, function in ((SET, "argMaxIf"), (SET_ONCE, "argMinIf")):
            is_set = f"{property_sql(condition.property, self._bind, within)} IS NOT NULL"
            test = condition_sql(condition, self._bind, within)
            cases.append(self._column(f"countIf({is_set}) > 0"))
            cases.append(self._column(f"{function}({test}, {_ORDER}, {is_set})"))
        unset = int(holds_without_events(Rule(person=(condition,))))
        return f"multiIf({', '.join(cases)}, {unset})"
