"""What persons' properties are now: what events have set last, or else what was set once first.

Only the events that set a property are read for it. Equal to the rules of segments
(`services.query.operators.segment.sql`), which have other columns of all events as well.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.conditions import Condition
from schemas.operators.segment import SET, SET_ONCE, Rule, holds_without_events
from services.query.clickhouse.conditions import Binder, condition_sql, property_sql
from services.query.clickhouse.events import EventSource, events, token_sql
from services.query.clickhouse.person import PERSON_SQL

_ORDER: Final = "(timestamp, _offset)"
_NOT_SET: Final = "''"


class Said(NamedTuple):
    """Expressions that are 1 for events that set a property of their person, or set it once."""

    is_set: str
    is_once: str

    @classmethod
    def of(cls, name: str, bind: Binder) -> "Said":
        """Return the expressions for a property."""
        is_set, is_once = (
            f"({property_sql(name, bind, within)} IS NOT NULL)" for within in (SET, SET_ONCE)
        )
        return cls(is_set, is_once)

    def value(self, of_set: str, of_once: str, unset: str, over: str = "") -> str:
        """Return an aggregate over a person's events: `of_set` of the last one that sets it.

        Without any it is `of_once` of the first that sets it once; without that, too, it is
        `unset`. `over` makes it a window function.
        """
        return (
            f"multiIf(countIf({self.is_set}){over} > 0,"
            f" argMaxIf({of_set}, {_ORDER}, {self.is_set}){over},"
            f" countIf({self.is_once}){over} > 0,"
            f" argMinIf({of_once}, {_ORDER}, {self.is_once}){over}, {unset})"
        )


def has_now_sql(source: EventSource, project_id: str, condition: Condition, bind: Binder) -> str:
    """Return an expression that is 1 for events whose person passes now, and else 0."""
    if condition.and_ or condition.or_:
        inner = [
            has_now_sql(source, project_id, one, bind) for one in condition.and_ or condition.or_
        ]
        return f"({(' AND ' if condition.and_ else ' OR ').join(inner)})"
    if condition.not_ is not None:
        return f"(NOT {has_now_sql(source, project_id, condition.not_, bind)})"
    unset = int(holds_without_events(Rule(person=(condition,))))
    of_set, of_once = (condition_sql(condition, bind, within) for within in (SET, SET_ONCE))
    said = Said.of(condition.property, bind)
    differing = f"""
SELECT {PERSON_SQL} FROM {events(source, project_id, bind)} AND ({" OR ".join(said)})
GROUP BY {PERSON_SQL} HAVING {said.value(of_set, of_once, str(unset))} != {unset}
"""  # noqa: S608 (of placeholders)
    return f"({PERSON_SQL} {'NOT IN' if unset else 'IN'} ({differing}))"


def values_now_sql(
    source: EventSource, project_id: str, properties: Mapping[str, str], bind: Binder
) -> str:
    """Return the query of the persons who have any of some properties, as `person`.

    Its other columns have the tokens of the properties that they are by; empty if it is not set.
    """
    said = {name: Said.of(name, bind) for name in properties.values()}
    columns = []
    for column, name in properties.items():
        of_set, of_once = (token_sql(name, bind, within) for within in (SET, SET_ONCE))
        columns.append(f"{said[name].value(of_set, of_once, _NOT_SET)} AS {column}")
    any_set = " OR ".join(one for pair in said.values() for one in pair)
    return (
        f"SELECT {PERSON_SQL} AS person, {', '.join(columns)} "  # noqa: S608 (of placeholders)
        f"FROM {events(source, project_id, bind)} AND ({any_set}) GROUP BY person"
    )
