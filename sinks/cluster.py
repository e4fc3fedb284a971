"""The tables of AvilaDB on a cluster: statements for one server, rewritten for all of them.

Each table becomes two: `<table>_local` on every server, replicated between the replicas of a shard,
and `<table>` of the engine Distributed, which all else reads and writes. Rows are sharded by
person, so a person's events, states, scores and memberships are on one shard: the materialized view
of persons and queries that group by person need no other.
"""

import re
from typing import Final

_KEYS: Final = ("person_id", "project_id", "version")
_ENGINE: Final = re.compile(r"ENGINE = (\w*MergeTree)")
_COMMENT: Final = re.compile(r"\s*--[^\n]*\n")

# Of inserts into a Distributed table: they return when the shards have the rows.
INSERT_SETTINGS: Final = {"distributed_foreground_insert": 1}


def on_cluster(statement: str, database: str, cluster: str) -> list[str]:
    """Return the statements that do on a cluster what `statement` does on one server.

    The statement is one of ours; `database` and `cluster` are quoted. What changes no tables is
    returned as it is.
    """
    while match := _COMMENT.match(statement):
        statement = statement[match.end() :]
    statement = statement.strip()
    table = re.compile(rf"{re.escape(database)}\.(\w+)")
    named = table.search(statement)
    for start in ("CREATE TABLE", "ALTER TABLE", "CREATE MATERIALIZED VIEW", "CREATE VIEW"):
        if statement.startswith(start) and named is not None:
            break
    else:
        created = f"CREATE DATABASE IF NOT EXISTS {database}"
        return [f"{created} ON CLUSTER {cluster}" if statement == created else statement]
    name = named[1]
    head, tail = statement[: named.start()], statement[named.end() :]
    match start:
        case "CREATE TABLE":
            tail = _ENGINE.sub(r"ENGINE = Replicated\1", tail).replace(
                "non_replicated_deduplication_window", "replicated_deduplication_window"
            )
            local = f"{head}{database}.{name}_local ON CLUSTER {cluster}{tail}"
            key = next(key for key in _KEYS if re.search(rf"\b{key}\b", tail))
            spread = (
                f"{head}{database}.{name} ON CLUSTER {cluster} AS {database}.{name}_local "
                f"ENGINE = Distributed({cluster}, {database}, {name}_local, cityHash64({key}))"
            )
            return [local, spread]
        case "ALTER TABLE":
            return [f"{head}{database}.{name}_local ON CLUSTER {cluster}{tail}"]
        case "CREATE MATERIALIZED VIEW":
            tail = table.sub(rf"{database}.\1_local", tail)
            return [f"{head}{database}.{name} ON CLUSTER {cluster}{tail}"]
    # A join reads the right side from all shards once, for all of them.
    tail = tail.replace("LEFT JOIN", "GLOBAL LEFT JOIN")
    return [f"{head}{database}.{name} ON CLUSTER {cluster}{tail}"]
