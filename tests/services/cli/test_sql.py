"""`avila sql` as a user runs it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import msgspec

from schemas.settings import Settings
from tests.credentials import TOKEN
from tests.services.query.conftest import DEADLINE_S, prepared, serve_in_thread
from tests.sinks.processes import environment
from tests.warehouse import Event, Warehouse

ROOT = Path(__file__).parents[3]


def await_definitions(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        checks = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).json()["checks"]
        if checks["view definitions"] == "ok":
            return
        assert time.monotonic() < deadline, checks
        time.sleep(0.05)


def test_sql_is_run_from_the_command_line(settings: Settings, warehouse: Warehouse) -> None:
    warehouse.write(Event("shop", person, "buy", 1_700_000_000_000) for person in ("ann", "bob"))
    stored = msgspec.structs.replace(
        prepared(settings),
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )

    def run(*arguments: str, code: int = 0) -> str:
        there = ("--url", f"http://127.0.0.1:{port}", "--token", TOKEN)
        ended = subprocess.run(
            [sys.executable, "-m", "services", "sql", "shop", *arguments, *there],
            env=environment(stored),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == code, ended.stderr
        return ended.stdout or ended.stderr

    with serve_in_thread(stored) as port:
        await_definitions(port)
        columns = "person_id, {text:String} AS text, [1] AS list, NULL AS no"
        sql = f"SELECT {columns} FROM events ORDER BY 1"
        shown = run(sql, "--set", "text=a b").splitlines()
        assert shown == [
            "person_id  text  list  no",
            "ann        a b   [1]   -",
            "bob        a b   [1]   -",
        ]
        answered = json.loads(run(sql, "--set", "text=a b", "--json"))
        assert answered["rows"] == [["ann", "a b", [1], None], ["bob", "a b", [1], None]]
        assert "line 1, column 8: the function file" in run("SELECT file('x')", code=1)
        assert "NAME=VALUE" in run("SELECT 1", "--set", "x", code=1)
