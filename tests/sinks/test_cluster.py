"""Tables on a cluster: ClickHouse's parser accepts the statements, which shard by person.

They are not run: the embedded engine is one server.
"""

import re

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.errors import Misconfigured
from schemas.settings import Settings, read_settings
from sinks.migrations import MIGRATIONS, spread
from tests.sinks.tables import query

DATABASE, CLUSTER = "the `store`", "it's one"


def statements() -> list[str]:
    """Return all statements of all migrations on a cluster."""
    return [
        one.replace("{month}", "202511")
        for migration in MIGRATIONS
        for statement in migration.statements(DATABASE)
        for one in spread(statement, DATABASE, CLUSTER)
    ]


@pytest.mark.parametrize("statement", statements())
def test_the_parser_of_clickhouse_accepts_every_statement(
    database: Settings, statement: str
) -> None:
    parse = f"SELECT formatQuery(unhex('{statement.encode().hex()}'))"
    ((printed,),) = query(database, parse)
    assert f"ON CLUSTER `{CLUSTER}`" in printed or not re.match("CREATE|ALTER", printed)
    with pytest.raises(DatabaseError, match="SYNTAX_ERROR"):
        query(database, parse.replace("'))", "28'))"))


def test_every_table_is_replicated_and_distributed() -> None:
    made = "\n".join(statements())
    tables = re.findall(r"CREATE TABLE IF NOT EXISTS \S+ \S+\.(\w+)_local ON CLUSTER", made)
    assert set(tables) == {
        *("events", "predictions", "person_states"),
        *("segment_members", "definitions", "result_history"),
    }
    engines = re.findall(r"ENGINE = (\w+)", made)
    assert engines.count("Distributed") == len(tables)
    assert all(one.startswith("Replicated") for one in engines if one != "Distributed")
    keys = dict(re.findall(r", (\w+)_local, cityHash64\((\w+)\)\)", made))
    assert {name for name, key in keys.items() if key == "person_id"} == {
        *("events", "predictions", "person_states", "segment_members")
    }
    assert "non_replicated" not in made


def test_persons_are_folded_where_their_events_are() -> None:
    (view,) = (one for one in statements() if one.startswith("CREATE MATERIALIZED VIEW"))
    assert re.findall(r"(\w+)_local", view) == ["person_states", "events"]


def test_a_change_of_a_table_is_one_of_its_local_tables() -> None:
    assert spread("ALTER TABLE `a`.events DELETE WHERE 1", "a", "c") == [
        "ALTER TABLE `a`.events_local ON CLUSTER `c` DELETE WHERE 1"
    ]
    assert spread("CREATE DATABASE IF NOT EXISTS `a`", "a", "c") == [
        "CREATE DATABASE IF NOT EXISTS `a` ON CLUSTER `c`"
    ]
    assert spread("INSERT INTO `a`.events SELECT 1", "a", "c") == [
        "INSERT INTO `a`.events SELECT 1"
    ]


def test_the_embedded_store_is_no_cluster() -> None:
    with pytest.raises(Misconfigured, match="AVILA_CLICKHOUSE_DSN"):
        read_settings({"AVILA_CLICKHOUSE_CLUSTER": "main"})
