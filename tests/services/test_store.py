"""The embedded store, through ordinary clients: it answers like a ClickHouse server."""

import asyncio
import contextlib
import datetime
import gzip
import io
import json
import os
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import brotli
import clickhouse_connect
import fastavro
import httpx
import lz4.frame  # type: ignore[import-untyped]
import psutil
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, Error, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from tests.ports import free_ports
from tests.stores import StoreProcess, new_store, remove_store

EVENTS = """
CREATE TABLE events (
    id UUID, event LowCardinality(String), at DateTime64(3, 'UTC'), properties JSON, amount Float64
) ENGINE = MergeTree ORDER BY (event, at) SETTINGS non_replicated_deduplication_window = 100
"""


def connect(store: StoreProcess, **options: Any) -> Client:
    return clickhouse_connect.get_client(
        host=store.host,
        port=store.port,
        username=store.user,
        password=store.password,
        autogenerate_session_id=False,
        **options,
    )


@pytest.fixture
def database(store: StoreProcess) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    with connect(store) as client:
        client.command(f"CREATE DATABASE {name}")
        yield name
        client.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def client(store: StoreProcess, database: str) -> Iterator[Client]:
    with connect(store, database=database) as client:
        yield client


@pytest.fixture
async def async_client(store: StoreProcess, database: str) -> AsyncIterator[AsyncClient]:
    client = await clickhouse_connect.get_async_client(
        host=store.host,
        port=store.port,
        username=store.user,
        password=store.password,
        database=database,
        autogenerate_session_id=False,
    )
    yield client
    await client.close()


@pytest.fixture
def http(store: StoreProcess) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=store.url, auth=(store.user, store.password), timeout=60, trust_env=False
    ) as client:
        yield client


@pytest.fixture
def own_store() -> Iterator[StoreProcess]:
    """A store of the test's own, to be killed and started at will."""
    process = new_store()
    try:
        process.start()
        yield process
    finally:
        remove_store(process)


def eventually(condition: Callable[[], bool], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.05)


def running(client: Client, mark: str) -> int:
    """Return how many running queries contain `mark`."""
    query = "SELECT count() FROM system.processes WHERE position(query, {mark:String}) > 0 "
    query += "AND query NOT LIKE '%system.processes%'"
    return int(client.query(query, parameters={"mark": mark}).result_rows[0][0])


# Ordinary use


def test_rows_written_by_the_sync_client_are_read_back(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt64, b Nullable(String)) ENGINE = MergeTree ORDER BY a")
    summary = client.insert("t", [[1, "x"], [2, None], [3, "ä\t'\\"]], column_names=["a", "b"])
    assert summary.written_rows == 3
    assert client.query("SELECT * FROM t ORDER BY a").result_rows == [
        (1, "x"),
        (2, None),
        (3, "ä\t'\\"),
    ]


async def test_rows_written_by_the_async_client_are_read_back(async_client: AsyncClient) -> None:
    await async_client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    await async_client.insert("t", [[value] for value in range(10)], column_names=["a"])
    results = await asyncio.gather(*(async_client.query("SELECT sum(a) FROM t") for _ in range(20)))
    assert [result.result_rows for result in results] == [[(45,)]] * 20


def test_columns_and_arrow_tables_are_inserted_and_read(client: Client) -> None:
    client.command("CREATE TABLE t (a Int32, b String) ENGINE = MergeTree ORDER BY a")
    client.insert("t", [[1, 2], ["x", "y"]], column_names=["a", "b"], column_oriented=True)
    client.insert_arrow("t", pa.table({"a": pa.array([3], pa.int32()), "b": ["z"]}))
    table = client.query_arrow("SELECT * FROM t ORDER BY a")
    assert table.column("a").to_pylist() == [1, 2, 3]
    assert client.query_df("SELECT count() AS n FROM t")["n"].tolist() == [3]


def test_the_types_of_the_events_table_are_read_back_unchanged(client: Client) -> None:
    client.command(EVENTS)
    at = datetime.datetime(2026, 5, 4, 3, 2, 1, 123000, tzinfo=datetime.UTC)
    key = uuid.uuid4()
    properties = {"page": "/ä", "price": 12, "nested": {"list": [1, 2]}}
    client.insert("events", [[key, "view", at, properties, 1.5]], column_names="*")
    row = client.query(
        "SELECT id, event, at, properties, amount, properties.nested.list, properties.price::Int64 "
        "FROM events"
    ).result_rows[0]
    assert row[:3] == (key, "view", at.replace(tzinfo=None))
    assert row[3]["page"] == "/ä"
    assert row[4:] == (1.5, [1, 2], 12)


def test_parameters_are_bound_and_never_become_sql(client: Client) -> None:
    nasty = "a\tb\nc'd\\e`f\"; DROP TABLE t -- ä"
    result = client.query(
        "SELECT {text:String}, {texts:Array(String)}, {none:Nullable(String)}, {day:Date}, "
        "{column:Identifier} FROM (SELECT 7 AS seven)",
        parameters={
            "text": nasty,
            "texts": [nasty, ""],
            "none": None,
            "day": datetime.date(2026, 1, 2),
            "column": "seven",
        },
    )
    assert result.result_rows == [(nasty, [nasty, ""], None, datetime.date(2026, 1, 2), 7)]


def test_parameters_too_long_for_a_url_come_as_a_form(client: Client) -> None:
    texts = [f"{number}: " + "ä" * 50 for number in range(2_000)]
    query = "SELECT length({texts:Array(String)}) AS n, {texts:Array(String)}[2000]"
    assert client.query(query, parameters={"texts": texts}).result_rows == [(2_000, texts[-1])]


def test_external_data_joins_a_query(client: Client) -> None:
    people = ExternalData(
        file_name="people.csv", fmt="CSV", structure="id UInt32, name String", data=b"1,Ada\n2,Bo\n"
    )
    rows = client.query("SELECT name FROM people WHERE id = 2", external_data=people).result_rows
    assert rows == [("Bo",)]


def test_external_data_is_parsed_with_the_settings_of_its_query(client: Client) -> None:
    people = ExternalData(
        file_name="people.csv",
        fmt="CSV",
        structure="id UInt32, at DateTime('UTC')",
        data=b"1|2026-01-02T03:04:05Z\n",
    )
    settings = {
        "format_csv_delimiter": "|",
        "date_time_input_format": "best_effort",
        "readonly": 2,
        "allow_ddl": 0,
        "async_insert": 1,
    }
    query = "SELECT id, toString(at) FROM people"
    asked = client.query(query, external_data=people, settings=settings)
    assert asked.result_rows == [(1, "2026-01-02 03:04:05")]
    with pytest.raises(DatabaseError) as caught:
        client.command("CREATE TABLE t (a UInt8) ENGINE = Memory", settings={"readonly": 2})
    assert caught.value.code == 164


def test_external_data_is_parsed_with_the_settings_of_its_session(store: StoreProcess) -> None:
    people = ExternalData(file_name="p.csv", fmt="CSV", structure="id UInt8, n UInt8", data=b"1|2")
    with connect(store, session_id=uuid.uuid4().hex) as session:
        session.command("SET format_csv_delimiter = '|'")
        session.command("SET readonly = 2")
        rows = session.query("SELECT n FROM p", external_data=people).result_rows
    assert rows == [(2,)]


def test_malformed_external_data_is_answered_as_the_senders_error(client: Client) -> None:
    people = ExternalData(file_name="p.csv", fmt="CSV", structure="id UInt8", data=b"one\n")
    with pytest.raises(DatabaseError, match="Expected end of line") as caught:
        client.query("SELECT * FROM p", external_data=people)
    assert caught.value.code == 117
    assert "/dev/fd" not in str(caught.value)


@pytest.mark.parametrize("name", ["$x$", "$x", "x$"])
def test_a_parameter_may_have_dollars_in_its_name(http: httpx.Client, name: str) -> None:
    query = f"SELECT {{{name}:Int32}} + 1 AS n FORMAT JSONEachRow"
    answer = http.post("/", params={f"param_{name}": "41"}, content=query)
    assert (answer.status_code, answer.text) == (200, '{"n":42}\n')
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"


def test_the_columns_of_external_data_cannot_smuggle_in_a_statement(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    data = ExternalData(
        file_name="e.csv", fmt="CSV", structure="a UInt8); DROP TABLE t; --", data=b"1\n"
    )
    with pytest.raises(DatabaseError, match="list of columns"):
        client.query("SELECT * FROM e", external_data=data, settings={"readonly": 1})
    assert client.command("EXISTS t") == 1


def test_settings_hold_for_their_query_and_for_no_other(client: Client) -> None:
    ask = "SELECT getSetting('max_threads')"
    assert client.command(ask, settings={"max_threads": 3}) == 3
    assert client.query(ask, settings={"max_threads": 5}).result_rows == [(5,)]
    assert client.command(ask) not in {3, 5}


def test_a_session_keeps_what_it_set(store: StoreProcess) -> None:
    with connect(store, session_id=uuid.uuid4().hex) as session, connect(store) as other:
        session.command("SET max_threads = 7")
        assert session.command("SELECT getSetting('max_threads')") == 7
        assert other.command("SELECT getSetting('max_threads')") != 7
        with pytest.raises(DatabaseError, match="temporary tables"):
            session.command("CREATE TEMPORARY TABLE gone (a Int8)")


def test_a_session_has_one_query_at_a_time(store: StoreProcess, client: Client) -> None:
    session_id = uuid.uuid4().hex

    def sleep() -> None:
        with connect(store, session_id=session_id) as session:
            session.command("SELECT sleep(3) AS in_the_session")

    with ThreadPoolExecutor(1) as pool, connect(store, session_id=session_id) as session:
        sleeping = pool.submit(sleep)
        eventually(lambda: running(client, "in_the_session") == 1)
        with pytest.raises(DatabaseError, match="locked by a concurrent client") as caught:
            session.command("SELECT 1")
        assert caught.value.code == 373
        sleeping.result(60)
        assert session.command("SELECT 1") == 1


def test_there_are_no_roles(http: httpx.Client) -> None:
    answer = http.post("/", params={"role": "reader"}, content="SELECT 1")
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (404, "511")


def test_readonly_queries_change_nothing_and_read_no_file(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    for statement, code in (
        ("DROP TABLE t", 164),
        ("SELECT * FROM file('/etc/hostname', 'LineAsString')", 344),
        ("SELECT 1 SETTINGS readonly = 0", 164),
        ("INSERT INTO t VALUES (1)", 164),
    ):
        with pytest.raises(DatabaseError) as caught:
            client.command(statement, settings={"readonly": 1})
        assert caught.value.code == code, statement


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM file('{file}')",
        "SELECT file('{file}')",
        "SELECT * FROM `f\\x69le`('{file}')",
        "SELECT * FROM '{file}'",
        "SELECT * FROM “file”('{file}')",
        "SELECT * FROM file\u2003('{file}')",
        "SELECT \u2018 ' \u2019, * FROM file('{file}') -- '",
        "SELECT * FROM file // '\n ('{file}') -- '",
        "SELECT * FROM default.`{file}`",
        "SELECT * FROM {{table:Identifier}}",
        "DESCRIBE TABLE file('{file}')",
        "SELECT * FROM url('http://127.0.0.1:{port}/?query=SELECT+1', CSV)",
        "INSERT INTO FUNCTION file('{file}.out', CSV, 'a Int8') SELECT 1",
        "INSERT INTO TABLE FUNCTION url('http://127.0.0.1:{port}/', CSV, 'a Int8') VALUES (1)",
        "CREATE TABLE stolen (a String) ENGINE = File(LineAsString, '{file}')",
        "CREATE TABLE stolen ENGINE = Memory AS SELECT * FROM file('{file}')",
        "SELECT 1 SETTINGS additional_result_filter = 'file(\\'{file}\\') != \\'\\''",
        "SELECT * FROM remote('127.0.0.1:1', system, one)",
        "SELECT * FROM executable('x', CSV, 'a String')",
    ],
)
def test_no_statement_reaches_out_of_the_store(
    client: Client, store: StoreProcess, tmp_path: Path, statement: str
) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("secret\n")
    text = statement.format(file=file, port=store.port)
    with pytest.raises(DatabaseError) as refused:
        client.command(text, parameters={"table": str(file)})
    assert refused.value.code in {344, 60}, refused.value
    assert "secret\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_rows_with_expressions_reach_nothing_outside_of_the_store(
    http: httpx.Client, client: Client, tmp_path: Path
) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("secret\n")
    client.command("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    insert = f"INSERT INTO {client.database}.t VALUES "
    for rows in (
        f"(lower('A')), (file('{file}'))",
        f"(`f\\x69le`('{file}'))",
        f"('{'x' * (9 << 20)}'), (file('{file}'))",
    ):
        assert http.post("/", content=insert + rows).status_code == 400, rows[-50:]
    for structure, format_name, data in (
        (f"a UInt8, b String DEFAULT file('{file}')", "JSONEachRow", b'{"a": 1}'),
        ("a String", "Values", f"(file('{file}'))".encode()),
    ):
        external = ExternalData(file_name="e", fmt=format_name, structure=structure, data=data)
        with pytest.raises(DatabaseError, match="not allowed"):
            client.query("SELECT * FROM e", external_data=external)
    wide = "y" * (9 << 20)
    rows = f"('a file('), ('b \\x41'), ('{wide}')"
    assert http.post("/", content=insert + "('a file('), (upper('b select'))").status_code == 200
    assert http.post("/", content=insert + rows).status_code == 200
    stored = client.query("SELECT substring(a, 1, 9) FROM t ORDER BY a").result_rows
    assert stored == [("B SELECT",), ("a file(",), ("a file(",), ("b A",), ("yyyyyyyyy",)]


def test_a_table_may_be_called_like_a_function_that_is_refused(client: Client) -> None:
    client.command("CREATE TABLE url (file String, `a/b` UInt8) ENGINE = Memory")
    client.command("INSERT INTO url (file, `a/b`) VALUES ('/etc/passwd', 1), ('file(x)', 2)")
    query = "SELECT file AS url FROM url WHERE file IN ('file(x)') AND domain(file) = ''"
    assert client.query(query).result_rows == [("file(x)",)]


def test_a_web_page_has_no_access(http: httpx.Client, store: StoreProcess) -> None:
    for origin in ("https://evil.example", "null", store.url):
        answer = http.post("/", content="SELECT 1", headers={"Origin": origin})
        assert (answer.status_code, answer.headers["x-clickhouse-exception-code"]) == (403, "497")
        assert "access-control-allow-origin" not in answer.headers


def test_limits_on_time_memory_and_rows_are_the_engines(client: Client) -> None:
    endless = "SELECT count() FROM numbers(1e12) WHERE NOT ignore(cityHash64(number))"
    for setting, value, code in (
        ("max_execution_time", 0.3, 159),
        ("max_rows_to_read", 1_000, 158),
        ("max_result_rows", 1, 396),
    ):
        query = "SELECT number FROM numbers(10)" if code == 396 else endless
        with pytest.raises(DatabaseError) as caught:
            client.query(query, settings={setting: value})
        assert caught.value.code == code
    with pytest.raises(DatabaseError) as caught:
        client.query(
            "SELECT uniqExact(number) FROM numbers(1e8)", settings={"max_memory_usage": 20_000_000}
        )
    assert caught.value.code == 241


@pytest.mark.parametrize(
    ("statement", "code", "status", "says"),
    [
        ("SELECT * FROM nowhere", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT nothing", 47, 404, "UNKNOWN_IDENTIFIER"),
        ("SELEC 1", 62, 400, "SYNTAX_ERROR"),
        ("hello", 62, 400, "SYNTAX_ERROR"),
        ("", 62, 400, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 62, 400, "Multi-statements are not allowed"),
        ("SELECT 1 FORMAT Nope", 73, 404, "UNKNOWN_FORMAT"),
        ("SELECT 1 SETTINGS nope = 1", 115, 404, "UNKNOWN_SETTING"),
        ("SELECT nope(1)", 46, 404, "UNKNOWN_FUNCTION"),
        ("SELECT toInt32('x')", 6, 400, "CANNOT_PARSE_TEXT"),
        ("SELECT {x:Int32}", 456, 400, "UNKNOWN_QUERY_PARAMETER"),
        ("INSERT INTO nowhere VALUES (1)", 60, 404, "UNKNOWN_TABLE"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 358, 400, "INTO_OUTFILE_NOT_ALLOWED"),
        ("INSERT INTO t FROM INFILE '/etc/hostname' FORMAT CSV", 344, 400, "INFILE"),
        ("SELECT * FROM Python(os)", 46, 404, "Python"),
        ("SELECT throwIf(1)", 395, 500, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
def test_errors_carry_the_number_status_and_text_of_clickhouse(
    http: httpx.Client, statement: str, code: int, status: int, says: str
) -> None:
    answer = http.post("/", content=statement)
    assert answer.headers["X-ClickHouse-Exception-Code"] == str(code), answer.text
    assert answer.status_code == status
    assert says in answer.text
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "/dev/fd" not in answer.text


def test_an_error_reaches_the_client_with_code_and_name(client: Client) -> None:
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM nowhere")
    assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")


def test_a_get_only_reads(http: httpx.Client) -> None:
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    answer = http.get("/", params={"query": "CREATE DATABASE refused"})
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
    assert http.get("/").text == "Ok.\n"
    assert http.get("/ping").text == "Ok.\n"


def test_headers_carry_format_query_id_time_zone_and_summary(http: httpx.Client) -> None:
    query = "SELECT number FROM numbers(1000)"
    answer = http.post("/", params={"query_id": "mine-7", "default_format": "JSON"}, content=query)
    assert answer.headers["X-ClickHouse-Query-Id"] == "mine-7"
    assert answer.headers["X-ClickHouse-Format"] == "JSON"
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["X-ClickHouse-Timezone"]
    summary = json.loads(answer.headers["X-ClickHouse-Summary"])
    assert summary["read_rows"] == summary["result_rows"] == "1000"
    assert int(summary["elapsed_ns"]) > 0
    other = http.post("/", headers={"X-ClickHouse-Format": "CSV"}, content="SELECT 'a'")
    assert other.text == '"a"\n'


# Formats, streams, compression


def test_a_result_of_many_blocks_is_one_document_in_any_format(client: Client) -> None:
    query = "SELECT number FROM numbers(100000) SETTINGS max_block_size = 1000"
    assert len(json.loads(client.raw_query(query, fmt="JSON"))["data"]) == 100_000
    lines = client.raw_query(query, fmt="CSVWithNames").decode().splitlines()
    assert (len(lines), lines[0], lines[-1]) == (100_001, '"number"', "99999")
    stream = client.raw_query(query, fmt="ArrowStream")
    assert pa.ipc.open_stream(stream).read_all().num_rows == 100_000
    assert pa.ipc.open_file(client.raw_query(query, fmt="Arrow")).read_all().num_rows == 100_000
    with client.query_arrow_stream(query) as batches:
        assert sum(batch.num_rows for batch in batches) == 100_000


def test_results_without_rows_keep_their_columns(client: Client) -> None:
    assert client.query("SELECT 1 AS a WHERE 0").result_rows == []
    assert client.query("SELECT 1 AS a LIMIT 0").column_names == ("a",)
    assert client.raw_query("SELECT 1 AS a WHERE 0", fmt="CSVWithNames") == b'"a"\n'


def test_millions_of_rows_stream_while_the_stores_memory_stays_flat(
    client: Client, store: StoreProcess
) -> None:
    process = psutil.Process(store.pid)
    query = "SELECT number, repeat('x', 100) AS filler FROM numbers(3000000)"
    with client.query_row_block_stream("SELECT number FROM numbers(1000)") as blocks:
        assert sum(len(block) for block in blocks) == 1_000
    before = process.memory_info().rss
    most = rows = 0
    with client.query_column_block_stream(query) as blocks:
        for block in blocks:
            rows += len(block[0])
            most = max(most, process.memory_info().rss)
    assert rows == 3_000_000
    assert most - before < 200 << 20


def test_an_error_in_the_middle_of_a_stream_is_raised_by_the_client(client: Client) -> None:
    query = "SELECT throwIf(number = 3000000, 'too far'), repeat('y', 20) FROM numbers(5000000)"
    with (
        pytest.raises((StreamFailureError, DatabaseError), match="too far"),
        client.query_row_block_stream(query) as blocks,
    ):
        for _ in blocks:
            pass


def test_a_stream_that_fails_is_visibly_incomplete_to_plain_http(http: httpx.Client) -> None:
    query = "SELECT throwIf(number = 3000000, 'too far') FROM numbers(5000000)"
    chunks: list[bytes] = []
    with http.stream("POST", "/", content=query) as answer:
        parts = answer.iter_raw()
        with pytest.raises(httpx.RemoteProtocolError):
            chunks.extend(parts)
    text = b"".join(chunks)
    tag = answer.headers["X-ClickHouse-Exception-Tag"]
    assert f"__exception__\r\n{tag}\r\nCode: 395." in text.decode()


def test_a_client_that_asks_not_to_wait_gets_what_there_is_before_the_error(
    http: httpx.Client,
) -> None:
    query = "SELECT throwIf(number = 9, 'too far') FROM numbers(10) SETTINGS max_block_size = 1"
    with http.stream("POST", "/", params={"wait_end_of_query": "0"}, content=query) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in answer.iter_raw():
                pass


@pytest.mark.parametrize("method", ["lz4", "zstd", "br", "gzip", "deflate"])
def test_an_error_is_compressed_as_the_result_would_have_been(
    http: httpx.Client, method: str
) -> None:
    parameters = {"enable_http_compression": "1"}
    headers = {"Accept-Encoding": method}
    with http.stream(
        "POST", "/", params=parameters, headers=headers, content="SELECT no"
    ) as answer:
        assert (answer.status_code, answer.headers["Content-Encoding"]) == (404, method)
        assert DECOMPRESS[method](b"".join(answer.iter_raw())).startswith(b"Code: 47.")


def test_with_wait_end_of_query_a_late_error_still_has_its_status(http: httpx.Client) -> None:
    query = "SELECT throwIf(number = 3000000, 'too far') FROM numbers(5000000)"
    answer = http.post("/", params={"wait_end_of_query": "1"}, content=query)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (500, "395")


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": lz4.frame.compress,
}
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "lz4": lz4.frame.decompress,
}


@pytest.mark.parametrize("method", COMPRESS)
def test_bodies_are_compressed_both_ways(
    http: httpx.Client, client: Client, database: str, method: str
) -> None:
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    rows = b"".join(b"%d\n" % number for number in range(300_000))
    inserted = http.post(
        "/",
        params={"database": database},
        headers={"Content-Encoding": method},
        content=COMPRESS[method](b"INSERT INTO t FORMAT TSV\n" + rows),
    )
    assert inserted.status_code == 200, inserted.text
    parameters = {"database": database, "enable_http_compression": "1"}
    headers = {"Accept-Encoding": method}
    query = "SELECT a FROM t ORDER BY a"
    with http.stream("POST", "/", params=parameters, headers=headers, content=query) as answer:
        assert answer.headers["Content-Encoding"] == method
        assert DECOMPRESS[method](b"".join(answer.iter_raw())) == rows
    plain = http.post("/", params={"database": database}, headers=headers, content=query)
    assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_the_client_may_use_any_compression(store: StoreProcess, compress: Any) -> None:
    with connect(store, compress=compress) as client:
        rows = client.query("SELECT number FROM numbers(100000)").result_rows
        assert len(rows) == 100_000


# Inserts


@pytest.mark.parametrize("format_name", ["Native", "Arrow", "JSONEachRow", "RowBinary", "CSV"])
def test_rows_go_in_and_come_out_in_each_format(client: Client, format_name: str) -> None:
    columns = "a UInt64, b String, c Float64, d DateTime64(3)"
    client.command(f"CREATE TABLE t ({columns}) ENGINE = MergeTree ORDER BY a")
    client.command(f"CREATE TABLE u ({columns}) ENGINE = MergeTree ORDER BY a")
    client.command("INSERT INTO t SELECT number, hex(number), number / 7, number FROM numbers(999)")
    block = client.raw_query("SELECT * FROM t ORDER BY a", fmt=format_name)
    for compression in (None, "zstd"):
        body = COMPRESS[compression](block) if compression else block
        client.raw_insert("u", insert_block=body, fmt=format_name, compression=compression)
    rows = client.query("SELECT * FROM u ORDER BY a").result_rows
    assert rows[::2] == client.query("SELECT * FROM t ORDER BY a").result_rows


def test_avro_goes_through_input_into_a_json_column(http: httpx.Client, client: Client) -> None:
    client.command("CREATE TABLE t (a UInt64, properties JSON) ENGINE = MergeTree ORDER BY a")
    schema = {
        "type": "record",
        "name": "row",
        "fields": [{"name": "a", "type": "long"}, {"name": "properties", "type": "string"}],
    }
    file = io.BytesIO()
    fastavro.writer(file, schema, [{"a": 1, "properties": '{"page": "/x"}'}])
    statement = (
        f"INSERT INTO {client.database}.t SELECT a, properties::JSON "
        "FROM input('a UInt64, properties String') FORMAT Avro"
    )
    answer = http.post("/", params={"query": statement}, content=file.getvalue())
    assert answer.status_code == 200, answer.text
    assert client.command("SELECT properties.page::String FROM t") == "/x"


@pytest.mark.parametrize(
    "body",
    [
        "INSERT INTO t VALUES (1, 'FORMAT'), (2, 'b')",
        "INSERT INTO t (a, b) VALUES (1, 'FORMAT'), (1 + 1, lower('B'));",
        "/* rows */ insert into t format CSV 1,FORMAT\n2,b\n",
        "INSERT INTO t SETTINGS max_threads = 1 FORMAT CSV\n1,FORMAT\n2,b\n",
        """INSERT INTO t FORMAT JSONEachRow SETTINGS max_threads = 1, log_comment = 'x'
        {"a": 1, "b": "FORMAT"} {"a": 2, "b": "b"}""",
        "INSERT INTO t SELECT number + 1, ['FORMAT', 'b'][number + 1] FROM numbers(2)",
        "INSERT INTO TABLE t (b, a) FORMAT TSV\nFORMAT\t1\nb\t2\n",
    ],
)
def test_an_insert_is_understood_however_it_is_written(
    http: httpx.Client, client: Client, body: str
) -> None:
    client.command("CREATE TABLE t (a UInt8, b String) ENGINE = MergeTree ORDER BY a")
    answer = http.post("/", params={"database": str(client.database)}, content=body)
    assert answer.status_code == 200, answer.text
    assert client.query("SELECT * FROM t ORDER BY a").result_rows == [(1, "FORMAT"), (2, "b")]


@pytest.mark.parametrize(
    ("statement", "rows", "stored"),
    [
        ("WITH 1 AS x INSERT INTO t FORMAT TSV\n", "v;\n", "v;"),
        ("WITH 1 AS x INSERT INTO t FORMAT LineAsString\n", "v; -- w", "v; -- w"),
        ("WITH 1 AS x INSERT INTO t (a) VALUES ", "('v;');", "v;"),
        (
            "WITH i AS (SELECT 1) INSERT INTO t SELECT a FROM input('a String') FORMAT TSV\n",
            "v;",
            "v;",
        ),
        ("WITH 'v;' AS x INSERT INTO t SELECT x", "", "v;"),
        ("INSERT INTO t FORMAT TSV\n", "v;", "v;"),
    ],
)
def test_rows_are_stored_as_they_were_sent(
    http: httpx.Client, client: Client, statement: str, rows: str, stored: str
) -> None:
    client.command("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    parameters = {"database": str(client.database)}
    for options in (
        {"params": parameters, "content": statement + rows},
        {"params": parameters | {"query": statement.rstrip()}, "content": rows},
    ):
        answer = http.post("/", **options)  # type: ignore[arg-type] # httpx's options, by name
        assert answer.status_code == 200, answer.text
    assert client.query("SELECT a FROM t").result_rows == [(stored,), (stored,)]


def test_a_block_inserted_again_with_its_token_counts_once(client: Client) -> None:
    client.command(EVENTS)
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    rows = [[uuid.uuid4(), "view", at, {"n": number}, 1.0] for number in range(100)]
    for token, expected in (("t:0:0-99", 100), ("t:0:0-99", 100), ("t:0:100-199", 200)):
        client.insert(
            "events", rows, column_names="*", settings={"insert_deduplication_token": token}
        )
        assert client.command("SELECT count() FROM events") == expected


def test_a_large_insert_is_one_part(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    client.insert("t", [range(100_000)], column_names=["a"], column_oriented=True)
    parts = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND active"
    assert client.command(parts) == 1


# Bad bodies


def test_a_body_cut_short_inserts_nothing_and_is_refused(
    http: httpx.Client, client: Client, database: str
) -> None:
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    body = b"INSERT INTO t FORMAT TSV\n" + b"".join(b"%d\n" % n for n in range(500_000))
    for method, compress in COMPRESS.items():
        whole = compress(body)
        for cut in (whole[: len(whole) // 2], whole[:-1], b"not compressed at all"):
            answer = http.post(
                "/",
                params={"database": database},
                headers={"Content-Encoding": method},
                content=cut,
            )
            assert answer.status_code == 400, (method, answer.text)
            assert answer.headers["X-ClickHouse-Exception-Code"] == "271"
    unknown = http.post("/", headers={"Content-Encoding": "rot13"}, content=b"x")
    assert (unknown.status_code, unknown.headers["X-ClickHouse-Exception-Code"]) == (400, "89")
    assert client.command("SELECT count() FROM t") == 0


@pytest.mark.parametrize(
    "format_name", ["Native", "Arrow", "ArrowStream", "Avro", "Parquet", "JSONEachRow", "RowBinary"]
)
def test_malformed_rows_are_answered_as_the_senders_error(
    http: httpx.Client, client: Client, database: str, format_name: str
) -> None:
    client.command("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    for garbage in (b"\x00\xff garbage ' ` \" (", os.urandom(5_000)):
        answer = http.post(
            "/",
            params={"database": database, "query": f"INSERT INTO t FORMAT {format_name}"},
            content=garbage,
        )
        assert answer.status_code == 400, answer.text
        assert int(answer.headers["X-ClickHouse-Exception-Code"]) > 0
    assert client.command("SELECT count() FROM t") == 0


def test_garbage_statements_and_forms_are_refused(http: httpx.Client) -> None:
    for body in (os.urandom(3_000), b"\xff\xfe", b"SELECT '", b"/*", b"$x$", b"(((", b"`"):
        answer = http.post("/", content=body)
        assert answer.status_code in {400, 404}, (body, answer.text)
        assert "Traceback" not in answer.text
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = http.post("/", params={"query_id": "a\r\nX-Evil: 1"}, content="SELECT 1")
    assert (answer.status_code, "X-Evil" in answer.headers) == (400, False)
    for body in (b"", b"garbage", b"--x\r\nno end"):
        assert http.post("/", headers=form, content=body).status_code == 400
    assert http.post("/", content="SELECT 1").text == "1\n"


# Authentication


def test_the_password_is_checked_wherever_a_request_may_carry_it(store: StoreProcess) -> None:
    user, password = store.user, store.password
    with httpx.Client(base_url=store.url, trust_env=False, timeout=60) as http:

        def ask(**options: Any) -> httpx.Response:
            return http.post("/", content="SELECT 1", **options)

        keys = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
        assert ask(auth=(user, password)).text == "1\n"
        assert ask(headers=keys).text == "1\n"
        assert ask(params={"user": user, "password": password}).text == "1\n"
        for options in (
            {},
            {"auth": (user, "wrong")},
            {"auth": ("someone", password)},
            {"headers": keys | {"X-ClickHouse-Key": ""}},
            {"headers": {"Authorization": "Bearer x"}},
            {"headers": {"Authorization": "Basic %%%"}},
            {"params": {"user": user, "password": "ä"}},
        ):
            answer = ask(**options)
            assert answer.status_code in {401, 403}
            assert answer.headers["X-ClickHouse-Exception-Code"] == "516"
    with pytest.raises(Error):
        clickhouse_connect.get_client(host=store.host, port=store.port, password="wrong")


# Concurrency and disconnects


def test_sixteen_threads_query_at_once(client: Client, store: StoreProcess) -> None:
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")

    def work(number: int) -> int:
        with connect(store, database=client.database) as own:
            own.insert("t", [[number]] * 10, column_names=["a"])
            asked = [own.query(f"SELECT {number} + {i}").result_rows[0][0] for i in range(10)]
            return sum(map(int, asked))

    with ThreadPoolExecutor(16) as pool:
        sums = list(pool.map(work, range(16)))
    assert sums == [10 * number + 45 for number in range(16)]
    assert client.command("SELECT count() FROM t") == 160


def test_a_client_that_leaves_in_the_middle_of_a_result_ends_its_query(
    client: Client, http: httpx.Client
) -> None:
    query = "SELECT number AS left_result FROM numbers(1e11)"
    with http.stream("POST", "/", content=query) as answer:
        parts = answer.iter_raw()  # held, since its end would close the connection
        assert len(next(parts)) > 0
        assert running(client, "left_result") == 1
    eventually(lambda: running(client, "left_result") == 0)
    assert client.command("SELECT 1") == 1


def test_a_client_that_leaves_before_the_result_ends_its_query(
    client: Client, store: StoreProcess
) -> None:
    query = "SELECT sum(cityHash64(number)) AS left_early FROM numbers(1e13)"
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.Client(timeout=1, trust_env=False, auth=(store.user, store.password)) as http,
    ):
        http.post(store.url, content=query)
    eventually(lambda: running(client, "left_early") == 0)


def test_a_query_is_killed_by_the_id_its_caller_gave(client: Client, store: StoreProcess) -> None:
    def endless() -> int | None:
        with connect(store) as own, pytest.raises(DatabaseError) as caught:
            own.command(
                "SELECT sum(cityHash64(number)) AS to_kill FROM numbers(1e13)",
                transport_settings={},
                settings={"query_id": "it's-mine"},
            )
        return caught.value.code

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(endless)
        eventually(lambda: running(client, "to_kill") == 1)
        client.command("KILL QUERY WHERE query_id = 'it\\'s-mine' SYNC")
        assert killed.result(120) == 394


def test_a_full_queue_is_answered_with_retry_after() -> None:
    process = new_store()
    process.handles = 1
    try:
        process.start()

        async def ask() -> list[httpx.Response]:
            auth = (process.user, process.password)
            async with httpx.AsyncClient(auth=auth, timeout=60, trust_env=False) as http:
                asks = [http.post(process.url, content="SELECT sleep(1)") for _ in range(6)]
                return await asyncio.gather(*asks)

        answers = asyncio.run(ask())
        refused = [answer for answer in answers if answer.status_code != 200]
        assert len(answers) - len(refused) == 2
        for answer in refused:
            assert answer.status_code == 503
            assert answer.headers["X-ClickHouse-Exception-Code"] == "202"
            assert answer.headers["Retry-After"] == "1"
    finally:
        remove_store(process)


# The process


def test_acknowledged_rows_survive_kill_9_at_any_moment(own_store: StoreProcess) -> None:
    with connect(own_store) as client:
        client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    acknowledged = 0

    def insert_until_killed() -> None:
        nonlocal acknowledged
        with contextlib.suppress(Error), connect(own_store) as client:
            while True:
                client.insert("t", [range(1_000)], column_names=["a"], column_oriented=True)
                acknowledged += 1_000

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(insert_until_killed)
        eventually(lambda: acknowledged >= 5_000)
        own_store.kill()
        writing.result(120)
    own_store.start()
    with connect(own_store) as client:
        # The insert that was on its way may stand, too.
        assert client.command("SELECT count() FROM t") in {acknowledged, acknowledged + 1_000}


def test_kill_9_in_the_middle_of_an_insert_leaves_all_of_it_or_nothing(
    own_store: StoreProcess,
) -> None:
    with connect(own_store) as client:
        client.command("CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    insert = "INSERT INTO t SELECT number, hex(number) FROM numbers(1000000)"
    with ThreadPoolExecutor(1) as pool:

        def send() -> None:
            with contextlib.suppress(httpx.HTTPError):
                auth = (own_store.user, own_store.password)
                httpx.post(own_store.url, content=insert, auth=auth, timeout=60, trust_env=False)

        sent = pool.submit(send)
        with connect(own_store) as client:
            eventually(lambda: running(client, "hex(number)") == 1 or sent.done())
        own_store.kill()
        sent.result(120)
    own_store.start()
    with connect(own_store) as client:
        assert client.command("SELECT count() FROM t") in {0, 1_000_000}
        assert client.command("CHECK TABLE t", settings={"check_query_single_value_result": 1}) == 1


def test_a_second_store_on_the_same_directory_is_refused_with_the_reason(
    store: StoreProcess,
) -> None:
    second = StoreProcess(store.directory, free_ports(1)[0])
    second.launch()
    assert second.wait() != 0
    assert "is in use by another process" in store.log()
    assert httpx.get(f"{store.url}/ping", trust_env=False).status_code == 200


def test_sigterm_ends_running_queries_and_the_process_within_seconds(
    own_store: StoreProcess,
) -> None:
    def endless() -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(
                own_store.url,
                content="SELECT sum(cityHash64(number)) AS at_the_end FROM numbers(1e13)",
                auth=(own_store.user, own_store.password),
                timeout=60,
                trust_env=False,
            )

    with ThreadPoolExecutor(1) as pool, connect(own_store) as client:
        pool.submit(endless)
        eventually(lambda: running(client, "at_the_end") == 1)
        assert own_store.stop() == 0
    assert "store closed" in own_store.log()
    assert "Traceback" not in own_store.log()


def test_nothing_is_left_open_after_many_queries(client: Client, store: StoreProcess) -> None:
    process = psutil.Process(store.pid)
    client.command("SELECT 1")
    before = process.num_fds()
    for number in range(100):
        client.command(f"SELECT {number}")
        with pytest.raises(DatabaseError):
            client.command("SELECT nothing")
    assert process.num_fds() <= before + 3
