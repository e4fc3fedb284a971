"""What persons' properties were at each event, as one join.

The join finds, for an event, the last of the person's events up to and including it that set one of
the properties, in the order of time and position, and has the values as of that one. Its right side
has only events that set properties, which are few: a window over all events took five times as
long (one million events, a fiftieth of which set the property).
"""

from typing import Final

from schemas.conditions import Condition
from schemas.operators.segment import SET, SET_ONCE, Rule, holds_without_events
from services.query.clickhouse.conditions import Binder, condition_sql
from services.query.clickhouse.events import EventSource, events, token_sql
from services.query.clickhouse.person import PERSON_SQL
from services.query.clickhouse.person_now import Said

# The order as one number, since a join compares one: the time, then 64 bits of the offset.
_MOMENT: Final = (
    "toDecimal128(bitShiftLeft(toInt128(toUnixTimestamp64Milli(timestamp)), 64)"
    " + toInt128(_offset), 0)"
)
_WINDOW: Final = (
    f"PARTITION BY {PERSON_SQL} ORDER BY timestamp, _offset"
    " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
)


class PersonHistory:
    """The properties as of the events that one SELECT asks for.

    `condition` and `token` return expressions over the events, which hold with the join that
    `joins` returns. The properties are those that events of `source` set.
    """

    def __init__(self, source: EventSource, project_id: str, bind: Binder) -> None:
        self._source = source
        self._project_id = project_id
        self._bind = bind
        self._columns: dict[str, str] = {}
        self._set: dict[str, None] = {}

    def condition(self, condition: Condition) -> str:
        """Return an expression that is 1 where the condition held at the event, and else 0."""
        if condition.and_:
            return f"({' AND '.join(map(self.condition, condition.and_))})"
        if condition.or_:
            return f"({' OR '.join(map(self.condition, condition.or_))})"
        if condition.not_ is not None:
            return f"(NOT {self.condition(condition.not_)})"
        unset = int(holds_without_events(Rule(person=(condition,))))
        of_set, of_once = (
            condition_sql(condition, self._bind, within) for within in (SET, SET_ONCE)
        )
        # Without an event that sets it, the join has 0.
        differs = f"{self._value(condition.property, of_set, of_once, str(unset))} != {unset}"
        return f"({self._column(differs)} != {unset})"

    def token(self, name: str, column: str = "") -> str:
        """Return an expression for a property's token at the event; empty if it was not set.

        With `column` it is the column of that name.
        """
        of_set, of_once = (token_sql(name, self._bind, within) for within in (SET, SET_ONCE))
        return self._column(self._value(name, of_set, of_once, "''"), column)

    def joins(self) -> str:
        """Return the JOIN clause; empty if nothing was asked for."""
        if not self._columns:
            return ""
        columns = ", ".join(f"{sql} AS {name}" for sql, name in self._columns.items())
        source = events(self._source, self._project_id, self._bind)
        return f"""
ASOF LEFT JOIN (
    SELECT {PERSON_SQL} AS then_person, {_MOMENT} AS then_moment, {columns}
    FROM {source} AND ({" OR ".join(self._set)})
    WINDOW so_far AS ({_WINDOW})
) AS persons_then ON {PERSON_SQL} = then_person AND {_MOMENT} >= then_moment"""  # noqa: S608 (of placeholders)

    def _column(self, sql: str, name: str = "") -> str:
        return self._columns.setdefault(sql, name or f"then_{len(self._columns)}")

    def _value(self, name: str, of_set: str, of_once: str, unset: str) -> str:
        """Return what is set last so far, or else first, of a property; `unset` if neither is."""
        said = Said.of(name, self._bind)
        self._set |= dict.fromkeys(said)
        return said.value(of_set, of_once, unset, " OVER so_far")
