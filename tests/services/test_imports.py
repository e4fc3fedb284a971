"""`avila import`: what becomes of the rows of a file, and how often they count."""

import datetime
import decimal
import gzip
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from pyarrow import parquet

from schemas.errors import InvalidRequest, Unavailable
from schemas.identity import identify, scoped_id
from schemas.settings import Settings, read_settings
from services.cli.main import avila
from services.imports import Columns, Imported, Reading, import_events, prepare
from services.imports.formats import Format
from services.ingest.events import Row
from sinks.clickhouse import ClickHouseSink
from tests.conftest import free_ports
from tests.kafka import read_all
from tests.services.ingest.conftest import decode
from tests.sinks.tables import query
from tests.stores import StoreProcess

SETTINGS = read_settings({})
AT = "2026-03-01T12:00:00.250Z"
AT_MS = 1_772_366_400_250


def write(path: Path, text: str | bytes) -> Path:
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def rows_of(
    file: Path, name: Format = "columns", reading: Reading | None = None
) -> tuple[list[Row], list[str]]:
    """Return the events of a file, and what is refused of it."""
    prepared = prepare(SETTINGS, file, "shop", name, reading or Reading())
    return prepared.rows, [f"{place}: {reason}" for place, reason in prepared.refused]


def properties(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row.properties)
    return found


def csv_of(tmp_path: Path, *lines: str, head: str = "event,distinct_id,timestamp") -> Path:
    return write(tmp_path / "some.csv", "\n".join((head, *lines)) + "\n")


# ── cells, types and times ───────────────────────────────────────────────────────────────────────


def test_cells_of_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    cells = ["01234", "1.10", "2026-01-31", "1e5", "true", "NaN", " x ", "10000000000000000001"]
    head = "event,distinct_id,timestamp," + ",".join(f"c{n}" for n in range(len(cells)))
    [row], refused = rows_of(csv_of(tmp_path, f"buy,007,{AT}," + ",".join(cells), head=head))

    assert not refused
    assert (row.event, row.distinct_id, row.timestamp) == ("buy", "007", AT_MS)
    assert list(properties(row).values()) == cells


def test_persons_007_and_7_are_two_and_none_is_refused_with_its_line(tmp_path: Path) -> None:
    file = csv_of(tmp_path, f"buy,007,{AT}", f"buy,7,{AT}", f"buy,,{AT}", f",7,{AT}", "buy,7,")
    rows, refused = rows_of(file)

    assert [row.distinct_id for row in rows] == ["007", "7"]
    assert refused == [
        "line 4: distinct_id: is empty; text is required",
        "line 5: event: is empty; text is required",
        "line 6: timestamp: is empty; a time is required",
    ]


def test_a_column_has_the_type_that_it_is_given(tmp_path: Path) -> None:
    head = "event,distinct_id,timestamp,amount,paid,tags,code"
    lines = [
        f'buy,a,{AT},12.50,yes,"[1,{{""a"":2}}]",01',
        f"buy,b,{AT}, 7 ,FALSE,,02",
        f"buy,c,{AT},,,,",
        f"buy,d,{AT},12 EUR,yes,[],03",
        f"buy,e,{AT},12,maybe,[],03",
        f"buy,f,{AT},12,1,[,03",
        f"buy,g,{AT},0x10,1,[],03",
    ]
    types: Any = {"amount": "number", "paid": "boolean", "tags": "json"}
    rows, refused = rows_of(csv_of(tmp_path, *lines, head=head), reading=Reading(types=types))

    assert [properties(row) for row in rows] == [
        {"amount": 12.5, "paid": True, "tags": [1, {"a": 2}], "code": "01"},
        {"amount": 7, "paid": False, "code": "02"},
        {},
    ]
    assert [text.partition(" is not")[0] for text in refused] == [
        "line 5: amount: '12 EUR'",
        "line 6: paid: 'maybe'",
        "line 7: tags: '['",
        "line 8: amount: '0x10'",
    ]


@pytest.mark.parametrize(
    ("text", "unit", "ms"),
    [
        (AT, "milliseconds", AT_MS),
        ("2026-03-01 12:00:00.250", "milliseconds", AT_MS),
        ("2026-03-01T13:00:00.25+01:00", "milliseconds", AT_MS),
        (str(AT_MS), "milliseconds", AT_MS),
        (str(AT_MS // 1_000), "seconds", AT_MS - 250),
        (f"{AT_MS // 1_000}.25", "seconds", AT_MS),
        (str(AT_MS * 1_000), "microseconds", AT_MS),
        (str(AT_MS * 1_000_000), "nanoseconds", AT_MS),
        ("2000-01-02", "milliseconds", 946_771_200_000),
    ],
)
def test_a_time_is_iso_8601_or_a_number_in_the_unit_that_is_given(
    tmp_path: Path, text: str, unit: Any, ms: int
) -> None:
    [row], refused = rows_of(csv_of(tmp_path, f"buy,a,{text}"), reading=Reading(time_unit=unit))

    assert not refused
    assert row.timestamp == ms


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1772366400", "seems to be in seconds, not in milliseconds; `--time-unit seconds`"),
        ("31/01/2026", "is not a time; accepted are ISO 8601"),
        ("1999-12-31", "days before its receipt"),
        ("2199-01-01", "after its receipt"),
        ("soon", "is not a time"),
    ],
)
def test_a_time_that_is_not_accepted_is_refused_with_the_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    rows, [refused] = rows_of(csv_of(tmp_path, f"buy,a,{text}"))

    assert not rows
    assert refused.startswith("line 2: timestamp: ")
    assert reason in refused


def test_a_row_that_cannot_be_read_is_named_and_costs_no_other_one(tmp_path: Path) -> None:
    text = (
        "\ufeffevent,distinct_id,timestamp,note\r\n"
        f'buy,a,{AT},"two\nlines"\r\n'
        "\r\n"
        f"buy,b,{AT}\r\n"
        f"buy,c,{AT},1,2\r\n"
        f"buy,d,{AT},last"
    ).encode() + f"\nbuy,\udcff,{AT},x\n".encode("utf-8", "surrogateescape")
    rows, refused = rows_of(write(tmp_path / "some.csv.gz", text))

    assert [(row.distinct_id, properties(row)["note"]) for row in rows] == [
        ("a", "two\nlines"),
        ("d", "last"),
    ]
    assert refused == [
        "line 5: has 3 cells; the header has 4",
        "line 6: has 5 cells; the header has 4",
        "line 8: is not UTF-8",
    ]


def test_values_of_a_column_may_have_different_types(tmp_path: Path) -> None:
    values: list[Any] = [1, "1", 1.5, True, None, [1], {"a": {"b": None}}, 10**19, "2026-01-01"]
    base = {"event": "buy", "distinct_id": 7, "timestamp": AT}
    lines = [json.dumps(base | {"x": value}) for value in values]
    file = write(tmp_path / "some.ndjson", "\n".join([*lines, "[1]", "{", json.dumps(base)]))
    rows, refused = rows_of(file)

    assert [properties(row).get("x", "none") for row in rows] == [
        *("none" if value is None else value for value in values),
        "none",
    ]
    assert {row.distinct_id for row in rows} == {"7"}
    assert [text.partition(":")[0] for text in refused] == ["line 10", "line 11"]


def test_an_array_of_json_is_rows_and_nan_or_half_an_emoji_costs_no_row(tmp_path: Path) -> None:
    one = f'{{"event":"buy","distinct_id":"a","timestamp":"{AT}","x":"cut \\ud83d"}}'
    rows, refused = rows_of(write(tmp_path / "some.json", f" [{one}, 7, {one}]"))
    assert [properties(row) for row in rows] == [{"x": "cut \ufffd"}] * 2
    assert refused == ["row 2: is not a JSON object: Expected `object`, got `int`"]
    lines = write(tmp_path / "lines.jsonl", one.replace('"cut \\ud83d"', "NaN"))
    assert properties(rows_of(lines)[0][0]) == {}


def test_the_values_of_parquet_keep_their_types(tmp_path: Path) -> None:
    moment = datetime.datetime.fromisoformat(AT).replace(tzinfo=None)
    table = pa.table(
        {
            "event": ["buy"] * 2,
            "distinct_id": pa.array([7, 8]),
            "timestamp": pa.array([moment, None], pa.timestamp("us")),
            "price": pa.array([decimal.Decimal("12.50")] * 2),
            "day": [moment.date()] * 2,
            "nested": [{"a": [1, 2], "b": b"x"}] * 2,
            "nothing": pa.array([float("nan"), None]),
        }
    )
    parquet.write_table(table, tmp_path / "some.parquet")
    [row], refused = rows_of(tmp_path / "some.parquet")

    assert (row.distinct_id, row.timestamp) == ("7", AT_MS)
    assert properties(row) == {
        "price": 12.5,
        "day": "2026-03-01",
        "nested": {"a": [1, 2], "b": "x"},
    }
    assert refused == ["row 2: timestamp: is empty; a time is required"]


def test_an_archive_is_the_rows_of_its_files_which_are_named(tmp_path: Path) -> None:
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as made:
        line = json.dumps({"event": "buy", "distinct_id": "b", "timestamp": AT})
        made.writestr("2026/b.json.gz", gzip.compress(f"{line}\n7\n".encode()))
        made.writestr("2026/", "")
        made.writestr("2026/a.csv", f"event,distinct_id,timestamp\nbuy,a,{AT}\nbuy,,{AT}\n")
    rows, refused = rows_of(archive)

    assert sorted(row.distinct_id for row in rows) == ["a", "b"]
    assert refused == [
        "2026/a.csv, line 3: distinct_id: is empty; text is required",
        "2026/b.json.gz, line 2: is not a JSON object: Expected `object`, got `int`",
    ]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.txt", "x", "accepted are .csv, .ndjson, .jsonl, .json, .parquet"),
        ("a.csv", "event,person\n", "has no column 'distinct_id'; it has event, person"),
        ("a.csv", "", "has no column 'event'; it has none"),
        ("a.csv", "event,event\n", "has two columns 'event'"),
        ("a.parquet", "no parquet", "cannot be read"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
        ("a.zip", b"no zip", "cannot be read"),
        ("a.json", "[1,", "is not an array of JSON objects"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(
    tmp_path: Path, name: str, content: str | bytes, word: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidRequest) as refused:
        rows_of(file)
    assert word in str(refused.value)


# ── what vendors export ──────────────────────────────────────────────────────────────────────────

POSTHOG = {
    "uuid": "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d",
    "event": "buy",
    "distinct_id": "ada",
    "timestamp": "2026-03-01 12:00:00.250000",
    "properties": {"price": 9.5, "$session_id": "s", "$device_id": "d", "deep": {"a": [1]}},
    "set": {"plan": "pro"},
    "person_id": "x",
    "team_id": 1,
}
MIXPANEL = {
    "event": "buy",
    "properties": {
        "time": AT_MS // 1_000,
        "distinct_id": "ada",
        "$insert_id": "i1",
        "$device_id": "d",
        "price": 9.5,
        "deep": {"a": [1]},
    },
}
AMPLITUDE = {
    "$insert_id": "i1",
    "uuid": "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d",
    "event_type": "buy",
    "user_id": "ada",
    "device_id": "d",
    "amplitude_id": 77,
    "event_time": "2026-03-01 12:00:00.250000",
    "server_upload_time": "2026-03-01 12:00:09.000000",
    "session_id": 5,
    "event_properties": {"price": 9.5, "deep": {"a": [1]}},
    "user_properties": {"plan": "pro"},
    "city": "Oslo",
}
SEGMENT = {
    "type": "track",
    "event": "buy",
    "userId": "ada",
    "anonymousId": "d",
    "messageId": "m1",
    "timestamp": AT,
    "sentAt": "2020-01-01T00:00:00Z",
    "receivedAt": "2026-03-01T12:00:01Z",
    "properties": {"price": 9.5, "deep": {"a": [1]}},
    "context": {"ip": "1.2.3.4"},
}
NATIVE = {
    "event": "buy",
    "distinct_id": "ada",
    "event_id": "order 1",
    "anonymous_id": "d",
    "timestamp": AT,
    "sent_at": "2020-01-01T00:00:00Z",
    "properties": {"price": 9.5, "deep": {"a": [1]}},
}
EXPORTS: list[tuple[Format, dict[str, Any], str]] = [
    ("posthog", POSTHOG, "0190a6c5-7b4e-7c3a-9d21-3f0e8a5b6c7d"),
    ("mixpanel", MIXPANEL, scoped_id(f"buy/{AT_MS // 1_000}", "i1")),
    ("amplitude", AMPLITUDE, scoped_id("d", "i1")),
    ("segment", SEGMENT, identify("m1", "shop")[0]),
    ("native", NATIVE, identify("order 1", "shop")[0]),
]


@pytest.mark.parametrize(("name", "exported", "event_id"), EXPORTS)
def test_what_a_vendor_exports_is_the_event_that_its_sdk_sent(
    tmp_path: Path, name: Format, exported: dict[str, Any], event_id: str
) -> None:
    [row], refused = rows_of(write(tmp_path / "some.json.gz", json.dumps(exported)), name)

    assert not refused
    assert (row.event, row.distinct_id, row.anonymous_id) == ("buy", "ada", "d")
    assert row.timestamp - AT_MS == (-250 if name == "mixpanel" else 0)
    assert row.event_id == event_id
    assert row.sent_at is None
    found = properties(row)
    assert (found["price"], found["deep"]) == (9.5, {"a": [1]})
    assert found.get("$set", {"plan": "pro"}) == {"plan": "pro"}
    assert "time" not in found


@pytest.mark.parametrize(("name", "exported", "event_id"), EXPORTS)
def test_a_vendors_objects_may_be_text_as_in_csv_and_parquet(
    tmp_path: Path, name: Format, exported: dict[str, Any], event_id: str
) -> None:
    texts = {
        key: json.dumps(value) if isinstance(value, dict) else value
        for key, value in exported.items()
    }
    table = pa.table({key: [value] for key, value in texts.items()})
    parquet.write_table(table, tmp_path / "some.parquet")
    [row], refused = rows_of(tmp_path / "some.parquet", name)

    assert not refused
    assert row.event_id == event_id
    assert properties(row)["deep"] == {"a": [1]}


@pytest.mark.parametrize(
    ("name", "exported", "word"),
    [
        ("posthog", {"distinct_id": None}, "distinct_id"),
        ("posthog", {"timestamp": None}, "timestamp"),
        ("posthog", {"properties": "{"}, "properties"),
        ("mixpanel", {"properties": {"time": AT_MS}}, "distinct_id"),
        ("mixpanel", {"properties": {"distinct_id": "a"}}, "time"),
        ("mixpanel", {"event": None}, "event"),
        ("amplitude", {"event_type": None}, "event_type"),
        ("amplitude", {"event_time": None}, "timestamp"),
        ("amplitude", {"user_id": None, "device_id": None, "amplitude_id": None}, "user_id"),
        ("segment", {"type": "nonsense"}, "type"),
        ("segment", {"userId": None, "anonymousId": None}, "userId"),
        ("native", {"distinct_id": None}, "distinct_id"),
    ],
)
def test_what_a_vendors_row_lacks_is_named(
    tmp_path: Path, name: Format, exported: dict[str, Any], word: str
) -> None:
    whole = next(one for format_name, one, _ in EXPORTS if format_name == name)
    rows, [refused] = rows_of(
        write(tmp_path / "some.ndjson", "\n" + json.dumps(whole | exported)), name
    )

    assert not rows
    assert refused.startswith("line 2: ")
    assert word in refused


# ── how often a row counts ───────────────────────────────────────────────────────────────────────


def test_a_row_is_named_by_its_content_and_its_number_among_equal_rows(tmp_path: Path) -> None:
    a, b, c = f"buy,a,{AT}", f"buy,b,{AT}", f"buy,c,{AT}"

    def ids(*lines: str, **reading: Any) -> list[str]:
        rows, _ = rows_of(csv_of(tmp_path, *lines), reading=Reading(**reading))
        return sorted(row.event_id for row in rows)

    whole = ids(a, a, b, c)
    assert len(set(whole)) == 4
    assert ids(c, a, b, a) == whole
    assert set(ids(a, b, f"buy,d,{AT}")) - set(whole) == set(ids(f"buy,d,{AT}"))
    assert len(set(ids(a, a, a)) - set(whole)) == 1
    other = ids(a, columns=Columns(event="distinct_id", person="event"))
    assert not set(other) & set(whole)


@pytest.fixture
def deployed(settings: Settings, store: StoreProcess) -> Iterator[Settings]:
    """A deployment with an empty table of events in a store."""
    (port,) = free_ports(1)
    deployed = replace(
        settings,
        clickhouse_dsn=store.dsn,
        clickhouse_database=f"import_{time.time_ns()}",
        port_base=port,
    )
    sink = ClickHouseSink(deployed)
    sink.setup()
    sink.close()
    yield deployed
    query(deployed, f"DROP DATABASE {deployed.clickhouse_database} SYNC")


def store_events(settings: Settings) -> int:
    """Put all events of the inbox into the store, as the sink would later; return how many."""
    table = f"{settings.clickhouse_database}.events"
    query(settings, f"TRUNCATE TABLE {table}")
    messages = read_all(settings.bootstrap, settings.topics.inbox.name)
    for offset, message in enumerate(messages):
        value = message.value() or b""
        event = decode(value, int.from_bytes(value[1:5]))
        query(
            settings,
            f"INSERT INTO {table} (event_id, project_id, distinct_id, person_id, event, timestamp, "
            f"received_at, context, _partition, _offset) VALUES ('{event['event_id']}', "
            f"'{event['project_id']}', '{event['distinct_id']}', 'p', 'e', "
            f"fromUnixTimestamp64Milli({event['timestamp']}), now(), '', 0, {offset})",
        )
    return len(messages)


def test_a_repeated_file_counts_once_and_of_a_mended_one_only_what_is_new(
    deployed: Settings, tmp_path: Path
) -> None:
    days = [f"2025-0{n}-03T10:00:00Z" for n in range(1, 7)]
    lines = [f"buy,p{n},{day}" for n, day in enumerate(days)]
    file = csv_of(tmp_path, *lines, lines[0], "buy,,2025-01-01")

    def done() -> Imported:
        return import_events(deployed, file, "shop", Columns(), quiet=True)

    first = done()
    assert (first.imported, first.existing, len(first.refused)) == (7, 0, 1)
    assert store_events(deployed) == 7
    again = done()
    assert (again.imported, again.existing) == (0, 7)

    file = csv_of(tmp_path, "buy,mended,2025-01-01", *reversed(lines), lines[0])
    mended = done()
    assert (mended.imported, mended.existing, mended.refused) == (1, 7, [])
    assert store_events(deployed) == 8


def test_without_an_answer_of_the_store_nothing_is_written_unless_it_is_not_asked(
    deployed: Settings, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    away = replace(deployed, clickhouse_dsn=f"http://127.0.0.1:{port}")
    file = csv_of(tmp_path, f"buy,a,{AT}", f"buy,a,{AT}")
    with pytest.raises(Unavailable, match=r"`--without-store`\. Nothing was written"):
        import_events(away, file, "shop", Columns(), quiet=True)
    assert store_events(deployed) == 0

    assert import_events(away, file, "shop", Columns(), quiet=True, ask_store=False).imported == 2


def test_the_same_file_in_another_project_is_other_events(
    deployed: Settings, tmp_path: Path
) -> None:
    file = csv_of(tmp_path, f"buy,a,{AT}")
    for project in ("shop", "other"):
        assert import_events(deployed, file, project, Columns(), quiet=True).imported == 1
        store_events(deployed)


# ── on the command line ──────────────────────────────────────────────────────────────────────────


def command(*arguments: str | Path, **environment: str) -> Any:
    return CliRunner().invoke(avila, ["import", *map(str, arguments)], env=environment)


def test_a_dry_run_shows_types_samples_and_refusals_and_writes_nothing(tmp_path: Path) -> None:
    head = "event,distinct_id,timestamp,amount,code"
    file = csv_of(tmp_path, f"buy,007,{AT},12.5,01234", "buy,7,soon,1,2", head=head)

    ran = command(file, "--dry-run", "--type", "amount:number")

    assert ran.exit_code == 1
    assert "line 3: timestamp: 'soon' is not a time" in ran.output
    assert 'distinct_id: text (1); such as "007"' in ran.output
    assert "properties.amount: number (1); such as 12.5" in ran.output
    assert 'properties.code: text (1); such as "01234"' in ran.output
    assert ran.output.splitlines()[-1].endswith("1 rows would be refused. Nothing was written.")


def test_the_last_line_counts_what_was_imported_what_was_there_and_what_was_refused(
    deployed: Settings, tmp_path: Path
) -> None:
    environment = {
        "AVILA_KAFKA_BOOTSTRAP": deployed.kafka_bootstrap,
        "AVILA_TOPIC_PREFIX": deployed.topic_prefix,
        "AVILA_CLICKHOUSE_DSN": deployed.clickhouse_dsn,
        "AVILA_CLICKHOUSE_DATABASE": deployed.clickhouse_database,
    }
    file = csv_of(tmp_path, f"buy,a,{AT}", f"buy,b,{AT}")
    assert command(file, **environment).output.splitlines()[-1] == f"2 events imported from {file}"
    store_events(deployed)
    file = csv_of(tmp_path, f"buy,a,{AT}", "buy,b,soon", f"buy,c,{AT}", "short")

    ran = command(file, **environment)

    assert ran.exit_code == 1
    assert "line 3: timestamp: 'soon' is not a time" in ran.output
    assert ran.output.splitlines()[-1].startswith(
        f"1 events imported from {file}; 1 were there already; 2 rows refused: mend them"
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--type", "amount"], "accepted is COLUMN:TYPE"),
        (["--type", "amount:int"], "one of text, number, boolean, json"),
        (["--format", "segment", "--time", "at"], "--time is for files of columns"),
        (["--format", "posthog", "--type", "a:text"], "--type is for files of columns"),
        (["--project", "no project"], "1 to 64 letters"),
        (["--type", "amount:number"], "no column 'amount'"),
    ],
)
def test_options_that_are_not_accepted_are_refused(
    tmp_path: Path, arguments: list[str], word: str
) -> None:
    ran = command(csv_of(tmp_path, f"buy,a,{AT}"), "--dry-run", *arguments)
    assert ran.exit_code != 0
    assert word in ran.output + str(ran.exception)


@pytest.mark.parametrize("option", [["--format", "heap"], ["--time-unit", "days"]])
def test_a_choice_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path: Path, option: list[str]
) -> None:
    ran = command(csv_of(tmp_path, f"buy,a,{AT}"), *option)
    assert ran.exit_code == 2
    assert "is not one of" in ran.output
