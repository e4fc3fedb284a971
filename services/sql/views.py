"""The views that SQL reads: queries of one project's events."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from services.sql.text import RESERVED_PREFIX, quoted, string

# The parameter with the project's id.
PROJECT_PARAMETER: Final = f"{RESERVED_PREFIX}_project"
DATABASE: Final = "avila"
# What stands for the database in the queries of views.
_DATABASE: Final = "{database}"
_JSON: Final = "JSON(max_dynamic_paths = 256)"


class ViewColumn(NamedTuple):
    """A column of a view, as clients see it."""

    name: str
    type: str
    comment: str


class View(NamedTuple):
    """A view; its `query` has `{database}` in the place of the database."""

    name: str
    comment: str
    columns: tuple[ViewColumn, ...]
    query: str


_COLUMNS: Final = (
    ViewColumn("event_id", "UUID", "Identifies the event."),
    ViewColumn("project_id", "LowCardinality(String)", "The project itself."),
    ViewColumn("distinct_id", "String", "The id that the event was sent with."),
    ViewColumn("person_id", "String", "The person of the event."),
    ViewColumn("anonymous_id", "Nullable(String)", "The id of the device, if it was sent."),
    ViewColumn("session_id", "Nullable(String)", "The session, if it was sent."),
    ViewColumn("event", "LowCardinality(String)", "The name of the event."),
    ViewColumn("timestamp", "DateTime64(3, 'UTC')", "When it happened, by the corrected clock."),
    ViewColumn("sent_at", "Nullable(DateTime64(3, 'UTC'))", "When it was sent, by that clock."),
    ViewColumn("received_at", "DateTime64(3, 'UTC')", "When it was received."),
    ViewColumn("properties", _JSON, "properties.plan is a property; a dot in a name is %2E."),
    ViewColumn("context", "String", "The address and the library of the sender, as JSON."),
    ViewColumn("_partition", "UInt32", "The partition of its record on avila.events."),
    ViewColumn("_offset", "UInt64", "The offset of its record."),
    ViewColumn("_properties", "String", "The text of properties that are no JSON object."),
)


def _events() -> str:
    """Return the query of a project's events.

    The table has a name that is ours, so that no alias of a statement can stand for its column.
    """
    event = quoted(f"{RESERVED_PREFIX}_event")
    columns = ", ".join(f"{event}.{quoted(one.name)} AS {quoted(one.name)}" for one in _COLUMNS)
    return (
        f"SELECT {columns} FROM {_DATABASE}.`events` AS {event} "
        f"WHERE {event}.`project_id` = {{{PROJECT_PARAMETER}:String}}"
    )


EVENTS: Final = View(
    "events",
    "The events of the project.",
    _COLUMNS,
    _events(),
)
PERSONS: Final = View(
    "persons",
    "The persons of the project, computed from all of its events.",
    (
        ViewColumn("person_id", "String", "The person."),
        ViewColumn("first_seen", "DateTime64(3, 'UTC')", "The time of the first event."),
        ViewColumn("last_seen", "DateTime64(3, 'UTC')", "The time of the last event."),
        ViewColumn("events", "UInt64", "How many events there are."),
        ViewColumn("properties", _JSON, "The last value of each property that $set has set."),
    ),
    Path(__file__).with_name("persons.sql").read_text("utf-8"),
)
VIEWS: Final = (EVENTS, PERSONS)


def view_queries(database: str) -> Mapping[str, str]:
    """Return the queries of all views over the tables of a database, by the views' names."""
    return {one.name: one.query.replace(_DATABASE, quoted(database)) for one in VIEWS}


def project_filter(database: str, project_id: str) -> str:
    """Return the value of ClickHouse's setting `additional_table_filters` for a project.

    ClickHouse applies it to each read of the table, however the statement was written: a second
    wall behind the views.
    """
    condition = f"project_id = {string(project_id)}"
    return f"{{{string(f'{database}.events')}: {string(condition)}}}"
