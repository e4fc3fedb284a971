"""SQL over HTTP and gRPC: the answers, the limits, and nothing of another project."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas import avila_pb2 as pb
from schemas.settings import Settings
from services.query.openapi import document
from tests.conftest import free_ports
from tests.credentials import TOKEN, bearer, put, query_token
from tests.services.query.conftest import DEADLINE_S, ready, serve
from tests.services.query.queries.asking import ms
from tests.services.sql.random_sql import statements
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

pytestmark = pytest.mark.usefixtures("settings")

READER, WRITER, ELSEWHERE = (f"aqt_{name}" for name in ("read", "write", "other"))
SECRET = "of-another-project"
AT = ms("2026-11-10T10:00:00Z")


@pytest.fixture
def settings(settings: Settings, warehouse: Warehouse) -> Settings:
    """A deployment whose store is there, with tokens of all sorts."""
    put(
        settings,
        query_token(READER, "shop", scopes=("read",)),
        query_token(WRITER, "shop", scopes=("write",)),
        query_token(ELSEWHERE, "other", scopes=("read", "write")),
    )
    return msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )


@pytest.fixture(scope="module", autouse=True)
def _events(warehouse: Warehouse) -> None:
    buyer = {"plan": "pro", "n": 2**53 + 1, "$set": {"plan": "pro", "a.b": 1}}
    warehouse.write(
        [
            Row("shop", "ann", "buy", AT, json.dumps(buyer)),
            Row("shop", "ann", "view", AT + 1_000, '{"$set": {"plan": "free"}}'),
            Row("shop", "bob", "view", AT + 2_000, '{"$set_once": {"plan": "trial"}}'),
            Row("other", SECRET, SECRET, AT, json.dumps({SECRET: SECRET, "plan": SECRET})),
        ]
    )


async def run(
    query: httpx.AsyncClient,
    sql: Any,
    *,
    token: str = READER,
    project: str = "shop",
    format_name: str = "",
    **parameters: Any,
) -> httpx.Response:
    body = {"sql": sql} | ({"parameters": parameters} if parameters else {})
    path = f"/api/projects/{project}/sql"
    return await query.post(
        path,
        json=body,
        headers=bearer(token),
        params={"format": format_name} if format_name else {},
    )


async def rows(query: httpx.AsyncClient, sql: str, **parameters: Any) -> Any:
    answer = await run(query, sql, **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


async def test_an_answer_has_columns_rows_and_positions(query: httpx.AsyncClient) -> None:
    answer = await run(
        query,
        "SELECT event, count() AS n, max(timestamp) AS last, any(properties.n) AS wide FROM events "
        "GROUP BY event ORDER BY n DESC, event",
    )
    assert answer.status_code == 200, answer.text
    answered = answer.json()
    assert answered["columns"] == [
        {"name": "event", "type": "LowCardinality(String)"},
        {"name": "n", "type": "UInt64"},
        {"name": "last", "type": "DateTime64(3, 'UTC')"},
        {"name": "wide", "type": "Dynamic"},
    ]
    assert answered["rows"] == [
        ["view", 2, "2026-11-10T10:00:02.000Z", None],
        ["buy", 1, "2026-11-10T10:00:00.000Z", 2**53 + 1],
    ]
    assert answered["positions"] == {"0": 3}
    described = document()["paths"]["/api/projects/{project}/sql"]["post"]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(answered, schema | {"components": document()["components"]})


async def test_persons_have_their_newest_properties(query: httpx.AsyncClient) -> None:
    found = await rows(
        query,
        "SELECT person_id, events, properties.plan, properties.`a%2Eb`, last_seen - first_seen "
        "FROM persons ORDER BY person_id",
    )
    assert found == [["ann", 2, "free", 1, 1], ["bob", 1, "trial", None, 0]]


async def test_parameters_are_bound_by_their_types(query: httpx.AsyncClient) -> None:
    sql = (
        "SELECT {text:String}, {n:Int64}, {yes:Bool}, {day:Date}, {list:Array(String)}, "
        "{nothing:Nullable(String)}"
    )
    values = {
        "text": "it's `\\ {x:String} -- %s",
        "n": -(2**53),
        "yes": True,
        "day": "2026-11-10",
        "list": ["a'b", "\\"],
        "nothing": None,
    }
    assert await rows(query, sql, **values) == [list(values.values())]


async def test_results_come_as_csv_and_as_ndjson(query: httpx.AsyncClient) -> None:
    sql = "SELECT person_id, event, timestamp FROM events WHERE event = 'buy'"
    answer = await run(query, sql, format_name="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text == (
        '"person_id","event","timestamp"\n"ann","buy","2026-11-10T10:00:00.000Z"\n'
    )
    answer = await run(query, sql, format_name="ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"person_id": "ann", "event": "buy", "timestamp": "2026-11-10T10:00:00.000Z"}
    ]


MANY = "SELECT repeat('x', 100000) AS x FROM (SELECT arrayJoin(range(1000)))"
TOO_MANY = MANY.replace("1000)", "1000000)")
REFUSED: list[tuple[Any, str, str]] = [
    ({}, "sql", "is required"),
    ({"sql": 1}, "sql", "Expected `str"),
    ({"sql": "SELECT 1", "more": 1}, "more", "unknown"),
    ({"sql": "SELECT 1", "parameters": []}, "parameters", "Expected `object"),
    ({"sql": "SELECT 1", "parameters": {"a": 1}}, "parameters.a", "not in the SQL"),
    ({"sql": "SELECT {a:Date}"}, "parameters.a", "of the type Date"),
    ({"sql": "SELECT {a:Date}", "parameters": {"a": "soon"}}, "sql", "ClickHouse refuses"),
    ({"sql": "SELECT 1 FORMAT JSON"}, "sql", "?format="),
    ({"sql": "SELECT missing FROM events"}, "sql", "missing"),
    ({"sql": "SELECT 1 + 'a'"}, "sql", "ClickHouse refuses"),
    ({"sql": "SELECT file('/etc/passwd')"}, "sql", "line 1, column 8"),
    ({"sql": "SELECT * FROM system.tables"}, "sql", "line 1, column 15"),
    ({"sql": "SELECT arrayJoin(range(1000001))"}, "", "more than 1000000 rows"),
    ({"sql": MANY}, "", "more than 33554432 bytes"),
    ({"sql": f"SELECT groupArray(x) FROM ({TOO_MANY})"}, "", "MEMORY_LIMIT_EXCEEDED"),
]


async def test_what_is_not_accepted_is_answered_400(query: httpx.AsyncClient) -> None:
    for body, field, reason in REFUSED:
        answer = await query.post("/api/projects/shop/sql", json=body, headers=bearer(READER))
        assert answer.status_code == 400, (body, answer.text[:1_000])
        assert answer.json()["error"].get("field", "") == field, (body, answer.text)
        assert reason in answer.json()["error"]["message"]
        assert "__avila" not in answer.text


INNER = ("__avila", "/dev/fd", "OUTFILE", "FORMAT", "version", "127.0.0.1", "project_id")
FAILING = [
    "SELECT",
    "SELECT --",
    "SELECT " + "-" * 3_000 + "1",
    "SELECT toString(1e400)",
    "SELECT repeat('x', 1000000000)",
    "SELECT range(400000000) FROM events",
    "SELECT arrayJoin(range(400000000)) FROM persons",
    "SELECT toDate('soon') FROM events",
    "SELECT nothing FROM events JOIN persons USING (person_id)",
    "SELECT throw(event) FROM events",
    "SELECT CAST(event AS UUID) FROM events",
    "SELECT event, count() FROM events",
    "SELECT sum(event) FROM events",
    "SELECT {at:Date} FROM events",
]


async def test_an_error_says_why_and_nothing_of_what_ran(query: httpx.AsyncClient) -> None:
    for sql in FAILING:
        body = {"sql": sql, "parameters": {"at": "soon"} if "{at" in sql else {}}
        answer = await query.post("/api/projects/shop/sql", json=body, headers=bearer(READER))
        assert answer.status_code == 400, answer.text
        said = answer.json()["error"]["message"]
        assert len(said) > 30
        assert not [word for word in INNER if word in said], said


async def test_tokens_of_the_wrong_sort_run_nothing(query: httpx.AsyncClient) -> None:
    for token, status in ((WRITER, 403), (ELSEWHERE, 403), ("aqt_none", 401), ("", 401)):
        answer = await run(query, "SELECT 1", token=token)
        assert answer.status_code == status, answer.text


CROSSING = [
    "SELECT * FROM events",
    "SELECT * FROM persons",
    "WITH 'other' AS project_id SELECT * FROM events",
    "SELECT 'other' AS project_id, * FROM events WHERE project_id = 'other'",
    "SELECT * FROM (SELECT * FROM events) AS events WHERE project_id = 'other' OR 1",
    "WITH (SELECT 'other') AS project_id SELECT count(), groupArray(event) FROM events",
    "SELECT arrayMap(project_id -> (SELECT groupArray(event) FROM events), ['other'])",
    "WITH events AS (SELECT * FROM events) SELECT * FROM events",
    "SELECT * FROM events AS a LEFT JOIN events AS b ON 1",
    "SELECT * FROM events WHERE 1 IN (SELECT 1 FROM persons) OR 1",
    "SELECT * FROM events UNION ALL SELECT * FROM events",
    "SELECT event FROM events GROUP BY event WITH CUBE",
    "SELECT uniqExact(project_id), groupUniqArray(person_id) FROM events",
]


async def test_rows_of_another_project_never_appear(query: httpx.AsyncClient) -> None:
    for sql in CROSSING:
        answer = await run(query, sql)
        assert answer.status_code in {200, 400}, answer.text
        assert SECRET not in answer.text


async def test_each_project_reads_its_own(query: httpx.AsyncClient) -> None:
    sql = "SELECT DISTINCT project_id, uniqExact(person_id) FROM events GROUP BY project_id"
    assert await rows(query, sql) == [["shop", 2]]
    answer = await run(query, sql, token=ELSEWHERE, project="other")
    assert answer.json()["rows"] == [["other", 1]]
    assert (await run(query, sql, token=TOKEN, project="nobody")).json()["rows"] == []


@hypothesis_settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sql=statements(), value=st.text(max_size=20))
async def test_random_sql_shows_nothing_of_another_project(
    query: httpx.AsyncClient, warehouse: Warehouse, sql: str, value: str
) -> None:
    text = sql.replace("{database}", warehouse.settings.clickhouse_database)
    parameters = {"p": value} if "{p:String}" in text else {}
    answer = await run(query, text, **parameters)
    assert answer.status_code in {200, 400}, (text, answer.text)
    assert SECRET not in answer.text.replace(value, "")


async def test_without_a_store_the_answer_says_so(settings: Settings) -> None:
    (port,) = free_ports(1)
    away = msgspec.structs.replace(settings, clickhouse_dsn=f"http://127.0.0.1:{port}")
    async with serve(away) as query:
        await ready(query)
        answer = await run(query, "SELECT count() FROM events")
        assert answer.status_code == 503
        assert "ClickHouse does not answer" in answer.json()["error"]["message"]


@contextlib.asynccontextmanager
async def calling(settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    (port,) = free_ports(1)
    async with serve(settings, f"127.0.0.1:{port}") as query:
        await ready(query)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel


async def test_grpc_answers_the_same(settings: Settings) -> None:
    async with calling(settings) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            "/avila.v1.Query/QuerySql",
            request_serializer=pb.QuerySqlRequest.SerializeToString,
            response_deserializer=pb.QuerySqlResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {READER}"),)

        def asked(sql: str, **more: Any) -> pb.QuerySqlRequest:
            body = json.dumps({"sql": sql} | more).encode()
            return pb.QuerySqlRequest(project_id="shop", json=body)

        request = asked("SELECT {a:String}, count() FROM events", parameters={"a": "b"})
        answer = await call(request, metadata=metadata, timeout=DEADLINE_S)
        assert json.loads(answer.json)["rows"] == [["b", 3]]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(asked("SELECT file('x')"), metadata=metadata, timeout=DEADLINE_S)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "function file" in str(caught.value.details())
