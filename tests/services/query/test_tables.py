"""Answers as tables: what readers of files find in them, and that long ones are streamed whole."""

import csv
import datetime
import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.settings import QUERY_PORT, Settings
from services.query.queries import QUERIES
from services.query.tables import response
from services.query.tables.columns import arrow_schema
from services.query.tables.media import ARROW, CSV, NDJSON, PARQUET, TABLES
from tests.credentials import TOKEN, bearer
from tests.ports import free_port_base
from tests.processes import eventually
from tests.services.query.conftest import DEADLINE_S, prepared, serve_in_thread
from tests.services.query.conftest import eventually as answered
from tests.services.query.queries.asking import ms
from tests.services.query.queries.examples import EXAMPLES
from tests.sinks.processes import environment
from tests.warehouse import Event, Warehouse

pytestmark = pytest.mark.usefixtures("settings")

ROOT = Path(__file__).parents[3]
AT = ms("2026-11-10T10:00:00.123Z")
ODD = [
    '{"a.b": 1, "c": {"d.e": [1, null]}, "wide": 18446744073709551615, "é": "ü"}',
    '["no object"]',
    '{"text": "a%2Eb stays", "quote": "\\"\\r\\n,"}',
    '{"half": "\\ud800", "x.y": true}',
    "[1000000000000000000000000000000]",
]
# What is large enough that no buffer on the way holds it.
WIDE_ROWS = 100_000
TEXT = "hex(concat(SHA512(toString(number)), randomString(436)))"  # of 1,000 characters
PERSONS = 200_000


@pytest.fixture
def settings(settings: Settings, warehouse: Warehouse) -> Settings:
    """A deployment whose store is there."""
    return msgspec.structs.replace(
        prepared(settings),
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )


@pytest.fixture(scope="module", autouse=True)
def _events(warehouse: Warehouse) -> None:
    warehouse.write(
        [
            Event("shop", "ann", "buy", AT, '{"plan": "pro"}'),
            Event("shop", "ann", "view", AT + 1),
            *(Event("odd", "ann", "buy", AT - at, text) for at, text in enumerate(ODD)),
        ]
    )


@pytest.fixture(scope="module")
def many(warehouse: Warehouse) -> None:
    """Some 100 MB of events, and many persons."""
    database = warehouse.settings.clickhouse_database
    insert = (
        "INSERT INTO {db}.events (event_id, project_id, distinct_id, person_id, event, timestamp, "
        "received_at, properties, context, _partition, _offset) SELECT generateUUIDv4(), '{to}', "
        "{who}, {who}, 'buy', fromUnixTimestamp64Milli(toInt64({at} + number)), now64(3), "
        "{properties}, '{{}}', 1, number FROM numbers({rows})"
    )
    for project, who, properties, rows in (
        (
            "wide",
            "toString(number % 1000)",
            f"concat('{{\"n\":', toString(number), ',\"x\":\"', {TEXT}, '\"}}')",
            WIDE_ROWS,
        ),
        ("crowd", "concat('p', toString(number))", "'{}'", PERSONS),
    ):
        warehouse.client.command(
            insert.format(db=database, to=project, who=who, at=AT, properties=properties, rows=rows)
        )


class Running(NamedTuple):
    """A query service in a process of its own."""

    address: str
    process: psutil.Process

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, headers=bearer(TOKEN), timeout=DEADLINE_S)


@pytest.fixture
def service(settings: Settings) -> Iterator[Running]:
    """A query service in a process of its own."""
    settings = msgspec.structs.replace(settings, port_base=free_port_base())
    with subprocess.Popen(
        [sys.executable, "-m", "services", "query"], env=environment(settings), cwd=ROOT
    ) as process:
        try:
            address = f"http://{settings.local_address(QUERY_PORT)}"
            running = Running(address, psutil.Process(process.pid))
            with running.client() as client:
                assert eventually(lambda: _is_ready(client), DEADLINE_S)
            yield running
        finally:
            process.terminate()


def _is_ready(client: httpx.Client) -> bool:
    try:
        checks = client.get("/readyz").json()["checks"]
    except httpx.TransportError:
        return False
    return all(checks[part] == "ok" for part in checks if part.startswith("view "))


def read_table(media_type: str, body: bytes) -> pa.Table:
    if media_type == PARQUET:
        return pq.read_table(io.BytesIO(body))
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()


async def table_of(
    query: httpx.AsyncClient, media_type: str, kind: str, body: Any, project: str = "shop"
) -> bytes:
    answer = await query.post(
        f"/api/projects/{project}/query/{kind}", json=body, headers={"accept": media_type}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].split(";")[0] == media_type
    assert answer.headers["x-avila-positions"]
    return answer.content


async def test_every_kind_is_a_table_with_the_types_of_its_columns(
    query: httpx.AsyncClient,
) -> None:
    # The service learns up to when events are complete after it is ready.
    await answered(
        lambda: query.post(
            "/api/projects/shop/query/trends", json=EXAMPLES["trends"], headers={"accept": NDJSON}
        ),
        lambda answer: not json.loads(answer.text.splitlines()[0])["incomplete"],
    )
    for kind in QUERIES:
        name = kind.spec.name
        lines = await table_of(query, NDJSON, name, EXAMPLES[name])
        rows = [json.loads(line) for line in lines.splitlines()]
        assert rows, name
        assert [list(row) for row in rows] == [[one.name for one in kind.table]] * len(rows)
        for media_type in (PARQUET, ARROW):
            table = read_table(media_type, await table_of(query, media_type, name, EXAMPLES[name]))
            assert table.schema.remove_metadata() == arrow_schema(kind.table)
            assert [_plain(kind.table, row) for row in table.to_pylist()] == [
                _moments(kind.table, row) for row in rows
            ]


def _plain(table: Any, row: dict[str, Any]) -> dict[str, Any]:
    """A row of a file, with what is JSON text decoded."""
    return {
        one.name: json.loads(row[one.name])
        if one.type == "json" and row[one.name] is not None
        else row[one.name]
        for one in table
    }


def _moments(table: Any, row: dict[str, Any]) -> dict[str, Any]:
    """A row of JSON, with times and days as files have them."""
    read: dict[str, Callable[[str], Any]] = {
        "time": datetime.datetime.fromisoformat,
        "day": datetime.date.fromisoformat,
    }
    return {
        one.name: read[one.type](row[one.name]) if one.type in read else row[one.name]
        for one in table
    }


async def test_events_have_times_in_utc_wide_integers_and_properties_as_they_were_sent(
    query: httpx.AsyncClient,
) -> None:
    answer = (await query.post("/api/projects/odd/query/events", json={})).json()
    sent = [one["properties"] for one in answer["events"]]
    assert sent[0] == {"a.b": 1, "c": {"d.e": [1, None]}, "wide": 2**64 - 1, "é": "ü"}
    for media_type in (PARQUET, ARROW):
        table = read_table(media_type, await table_of(query, media_type, "events", {}, "odd"))
        assert [json.loads(str(text)) for text in table["properties"].to_pylist()] == sent
        assert table["timestamp"].type == pa.timestamp("ms", "UTC")
        assert table["timestamp"][0].as_py() == datetime.datetime(
            2026, 11, 10, 10, 0, 0, 123_000, datetime.UTC
        )
        assert table["offset"].type == pa.int64()
        assert table["event_id"].to_pylist() == [one["event_id"] for one in answer["events"]]
    lines = (await table_of(query, NDJSON, "events", {}, "odd")).splitlines()
    assert [json.loads(line)["properties"] for line in lines] == sent
    text = (await table_of(query, CSV, "events", {}, "odd")).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [json.loads(row["properties"]) for row in rows] == sent
    assert rows[0]["timestamp"] == "2026-11-10T10:00:00.123Z"


async def test_a_table_without_rows_has_its_columns(query: httpx.AsyncClient) -> None:
    body = {"event": "nothing"}
    assert not await table_of(query, NDJSON, "events", body)
    heading = (await table_of(query, CSV, "events", body)).decode()
    for media_type in (PARQUET, ARROW):
        table = read_table(media_type, await table_of(query, media_type, "events", body))
        assert table.num_rows == 0
        assert heading == ",".join(table.column_names) + "\n"


def count_rows(media_type: str, path: Path) -> int:
    match media_type:
        case "application/vnd.apache.parquet":
            return int(pq.ParquetFile(path).metadata.num_rows)
        case "application/vnd.apache.arrow.stream":
            with path.open("rb") as file, pa.ipc.open_stream(file) as reader:
                return sum(batch.num_rows for batch in reader)
        case "text/csv":
            with path.open(newline="") as lines:
                return sum(1 for _ in csv.reader(lines)) - 1
    with path.open() as lines:
        return sum(1 for _ in map(json.loads, lines))


def fetch(service: Running, media_type: str, path: str, body: Any, to: Path) -> int:
    """Fetch a table into a file; the most memory (bytes) that the service took meanwhile."""
    most = 0
    headers = {"accept": media_type}
    with service.client() as client, to.open("wb") as file:
        method = "GET" if body is None else "POST"
        with client.stream(method, path, json=body, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            for chunk in answer.iter_bytes(1 << 20):
                file.write(chunk)
                most = max(most, service.process.memory_info().rss)
    return most


@pytest.mark.usefixtures("many")
def test_a_hundred_megabytes_are_streamed_whole_in_bounded_memory(
    service: Running, tmp_path: Path
) -> None:
    base = "/api/projects/wide"
    sql = {"sql": "SELECT event_id, timestamp, properties.x.:String AS x FROM events"}
    fetch(service, PARQUET, f"{base}/query/events", {"limit": 1, "event": "none"}, tmp_path / "a")
    before = service.process.memory_info().rss
    for path, body in ((f"{base}/query/events", {"limit": 1}), (f"{base}/sql", sql)):
        for media_type in TABLES:
            to = tmp_path / "table"
            most = fetch(service, media_type, path, body, to)
            assert count_rows(media_type, to) == WIDE_ROWS, (path, media_type)
            if media_type in (NDJSON, CSV):
                assert to.stat().st_size > 90_000_000
            assert most - before < 150 << 20, (path, media_type, most - before)


@pytest.mark.usefixtures("many")
def test_all_persons_come_whatever_the_limit(service: Running, tmp_path: Path) -> None:
    for media_type in TABLES:
        to = tmp_path / "persons"
        fetch(service, media_type, "/api/projects/crowd/query/persons", {"limit": 1}, to)
        assert count_rows(media_type, to) == PERSONS


@pytest.mark.usefixtures("many")
def test_all_persons_behind_a_figure_come_whatever_the_limit(
    service: Running, tmp_path: Path
) -> None:
    project, buy = "/api/projects/crowd", {"event": "buy"}
    with service.client() as client:
        for plural, body in (
            ("funnels", {"id": "f", "steps": [buy, {"event": "view"}]}),
            ("cohorts", {"id": "c", "start": buy, "period": "month"}),
            ("segments", {"id": "s", "rule": {"performed": buy}}),
        ):
            created = client.post(f"{project}/{plural}", json=body)
            assert created.status_code == 201, created.text
    for path in (
        "funnels/f/persons?step=1&limit=1",
        "funnels/f/persons?step=2&outcome=dropped",
        "cohorts/c/persons?begin=2026-11-01&limit=1",
        "segments/s/members?source=store&limit=1",
    ):
        for media_type in (CSV, PARQUET):
            to = tmp_path / "persons"
            fetch(service, media_type, f"{project}/{path}", None, to)
            assert count_rows(media_type, to) == PERSONS, path
    days = {"from": "2026-11-01", "to": "2026-11-30"}
    funnel, begin = {"steps": [buy, {"event": "view"}]}, {"begin": "2026-11-01", "limit": 1}
    for kind, asked in (
        ("funnel", {"funnel": funnel, "persons": {"step": 1, "limit": 1}}),
        ("funnel", {"funnel": funnel, "persons": {"step": 2, "outcome": "dropped"}}),
        ("cohort", {"cohort": {"start": buy, "period": "month"}, "persons": begin}),
    ):
        for media_type in TABLES:
            to = tmp_path / "persons"
            fetch(service, media_type, f"{project}/query/{kind}", asked | days, to)
            assert count_rows(media_type, to) == PERSONS, asked
    with service.client() as client:
        headers = {"accept": CSV}
        rest = client.get(f"{project}/funnels/f/persons?step=1&after=p99998", headers=headers)
        assert rest.text == 'person\n"p99999"\n'


@pytest.mark.usefixtures("many")
def test_an_error_on_the_way_ends_the_connection_before_the_last_chunk(
    service: Running, warehouse: Warehouse
) -> None:
    database = warehouse.settings.clickhouse_database
    last = warehouse.client.query(
        f"SELECT toUInt64(properties.n) FROM {database}.events WHERE project_id = 'wide' "
        "ORDER BY cityHash64(person_id) DESC, timestamp DESC LIMIT 1"
    ).result_rows[0][0]
    late = (
        f"SELECT properties.x.:String AS x, intDiv(1, {last} - toInt64(properties.n.:Int64)) AS y "
        "FROM events"
    )
    for media_type in TABLES:
        read = bytearray()
        with service.client() as client:
            headers = {"accept": media_type}
            cut = client.stream(
                "POST", "/api/projects/wide/sql", json={"sql": late}, headers=headers
            )
            with cut as answer:
                assert answer.status_code == 200, answer.read()
                with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
                    read.extend(byte for chunk in answer.iter_bytes() for byte in chunk)
        assert b"xception" not in read
        if media_type == PARQUET:
            with pytest.raises(pa.ArrowInvalid):
                read_table(media_type, bytes(read))


def test_an_error_before_the_first_row_has_a_status(service: Running) -> None:
    with service.client() as client:
        for media_type in TABLES:
            answer = client.post(
                "/api/projects/shop/sql",
                json={"sql": "SELECT intDiv(1, materialize(0)) AS x"},
                headers={"accept": media_type},
            )
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["field"] == "sql"


@pytest.mark.usefixtures("many")
def test_http_1_0_which_cannot_show_a_cut_is_refused_for_long_tables(service: Running) -> None:
    for project, status in (("shop", b"200"), ("wide", b"400")):
        host, _, port = service.address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), DEADLINE_S) as line:
            line.sendall(
                f"POST /api/projects/{project}/query/events HTTP/1.0\r\nAccept: text/csv\r\n"
                f"Authorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
        assert answer.split()[1] == status, answer[:1_000]


def running_queries(warehouse: Warehouse) -> int:
    """How many queries of the database run in the store."""
    database = warehouse.settings.clickhouse_database
    return int(
        warehouse.client.query(
            "SELECT count() FROM system.processes WHERE position(query, 'system.processes') = 0 "
            "AND (position(query, {db:String}) > 0 OR position(query, 'FROM') > 0)",
            parameters={"db": database},
        ).result_rows[0][0]
    )


@pytest.mark.usefixtures("many")
def test_a_client_that_leaves_ends_the_query_in_the_store(
    service: Running, warehouse: Warehouse
) -> None:
    assert eventually(lambda: running_queries(warehouse) == 0, DEADLINE_S)
    for path, body in (
        ("/api/projects/wide/query/events", {}),
        (
            "/api/projects/wide/sql",
            {"sql": "SELECT event_id, toJSONString(properties) FROM events"},
        ),
    ):
        for media_type in (CSV, PARQUET):
            with service.client() as client:
                headers = {"accept": media_type}
                with client.stream("POST", path, json=body, headers=headers) as answer:
                    next(answer.iter_bytes(1_000))
                    assert running_queries(warehouse) == 1
            assert eventually(lambda: running_queries(warehouse) == 0, DEADLINE_S)


@pytest.mark.usefixtures("many")
def test_a_client_that_does_not_read_is_disconnected(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response, "WRITE_TIMEOUT_S", 1.0)
    with serve_in_thread(settings) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert eventually(lambda: _is_ready(client), DEADLINE_S)
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as line:
            line.sendall(
                b"POST /api/projects/wide/query/events HTTP/1.1\r\nHost: x\r\nAccept: text/csv\r\n"
                + f"Authorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            assert line.recv(15) == b"HTTP/1.1 200 OK"
            assert eventually(lambda: running_queries(warehouse) == 0, DEADLINE_S)
            rest = b"".join(iter(lambda: line.recv(1 << 20), b""))
        assert not rest.endswith(b"0\r\n\r\n")


@pytest.mark.usefixtures("many")
def test_exports_take_turns_and_leave_room_for_queries(service: Running) -> None:
    with service.client() as client:
        path, headers = "/api/projects/wide/query/events", {"accept": CSV}
        with (
            client.stream("POST", path, json={}, headers=headers) as one,
            client.stream("POST", path, json={}, headers=headers) as other,
        ):
            assert one.status_code == other.status_code == 200
            begun = time.monotonic()
            assert client.post(path, json={"limit": 1}).status_code == 200
            assert time.monotonic() - begun < 10
