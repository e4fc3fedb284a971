"""Queries over HTTP and gRPC: one door for all kinds, and nothing of another project behind it."""

import ast
import contextlib
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import services.query
from schemas import avila_pb2 as pb
from schemas.errors import InvalidRequest
from schemas.queries import QUERIES as SPECS
from schemas.settings import Settings
from services.query.openapi import document
from services.query.queries import QUERIES
from tests.conftest import free_ports
from tests.credentials import TOKEN, bearer, put, query_token
from tests.services.query.conftest import DEADLINE_S, eventually, ready, serve
from tests.services.query.queries.asking import Asker, ms
from tests.services.query.queries.examples import EXAMPLES
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

pytestmark = pytest.mark.usefixtures("settings")

READER, WRITER, ELSEWHERE = (f"aqt_{name}" for name in ("read", "write", "other"))
KINDS = [kind.spec.name for kind in QUERIES]
TRENDS = {"series": [{}], "from": "2026-11-01", "to": "2026-11-30"}
BODY_TOO_LARGE = 413
HOSTILE = [
    "'",
    '"',
    "`",
    "\\",
    "{p0:String}",
    "{",
    "}}",
    "') OR 1=1 --",
    "/* a */",
    "-- a",
    "s3('http://127.0.0.1/')",
    "url('http://127.0.0.1/')",
    "file('/etc/passwd')",
    "remote('127.0.0.1', system.users)",
    "dictGet('a', 'b', 1)",
    "system.tables",
    "a.b",
    "a%2Eb",
    "%s",
    "\x00",
    "\n",
    "é😀",
    "😀" * 200,
]


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
    at = ms("2026-11-10T10:00:00Z")
    warehouse.write(
        [
            Row("shop", "ann", "buy", at, '{"plan": "pro"}'),
            Row("shop", "ann", "view", at + 1),
            Row("other", "secret", "secret", at, '{"plan": "secret"}'),
        ]
    )


async def ask(
    query: httpx.AsyncClient, kind: str, body: Any, token: str = TOKEN, project: str = "shop"
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/api/projects/{project}/query/{kind}"
    return await query.post(path, content=content, headers=bearer(token))


def test_both_registries_have_the_same_kinds() -> None:
    assert [kind.spec for kind in QUERIES] == list(SPECS)
    assert EXAMPLES.keys() == set(KINDS)


async def test_every_kind_answers_as_it_is_described(query: httpx.AsyncClient) -> None:
    for kind, body in EXAMPLES.items():
        path = document()["paths"][f"/api/projects/{{project}}/query/{kind}"]["post"]
        requested = path["requestBody"]["content"]["application/json"]["schema"]
        components = {"components": document()["components"]}
        jsonschema.Draft202012Validator(requested | components).validate(body)
        answer = await ask(query, kind, body)
        assert answer.status_code == 200, answer.text
        answered = path["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator(
            answered | components,
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        ).validate(answer.json())
        assert answer.json()["positions"], kind
        refused = await ask(query, kind, {**body, "unknown": 1})
        assert refused.status_code == 400
        assert "unknown" in refused.json()["error"]["message"]


async def test_queries_need_the_scope_read_and_the_projects_own_token(
    query: httpx.AsyncClient,
) -> None:
    for kind, body in EXAMPLES.items():
        for token, project, wanted in (
            (READER, "shop", 200),
            (WRITER, "shop", 403),
            (ELSEWHERE, "shop", 403),
            (ELSEWHERE, "other", 200),
            ("aqt_of_nobody", "shop", 401),
        ):
            answer = await ask(query, kind, body, token, project)
            passed = 200 if answer.status_code == 404 else answer.status_code  # nobody of that id
            assert passed == wanted, (kind, token, answer.text)
            assert "secret" not in answer.text or project == "other"


async def test_the_projects_time_zone_is_that_of_a_query_that_names_none(
    query: httpx.AsyncClient,
) -> None:
    zone = {"timezone": "America/New_York", "week_start": "sunday"}
    await query.put("/api/projects/shop/settings", json=zone)

    async def asked() -> httpx.Response:
        return await ask(query, "trends", TRENDS)

    answer = await eventually(asked, lambda one: one.json()["timezone"] == "America/New_York")
    assert answer.json()["intervals"][0]["begin"] == "2026-11-01T04:00:00Z"


async def test_a_segment_is_found_by_its_id_and_another_is_refused(
    query: httpx.AsyncClient,
) -> None:
    rule = {"performed": {"event": "buy"}}
    await query.post("/api/projects/shop/segments", json={"id": "buyers", "rule": rule})
    found = await ask(query, "trends", TRENDS | {"where": [{"segment": "buyers"}]})
    assert found.json()["trends"][0]["total"] == 2
    for project, name in (("shop", "none"), ("other", "buyers")):
        where = {"where": [{"not": {"segment": name}}]}
        answer = await ask(query, "trends", TRENDS | where, project=project)
        assert answer.status_code == 400
        assert answer.json()["error"]["field"] == "where[0].not.segment"


async def test_every_kind_answers_in_rows_and_lists_come_to_their_end(
    query: httpx.AsyncClient,
) -> None:
    for kind, body in EXAMPLES.items():
        path = f"/api/projects/shop/query/{kind}"
        headers = {"accept": "application/x-ndjson"}
        answer = await query.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert rows, kind
        table = await query.post(path, json=body, headers={"accept": "text/csv"})
        lines = list(csv.DictReader(io.StringIO(table.text, newline="")))
        assert [list(row) for row in lines] == [list(row) for row in rows], kind
        assert answer.headers["x-avila-positions"]
    events = await query.post(
        "/api/projects/shop/query/events", json={}, headers={"accept": "application/x-ndjson"}
    )
    assert len(events.text.splitlines()) == 2
    refused = await query.post(
        "/api/projects/shop/query/events", json={}, headers={"accept": "image/png"}
    )
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "Accept")


async def test_positions_that_are_not_kept_are_refused(query: httpx.AsyncClient) -> None:
    for as_of in ({"0": 10**6}, {"-1": 0}, {"0": -1}, "yesterday", "2199-01-01", {"99": 0}, "'"):
        answer = await ask(query, "trends", TRENDS | {"as_of": as_of})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["field"] == "as_of"
    known = await ask(query, "trends", TRENDS)
    assert known.json()["positions"]


async def test_hostile_texts_are_values_and_nothing_else(query: httpx.AsyncClient) -> None:
    for text in HOSTILE:
        body = {
            "series": [
                {"event": text, "name": text},
                {"where": [{"property": text, "op": "contains", "value": text}]},
                {"measure": "maximum", "property": text, "where": [{"property": text, "value": 1}]},
                {"where": [{"person": {"property": text, "value": text}}]},
            ],
            "formulas": [{"formula": "A", "name": text}],
            "breakdown": [{"property": text}, {"person": text}],
            "from": "2026-11-10",
            "to": "2026-11-10",
        }
        answer = await ask(query, "trends", body)
        assert answer.status_code == 200, (text, answer.text)
        assert "secret" not in answer.text
        assert answer.json()["trends"] == []
        plain = await ask(query, "trends", body | {"breakdown": []})
        assert [one["total"] for one in plain.json()["trends"]] == [0, 0, None, 0, 0]
    for broken in (b"{", b"[]", b"\xff", b'{"series": [{"event": "' + b"a" * 10_000 + b'"}]}'):
        assert (await ask(query, "trends", broken)).status_code == 400
    assert (await ask(query, "trends", b" " * 300_000)).status_code == BODY_TOO_LARGE


texts = st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=30))


@given(
    name=texts,
    value=st.one_of(
        texts,
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
    ),
    op=st.sampled_from(["equals", "not_equals", "contains", "gt", "in", "matches"]),
)
@hypothesis_settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_any_condition_is_answered_from_the_project_or_refused(
    asker: Asker, name: str, value: Any, op: str
) -> None:
    condition = {"property": name, "op": op, "value": [value] if op == "in" else value}
    body = {
        "series": [{"where": [condition]}],
        "breakdown": [{"property": name}, {"person": name}],
        "where": [{"or": [condition, {"not": {"person": condition}}]}],
        "from": "2026-11-10",
        "to": "2026-11-10",
    }
    answer: Any = {"trends": []}
    with contextlib.suppress(InvalidRequest):
        answer = asker.ask("trends", "shop", body, ms("2026-11-30T00:00:00Z"))
    assert "secret" not in json.dumps(answer)
    assert all(one["total"] <= 2 for one in answer["trends"])


def test_all_sql_of_a_tree_is_a_constant_of_the_program() -> None:
    """Each call of `sql` in the query service has a text that is written where it is called."""
    calls = 0
    for file in Path(services.query.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="sql"), args=[first, *_]):
                    assert isinstance(first, ast.Constant), f"{file}:{node.lineno}"
                    calls += 1
    assert calls > 20


@pytest.fixture
async def channel(settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    async with serve(settings, address) as rest, grpc.aio.insecure_channel(address) as channel:
        await ready(rest)
        yield channel


async def test_every_kind_answers_over_grpc(channel: grpc.aio.Channel) -> None:
    for kind in QUERIES:
        request: Any = getattr(pb, f"{kind.rpc}Request")
        response: Any = getattr(pb, f"{kind.rpc}Response")
        call: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            f"/avila.v1.Query/{kind.rpc}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        body = json.dumps(EXAMPLES[kind.spec.name]).encode()
        answer = await call(
            request(project_id="shop", json=body),
            metadata=(("authorization", f"Bearer {READER}"),),
            timeout=DEADLINE_S,
        )
        assert json.loads(answer.json)["positions"]
