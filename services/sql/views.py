"""The views that SQL reads: queries of one project's rows."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from services.sql.text import RESERVED_PREFIX, quoted, string

# The parameter with the project's id.
PROJECT_PARAMETER: Final = f"{RESERVED_PREFIX}_project"
DATABASE: Final = "avila"
# What stands for the database in the queries of views.
_DATABASE: Final = "{database}"
_JSON: Final = "JSON(max_dynamic_paths=256)"


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


_EVENT_COLUMNS: Final = (
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
_PERSON_COLUMNS: Final = (
    ViewColumn("person_id", "String", "The person."),
    ViewColumn("first_seen", "DateTime64(3, 'UTC')", "The time of the first event."),
    ViewColumn("last_seen", "DateTime64(3, 'UTC')", "The time of the last event."),
    ViewColumn("events", "UInt64", "How many events there are."),
    ViewColumn("properties", _JSON, "The last value of each property that $set has set."),
)
_MEMBER_COLUMNS: Final = (
    ViewColumn("segment_id", "LowCardinality(String)", "The id of the segment."),
    ViewColumn("name", "String", "The name of the segment."),
    ViewColumn("person_id", "String", "A person who is in it now."),
    ViewColumn("version", "Int32", "The version of the definition that was evaluated."),
    ViewColumn("entered_at", "DateTime64(3, 'UTC')", "Since when the person is in it."),
)
_SCORE_COLUMNS: Final = (
    ViewColumn("prediction_id", "LowCardinality(String)", "The id of the prediction."),
    ViewColumn("person_id", "String", "The person."),
    ViewColumn("version", "Int32", "The version of the definition that asked."),
    ViewColumn("at", "DateTime64(3, 'UTC')", "The time of the event that asked."),
    ViewColumn("score", "Float64", "The score, from 0 to 1."),
    ViewColumn("model", "LowCardinality(String)", "The model, by its name."),
    ViewColumn("model_version", "Int64", "How many examples the model had learned."),
    ViewColumn(
        "contributions",
        "Array(Tuple(feature LowCardinality(String), value Float32, contribution Float64))",
        "What contributed most.",
    ),
)


def _of_project(table: str, columns: tuple[ViewColumn, ...], *, final: bool = False) -> str:
    """Return the query of a project's rows of a table.

    The table has a name that is ours, so that no alias of a statement can stand for its column.
    """
    ours = quoted(f"{RESERVED_PREFIX}_{table}")
    named = ", ".join(f"{ours}.{quoted(one.name)} AS {quoted(one.name)}" for one in columns)
    source = f"{_DATABASE}.{quoted(table)} AS {ours}{' FINAL' if final else ''}"
    own = f"{ours}.`project_id` = {{{PROJECT_PARAMETER}:String}}"
    return f"SELECT {named} FROM {source} WHERE {own}"  # noqa: S608 (names of ours)


EVENTS: Final = View(
    "events",
    "The events of the project.",
    _EVENT_COLUMNS,
    _of_project("events", _EVENT_COLUMNS),
)
PERSONS: Final = View(
    "persons",
    "The persons of the project.",
    _PERSON_COLUMNS,
    _of_project("persons", _PERSON_COLUMNS),
)
SEGMENTS: Final = View(
    "segments",
    "The members of the segments of the project.",
    _MEMBER_COLUMNS,
    _of_project("segments", _MEMBER_COLUMNS),
)
PREDICTIONS: Final = View(
    "predictions",
    "The newest score of each person for each prediction of the project.",
    _SCORE_COLUMNS,
    _of_project("predictions", _SCORE_COLUMNS, final=True),
)
# What the views read, and the views of the store that they read it through.
_TABLES: Final = (
    *("events", "predictions"),
    *("person_states", "persons"),
    *("segment_members", "definitions", "segments"),
)
VIEWS: Final = (EVENTS, PERSONS, SEGMENTS, PREDICTIONS)


def view_queries(database: str) -> Mapping[str, str]:
    """Return the queries of all views over the tables of a database, by the views' names."""
    return {one.name: one.query.replace(_DATABASE, quoted(database)) for one in VIEWS}


def project_filter(database: str, project_id: str) -> str:
    """Return the value of ClickHouse's setting `additional_table_filters` for a project.

    ClickHouse applies it to each read of the table, however the statement was written: a second
    wall behind the views.
    """
    condition = string(f"project_id = {string(project_id)}")
    tables = (f"{string(f'{database}.{table}')}: {condition}" for table in _TABLES)
    return f"{{{', '.join(tables)}}}"
