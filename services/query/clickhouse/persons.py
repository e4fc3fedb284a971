"""Persons as the store keeps them: equal to a fold of the events of a prefix of the log.

The table `person_states` has each person's newest state alone. A state is that of the prefix if it
has no event at or after the prefix's end; the few that have one are folded again from the events.
"""

from typing import Final

from services.query.clickhouse.conditions import Binder, Identifier
from services.query.clickhouse.events import Prefix, Statement, end_sql, events
from services.query.clickhouse.person import PERSON_SQL
from sinks.persons import fold_sql

# Merges the states of `person_states` into columns, by their names.
_MERGED: Final = {
    "first_seen": "min(state.first_seen)",
    "last_seen": "max(state.last_seen)",
    "events": "groupBitmapMerge(state.places)",
    "set_last": "maxMapMerge(state.set_last)",
    "set_first": "minMapMerge(state.set_first)",
}


def persons_sql(source: Prefix, project_id: str, bind: Binder) -> str:
    """Return the query of the persons of a project who have an event below the positions.

    Its columns are `person_id`, `first_seen`, `last_seen`, `events`, and the maps `set_last` and
    `set_first`, which the migration `persons` describes. The table is complete only where the store
    has the view `persons`.
    """
    assert source.select is None, "the table has the states of all events"
    table = f"{bind(Identifier(source.database), 'Identifier')}.person_states"
    own = f"project_id = {bind(project_id, 'String')}"
    columns = ", ".join(f"{value} AS {name}" for name, value in _MERGED.items())
    if source.positions is None:
        return f"""
SELECT {PERSON_SQL} AS person_id, {columns} FROM {table} AS state WHERE {own} GROUP BY person_id
"""  # noqa: S608 (placeholders)
    end = end_sql(source.positions, bind)
    later = f"SELECT person_id, _partition FROM {table} WHERE {own} AND last_offset >= {end}"  # noqa: S608 (placeholders)
    again = fold_sql(f"{events(source, project_id, bind)} AND (person_id, _partition) IN ({later})")
    kept = ", ".join(("person_id", *_STATES))
    return (
        f"SELECT {PERSON_SQL} AS person_id, {columns} FROM ("  # noqa: S608 (placeholders)
        f"SELECT {kept} FROM {table} WHERE {own} AND (person_id, _partition) NOT IN ({later}) "
        f"UNION ALL SELECT {kept} FROM ({again})"
        ") AS state GROUP BY person_id"
    )


_STATES: Final = ("first_seen", "last_seen", "places", "set_last", "set_first")


def has_persons_statement(database: str) -> Statement:
    """Return the statement for whether the store keeps persons, and has all of them."""
    bind = Binder()
    return Statement(
        "SELECT count() FROM system.tables "  # noqa: S608 (placeholders)
        f"WHERE database = {bind(database, 'String')} AND name = 'persons'",
        bind.parameters,
    )
