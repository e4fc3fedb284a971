"""What all questions about events to ClickHouse have in common.

Nothing of a definition becomes text of a statement: names and values are bound.
"""

from typing import NamedTuple

from pipelines.operators import Look
from services.query.condition_sql import Binder, Identifier, condition_sql


class Statement(NamedTuple):
    """SQL with placeholders, and what stands for them."""

    text: str
    parameters: dict[str, object]


def events(database: str, project_id: str, bind: Binder) -> str:
    """The one way to the events: nobody's but the project's."""
    table = f"{bind(Identifier(database), 'Identifier')}.events"
    return f"{table} WHERE project_id = {bind(project_id, 'String')}"


def holds(look: Look, bind: Binder) -> str:
    """An expression that is 1 for the events that are looked for, and else 0."""
    named = "1" if look.event is None else f"event = {bind(look.event, 'String')}"
    return " AND ".join([named, *(condition_sql(condition, bind) for condition in look.where)])


def positions_statement(database: str, project_id: str) -> Statement:
    """The statement for the offsets before which all events of a project are stored."""
    bind = Binder()
    return Statement(
        f"SELECT _partition, max(_offset) + 1 FROM {events(database, project_id, bind)} "  # noqa: S608
        "GROUP BY _partition",
        bind.parameters,
    )
