"""`avila verify` as a user runs it, and what it prints."""

import subprocess
import sys
import time

import httpx
import msgspec

from schemas.settings import Settings
from services.cli.verify import _report
from tests.credentials import TOKEN, bearer, put, query_token
from tests.services.query.conftest import serve_in_thread
from tests.services.query.recorded import Recorded
from tests.warehouse import Warehouse

EQUAL = {"equal": True, "positions": {"0": 4, "1": 9}}


def test_equal_figures_are_reported_in_one_line() -> None:
    said = "equal: the stream and ClickHouse agree below the offsets 4 of 0, 9 of 1"
    assert _report(EQUAL) == said


def test_what_differs_is_named_line_by_line() -> None:
    found = {
        "equal": False,
        "positions": {"0": 4},
        "differing": 1,
        "figures": [{"figure": "totals.steps[1].reached", "stream": 3, "store": 2}],
        "persons": [{"person": "ann", "problem": "event_differs", "text": "lost"}],
        "events": [
            {"partition": 0, "offset": 2, "person": "ann", "event": "home", "text": "is missing"}
        ],
        "cause": "store",
    }
    assert _report(found).splitlines() == [
        "1 figures differ below the offsets 4 of 0",
        "  totals.steps[1].reached: 3 on the stream, 2 in ClickHouse",
        "  ann: lost",
        "  partition 0, offset 2, home of ann: is missing",
    ]
    last = _report({**found, "persons": [], "events": [], "cause": "stream"}).splitlines()[-1]
    assert "exactly the events of the log" in last


def test_it_asks_the_service_that_runs(settings: Settings, warehouse: Warehouse) -> None:
    Recorded(settings, warehouse)
    with_store = msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )
    put(settings, query_token())
    body = {"id": "buy", "steps": [{"event": "home"}, {"event": "cart"}]}
    with serve_in_thread(with_store) as port:
        at = f"http://127.0.0.1:{port}"
        created = httpx.post(f"{at}/api/projects/shop/funnels", json=body, headers=bearer(TOKEN))
        deadline = time.monotonic() + 60
        while created.status_code == 503:
            assert time.monotonic() < deadline, created.text
            created = httpx.post(created.request.url, json=body, headers=bearer(TOKEN))
        assert created.status_code == 201
        found = run(at, "buy")
        while "view" in found.stderr:
            assert time.monotonic() < deadline, found.stderr
            found = run(at, "buy")
        assert (found.returncode, found.stdout) == (
            0,
            "equal: the stream and ClickHouse agree below the offsets of none\n",
        ), found.stderr
        missing = run(at, "sell")
        assert missing.returncode == 1
        assert "has no funnel sell" in missing.stderr


def run(at: str, name: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "services", "verify", "shop", "funnel", name]
    return subprocess.run(
        [*command, "--url", at, "--token", TOKEN],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
