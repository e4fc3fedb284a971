"""`avila query` as a user runs it, and how it shows answers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from schemas.queries import QUERIES
from schemas.settings import Settings
from services.cli.query_report import report, sparkline
from tests.credentials import TOKEN
from tests.services.query.conftest import prepared, serve_in_thread
from tests.services.query.queries.asking import ms
from tests.services.query.queries.examples import EXAMPLES
from tests.sinks.processes import environment
from tests.warehouse import Event, Warehouse

ROOT = Path(__file__).parents[3]


def run(
    settings: Settings, *arguments: str, code: int = 0, given: str = ""
) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "services", "query", *arguments],
        env=environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        input=given,
        timeout=300,
    )
    assert ended.returncode == code, ended.stderr
    return ended


def test_a_query_is_asked_from_the_command_line(
    settings: Settings, warehouse: Warehouse, tmp_path: Path
) -> None:
    at = ms("2026-11-10T10:00:00Z")
    warehouse.write(
        Event("shop", person, "buy", at, '{"plan": "pro"}') for person in ("ann", "bob")
    )
    stored = msgspec.structs.replace(
        prepared(settings),
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )
    with serve_in_thread(stored) as port:
        there = ("--project", "shop", "--url", f"http://127.0.0.1:{port}", "--token", TOKEN)
        days = ("--from", "2026-11-09", "--to", "2026-11-11")
        shown = run(stored, "trends", *there, *days, "--event", "buy", "--by", "plan").stdout
        lines = shown.splitlines()
        assert lines[0] == "2026-11-09T00:00:00Z to 2026-11-12T00:00:00Z, by day of UTC"
        assert lines[2].split() == ["buy:", "events", "pro", "▁█▁", "2"]

        body = json.dumps({"series": [{"measure": "persons"}], "interval": "week"})
        for given in ("-", body):
            answer = run(stored, "trends", given, *there, *days, "--json", given=body).stdout
            assert json.loads(answer)["trends"][0]["total"] == 2
        for kind in QUERIES:
            asked = json.dumps(EXAMPLES[kind.name])
            assert run(stored, kind.name, asked, *there).stdout.strip()

        refused = run(stored, "trends", "{}", *there, code=1)
        assert "series" in refused.stderr
        to = tmp_path / "events.parquet"
        run(stored, "events", *there, "--format", "parquet", "-o", str(to))
        assert pq.read_table(to)["person"].to_pylist() == ["bob", "ann"]
        assert list(tmp_path.glob("*.part")) == []
        lines = run(stored, "persons", *there, "--format", "csv").stdout.splitlines()
        assert [line.split(",")[0] for line in lines] == ["person", '"ann"', '"bob"']
        refused = run(stored, "trends", "{}", *there, "--format", "csv", code=1)
        assert "series" in refused.stderr
        assert "needs --format" in run(stored, "events", *there, "-o", str(to), code=1).stderr
        nowhere = str(tmp_path / "none" / "file")
        failed = run(stored, "events", *there, "--format", "csv", "-o", nowhere, code=1)
        assert "cannot be written" in failed.stderr
        assert "BODY: is not JSON" in run(stored, "trends", "{", *there, code=1).stderr
        assert "cannot be read" in run(stored, "trends", "@/none", *there, code=1).stderr
        unknown = run(stored, "trends", body, *there[:-1], "aqt_none", code=1)
        assert "unknown or was revoked" in unknown.stderr
        without = run(stored, "trends", body, *there[:-2], code=78)
        assert "there is no query token" in without.stderr
    gone = run(stored, "trends", body, *there, code=1)
    assert "does not answer" in gone.stderr


def test_help_lists_the_kinds_and_how_to_run_the_service(settings: Settings) -> None:
    shown = run(settings, "--help").stdout
    for kind in QUERIES:
        assert kind.name in shown
    assert "runs the service" in shown


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([0, 0], "▁▁"),
        ([0, 7, None, 3.5], "▁█ ▅"),
        ([-7, 0, 7], "▁▅█"),
    ],
)
def test_a_sparkline_has_a_bar_for_each_value(values: list[Any], bars: str) -> None:
    assert sparkline(values) == bars


def test_figures_that_may_change_are_said_to() -> None:
    answer = {
        "intervals": [{"begin": "a", "end": "b"}],
        "interval": "day",
        "timezone": "UTC",
        "incomplete": True,
        "complete_until": "2026-11-30T00:00:00Z",
        "trends": [
            {
                "series": "A",
                "name": "buy",
                "breakdown": [None, True],
                "other": False,
                "values": [1],
                "total": 12_345.678,
            },
            {
                "series": "A",
                "name": "buy",
                "breakdown": [],
                "other": True,
                "values": [None],
                "total": None,
            },
        ],
        "previous": {"trends": []},
    }
    lines = report("trends", answer).splitlines()
    assert lines[1].split() == ["SERIES", "VALUE", "TREND", "TOTAL", "BEFORE"]
    assert lines[2].split() == ["buy", "(not", "set),", "true", "█", "12,346", "-"]
    assert lines[3].split() == ["buy", "(other)", "-", "-"]
    assert lines[4].startswith("Figures may still change")
