"""The embedded store has a password from the first start on, which its user alone can read."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from schemas.settings import read_settings
from sinks.connection import location
from sinks.store_password import password_file, store_password


def test_all_who_ask_at_once_get_the_same_password(tmp_path: Path) -> None:
    settings = read_settings({}, data_dir=tmp_path / "data")
    with ThreadPoolExecutor(8) as pool:
        (password,) = set(pool.map(store_password, [settings] * 8))
    assert len(password) == 32
    assert location(settings)["password"] == password
    assert [path.name for path in settings.data_dir.iterdir()] == ["store-password"]
    assert password_file(settings).stat().st_mode & 0o777 == 0o600
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700


def test_a_password_of_the_settings_is_used_instead(tmp_path: Path) -> None:
    environment = {"AVILA_CLICKHOUSE_PASSWORD": "own", "AVILA_DATA_DIR": str(tmp_path)}
    assert store_password(read_settings(environment)) == "own"
    assert not list(tmp_path.iterdir())


def test_a_server_of_one_s_own_needs_no_password_here(tmp_path: Path) -> None:
    settings = read_settings({"AVILA_CLICKHOUSE_DSN": "http://ch", "AVILA_DATA_DIR": str(tmp_path)})
    assert location(settings)["password"] == ""
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_have_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="AVILA_DATA_DIR"):
        store_password(read_settings({}, data_dir=tmp_path / "file"))
