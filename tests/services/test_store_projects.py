"""Users of projects in the store: read-only, their own project alone, by ordinary clients."""

from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, given, settings
from sqlalchemy import MetaData, Table, create_engine, func, inspect, select

from tests.project_stores import (
    ELSEWHERE,
    EXPIRED,
    READER,
    SECRET,
    WRITER,
    ProjectStore,
    project_store,
)
from tests.services.sql.random_sql import statements

__all__ = ["project_store"]


def connect(store: ProjectStore, password: str = READER, user: str = "shop") -> Client:
    return clickhouse_connect.get_client(
        host=store.host, port=store.port, username=user, password=password
    )


@pytest.fixture
def client(project_store: ProjectStore) -> Iterator[Client]:
    with connect(project_store) as made:
        yield made


def ask(store: ProjectStore, sql: str, password: str = READER, **arguments: Any) -> httpx.Response:
    return httpx.post(
        store.url,
        content=sql.encode(),
        params=arguments,
        auth=("shop", password),
        timeout=120,
    )


def test_a_client_reads_the_views_of_its_project(client: Client) -> None:
    assert client.query("SELECT event, count() FROM events GROUP BY 1 ORDER BY 2").result_rows == [
        ("view", 1),
        ("buy", 10),
    ]
    found = client.query(
        "SELECT count() AS n FROM avila.events WHERE event = {event:String}",
        parameters={"event": "buy"},
    )
    assert (found.column_names, found.result_rows) == (("n",), [(10,)])
    persons = client.query("SELECT person_id, events, properties.plan FROM persons ORDER BY 1")
    assert persons.result_rows == [
        ("person 0", 5, "pro"),
        ("person 1", 3, None),
        ("person 2", 3, None),
    ]
    assert client.query_arrow("SELECT person_id FROM events").num_rows == 11
    assert client.command("SELECT currentUser()") == "shop"


def test_a_client_finds_what_there_is(client: Client) -> None:
    assert client.query("SHOW DATABASES").result_rows == [("avila",), ("system",)]
    assert client.query("SHOW TABLES").result_rows == [
        ("events",),
        ("persons",),
        ("predictions",),
        ("segments",),
    ]
    assert client.query("SHOW TABLES FROM avila LIKE 'p%'").result_rows == [
        ("persons",),
        ("predictions",),
    ]
    assert client.command("EXISTS TABLE avila.events") == 1
    assert client.command("EXISTS TABLE secrets") == 0
    described = client.query("DESCRIBE TABLE avila.events")
    types = {row[0]: row[1] for row in described.result_rows}
    assert types["timestamp"] == "DateTime64(3, 'UTC')"
    real = client.query("DESCRIBE TABLE (SELECT * FROM events)")
    assert {row[0]: row[1] for row in real.result_rows} == types
    columns = client.query(
        "SELECT name FROM system.columns WHERE table = 'persons' ORDER BY position"
    )
    names = ["person_id", "first_seen", "last_seen", "events", "properties"]
    assert [row[0] for row in columns.result_rows] == names
    persons = client.query("DESCRIBE TABLE (SELECT * FROM persons)").result_rows
    assert [row[:2] for row in persons] == [
        row[:2] for row in client.query("DESC persons").result_rows
    ]
    functions = [row[0] for row in client.query("SELECT name FROM system.functions").result_rows]
    assert "count" in functions
    assert "file" not in functions
    databases = client.query("SELECT DISTINCT database FROM system.tables").result_rows
    assert databases == [("avila",)]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM file('/etc/passwd')", 497),
        ("SELECT * FROM system.processes", 497),
        ("SELECT * FROM avila.events_of_all", 497),
        ("SELECT dictGet('a', 'b', 1)", 497),
        ("INSERT INTO events FORMAT JSONEachRow {}", 497),
        ("INSERT INTO events SELECT * FROM events", 497),
        ("DROP TABLE events", 497),
        ("CREATE TABLE x (a Int8) ENGINE = Memory", 497),
        ("SET max_memory_usage = 0", 497),
        ("USE system", 497),
        ("KILL QUERY WHERE 1", 497),
        ("SHOW CREATE TABLE events", 497),
        ("SHOW PROCESSLIST", 497),
        ("SHOW TABLES FROM avila WHERE 1", 62),
        ("DESCRIBE TABLE file('/etc/passwd')", 62),
        ("DESCRIBE TABLE (SELECT * FROM system.processes)", 497),
        ("DESCRIBE TABLE (SELECT 1) (SELECT 1)", 62),
        ("DESCRIBE TABLE secrets", 60),
        ("EXPLAIN SELECT 1", 497),
        ("SELECT 1 SETTINGS max_memory_usage = 0", 497),
        ("SELECT 1 FORMAT JSON SETTINGS max_memory_usage = 0", 164),
        ("SELECT 1 INTO OUTFILE 'x'", 358),
        ("SELECT 1 FORMAT Template", 73),
        ("SELECT 1; SELECT 2", 497),
        ("SELECT {a:String}", 456),
        ("SELECT missing FROM events", 47),
        ("BACKUP TABLE events TO Disk('a', 'b')", 497),
        ("\xff", 497),
    ],
)
def test_anything_else_is_refused(project_store: ProjectStore, sql: str, code: int) -> None:
    answer = ask(project_store, sql)
    assert answer.status_code < 500, answer.text
    assert answer.headers["x-clickhouse-exception-code"] == str(code), answer.text


def test_arguments_of_a_request_loosen_nothing(project_store: ProjectStore) -> None:
    store = project_store
    for name in (
        "additional_table_filters",
        "allow_ddl",
        "log_queries",
        "max_ast_depth",
        "profile",
    ):
        answer = ask(store, "SELECT 1", **{name: "0"})
        assert (answer.status_code, answer.headers["x-clickhouse-exception-code"]) == (403, "164")
    limits = "SELECT value FROM system.settings WHERE name = 'max_execution_time'"
    assert ask(store, limits, max_execution_time="0", readonly="0").text == "30\n"
    many = "(SELECT arrayJoin(range(1000000)))"
    slow = f"SELECT count() FROM {many} AS a, {many} AS b"
    answer = ask(store, slow, max_execution_time="1")
    assert answer.headers["x-clickhouse-exception-code"] in {"159", "160"}, answer.text
    answer = ask(
        store, "SELECT groupArray(repeat('x', 1000000)) FROM (SELECT arrayJoin(range(9999)))"
    )
    assert answer.headers["x-clickhouse-exception-code"] == "241", answer.text
    assert (
        ask(store, "SELECT {__avila_project:String}", param___avila_project="other").status_code
        == 403
    )
    own = ask(store, "SELECT DISTINCT project_id FROM events", param___avila_project="other")
    assert own.text == "shop\n"
    assert ask(store, "SELECT 1", database="system").text == "1\n"
    assert ask(store, "SELECT 1", database="secrets").headers["x-clickhouse-exception-code"] == "81"
    session = {"session_id": "one"}
    ask_admin = httpx.post(
        store.url, content=b"SET limit = 1", params=session, auth=(store.user, store.password)
    )
    assert ask_admin.status_code == 200, ask_admin.text
    assert len(ask(store, "SELECT event FROM events", **session).text.splitlines()) == 11


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT arrayJoin(range(10)) AS n",
        "SELECT arrayJoin(range(1, 11)) AS n ORDER BY n DESC",
        "SELECT 1 AS n UNION ALL SELECT arrayJoin(range(9))",
        "SELECT 1 FROM (SELECT arrayJoin(range(5))) AS a CROSS JOIN (SELECT arrayJoin([1, 2])) b",
        "SELECT event FROM events LIMIT 10",
    ],
)
def test_a_result_with_more_rows_than_allowed_ends_with_an_error(
    project_store: ProjectStore, sql: str
) -> None:
    whole = ask(project_store, sql, max_result_rows=10)
    assert (whole.status_code, len(whole.text.splitlines())) == (200, 10)
    refused = ask(project_store, sql, max_result_rows=9, wait_end_of_query=1)
    assert refused.headers["x-clickhouse-exception-code"] == "396"
    assert refused.status_code == 400
    assert "Limit for result exceeded" in refused.text


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT event, count() FROM events", "NOT_AN_AGGREGATE"),
        ("SELECT nothing FROM persons", "UNKNOWN_IDENTIFIER"),
        ("SELECT CAST(event AS UUID) FROM events", "PARSE"),
        ("SELECT sum(event) FROM events", "ILLEGAL_TYPE_OF_ARGUMENT"),
        ("SELECT repeat('x', 1000000000) FROM events", "MEMORY_LIMIT_EXCEEDED"),
    ],
)
@pytest.mark.parametrize("wait", [0, 1])
def test_an_error_does_not_show_what_ran_in_the_place_of_a_view(
    project_store: ProjectStore, sql: str, reason: str, wait: int
) -> None:
    answer = ask(project_store, sql, wait_end_of_query=wait)
    assert answer.status_code in {400, 404}
    assert reason in answer.text
    for inner in ("__avila", "project_id", "SELECT", "/dev/fd"):
        assert inner not in answer.text


def test_a_format_in_quotes_is_refused_and_not_ignored(project_store: ProjectStore) -> None:
    answer = ask(project_store, "SELECT 1 FORMAT `JSON`")
    assert answer.status_code == 400
    assert "name of a format" in answer.text


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("shop", WRITER),
        ("shop", ELSEWHERE),
        ("shop", EXPIRED),
        ("shop", "aqt_unknown"),
        ("*", READER),
        ("other", READER),
        ("default", READER),
        ("shop", "of the tests"),
    ],
)
def test_who_has_no_token_for_the_project_stays_outside(
    project_store: ProjectStore, user: str, password: str
) -> None:
    with pytest.raises(DatabaseError, match="AUTHENTICATION_FAILED"):
        connect(project_store, password, user)


def test_the_store_has_its_own_user_as_before(project_store: ProjectStore) -> None:
    with connect(project_store, project_store.password, project_store.user) as client:
        assert client.query("SELECT uniqExact(project_id) FROM avila.events").result_rows == [(2,)]


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sql=statements())
def test_random_sql_shows_nothing_of_another_project(project_store: ProjectStore, sql: str) -> None:
    answer = ask(project_store, sql.replace("{database}", "avila"), param_p="a")
    assert SECRET not in answer.text
    assert answer.status_code != 500, answer.text


# It knows the type of text and numbers, and takes JSON for something else.
@pytest.mark.filterwarnings("ignore:Did not recognize type 'JSON")
def test_sqlalchemy_reflects_and_reads_the_views(project_store: ProjectStore) -> None:
    """With clickhouse-sqlalchemy, over HTTP."""
    store = project_store
    engine = create_engine(f"clickhouse+http://shop:{READER}@{store.host}:{store.port}/avila")
    try:
        assert set(inspect(engine).get_view_names()) == {
            *("events", "persons", "segments", "predictions"),
        }
        events = Table("events", MetaData(), autoload_with=engine)
        assert "person_id" in events.columns
        with engine.connect() as connection:
            counted = select(events.c.event, func.count().label("n")).group_by(events.c.event)
            assert sorted(connection.execute(counted).fetchall()) == [("buy", 10), ("view", 1)]
    finally:
        engine.dispose()
