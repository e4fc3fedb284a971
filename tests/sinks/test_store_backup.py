"""A backup of the embedded store, by command: what it has comes back, and the sink goes on."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from schemas.settings import _PORTS, STORE_PORT, Settings
from sinks.follow_store import follow_file
from tests.sinks.events import EventStore
from tests.sinks.processes import SinkProcess, environment
from tests.sinks.tables import assert_each_event_once, await_rows, count, query
from tests.stores import StoreProcess, new_store, remove_store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_store() -> Iterator[StoreProcess]:
    """A store that the test may lose."""
    process = new_store()
    process.start()
    try:
        yield process
    finally:
        remove_store(process)


def avila_store(store: StoreProcess, settings: Settings, *arguments: str, code: int = 0) -> str:
    """Run `avila store …` where the store is; return what it says."""
    local = msgspec.structs.replace(
        settings,
        clickhouse_dsn="",
        data_dir=store.directory,
        port_base=store.port - _PORTS.index(STORE_PORT),
    )
    ended = subprocess.run(
        [sys.executable, "-m", "services", "store", *arguments],
        env=environment(local) | {"AVILA_CLICKHOUSE_PASSWORD": store.password},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == code, ended.stderr
    return ended.stdout + ended.stderr


def fingerprint(settings: Settings) -> object:
    return query(
        settings,
        "SELECT count(), groupBitXor(cityHash64(toString(tuple(*)))) FROM "
        f"(SELECT * FROM {settings.clickhouse_database}.events)",
    )


def test_a_restored_store_has_the_rows_of_its_backup_and_gets_the_rest_once(
    own_store: StoreProcess, settings: Settings, tmp_path: Path
) -> None:
    store, log, copy = own_store, tmp_path / "log", tmp_path / "the copy's place"
    settings = msgspec.structs.replace(settings, clickhouse_dsn=store.dsn, data_dir=store.directory)
    events = EventStore(settings)
    events.append(2_000)
    with SinkProcess(settings, log) as sink:
        assert_each_event_once(settings)
        backed_up, rows = fingerprint(settings), count(settings)
        # The store runs, and so does the sink.
        said = avila_store(store, settings, "backup", str(copy))
        assert said == f"{rows} rows backed up into {copy}\n"
        assert "not empty" in avila_store(store, settings, "backup", str(copy), code=1)
        assert "stop it" in avila_store(store, settings, "restore", str(copy), code=1)
        events.append(2_000)
        await_rows(settings, rows + 1)
        assert_each_event_once(settings)
        assert sink.stop(timeout_s=120) == 0
    assert store.stop() == 0
    assert "has rows" in avila_store(store, settings, "restore", str(copy), code=1)
    assert "no backup" in avila_store(store, settings, "restore", str(tmp_path), code=1)
    assert not follow_file(settings).exists()

    shutil.rmtree(store.directory / "store")
    said = avila_store(store, settings, "restore", str(copy))
    assert f"{rows} rows restored from {copy}" in said
    # A store that is stopped is backed up as well.
    again = tmp_path / "again"
    assert f"{rows} rows backed up" in avila_store(store, settings, "backup", str(again))
    store.start()
    assert fingerprint(settings) == backed_up

    events.append(500)
    with SinkProcess(settings, log) as sink:
        assert_each_event_once(settings)
        assert "continuing after what" in sink.output
    assert not follow_file(settings).exists()
