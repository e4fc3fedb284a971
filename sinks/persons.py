"""The fold of events into what is known of their persons: rows of the table `person_states`.

The materialized view of the migration `persons` folds what is inserted into `events`. A store that
is killed in between has the events without their aggregates, so whoever cannot know derives them
again (`refold`), which changes nothing if they are there: the aggregates are idempotent.
"""

from typing import Final

# JSON of a nested object has dots in names as they were sent, like the insert of events.
FOLD_SETTINGS: Final = {"json_type_escape_dots_in_keys": 1}


def _values(property_name: str) -> str:
    """Return the values that an event gives to a person's properties, by kind and stored name.

    `toJSONString` returns dots in names as they are or escaped, which a setting decides.
    """
    return (
        "CAST(arrayMap(one -> ("
        "concat(if(startsWith(one.2, '{'), 'o', 's'), replaceAll(one.1, '.', '%2E')), "
        "(toUnixTimestamp64Milli(timestamp), _offset, one.2)), "
        f"JSONExtractKeysAndValuesRaw(toJSONString(properties.^`{property_name}`))) "
        "AS Map(String, Tuple(Int64, UInt64, String)))"
    )


# The aggregates of some events of one person, by the names of their columns.
AGGREGATES: Final = {
    "first_seen": "min(timestamp)",
    "last_seen": "max(timestamp)",
    # The place of an event: its partition and offset in one number.
    "places": "groupBitmapState(bitShiftLeft(toUInt64(_partition), 48) + _offset)",
    "last_offset": "max(_offset)",
    "set_last": f"maxMapState({_values('$set')})",
    "set_first": f"minMapState({_values('$set_once')})",
}


def fold_sql(events: str) -> str:
    """Return the query of the rows of `person_states` for the events of a FROM clause."""
    columns = ", ".join(f"{value} AS {name}" for name, value in AGGREGATES.items())
    return (
        f"SELECT project_id, person_id, _partition, {columns} FROM {events} "  # noqa: S608 (of ours)
        "GROUP BY project_id, person_id, _partition"
    )


def refold_sql(database: str, partition: int, first: int, last: int) -> str:
    """Return the insert of the rows for the events at a range of offsets; `database` is quoted."""
    names = ", ".join(("project_id", "person_id", "_partition", *AGGREGATES))
    events = (
        f"{database}.events WHERE _partition = {partition} AND _offset BETWEEN {first} AND {last}"
    )
    return f"INSERT INTO {database}.person_states ({names}) {fold_sql(events)}"
