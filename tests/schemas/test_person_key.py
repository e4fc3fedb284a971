"""The secret by which persons are named: one a deployment, the same after a restart."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from schemas.person_key import fingerprint, hash_key_of, person_key
from schemas.settings import Secret, Settings, read_settings


def test_a_system_of_its_own_makes_a_secret_once_and_keeps_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: person_key(settings), range(16)))
    (key,) = keys
    assert len(key) == 32
    assert person_key(settings) == key
    (file,) = settings.data_dir.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert person_key(Settings(data_dir=tmp_path / "other")) != key


def test_a_setting_takes_precedence_and_a_cluster_without_one_has_no_secret(
    tmp_path: Path,
) -> None:
    given = Settings(data_dir=tmp_path, person_key=Secret("0123456789abcdef"))
    cluster = Settings(data_dir=tmp_path, kafka_bootstrap="kafka:9092")
    assert len(person_key(given)) == 32
    assert person_key(cluster) == b""
    assert fingerprint(b"") == ""
    assert list(tmp_path.iterdir()) == []
    assert "0123456789abcdef" not in repr(given)


def test_a_fingerprint_tells_secrets_apart_and_each_version_has_a_key_of_its_own() -> None:
    one, other = bytes(32), bytes(31) + b"\1"
    assert fingerprint(one) != fingerprint(other)
    keys = {hash_key_of(key, tag) for key in (one, other) for tag in (1, 2, -1)}
    assert len(keys) == 6
    assert hash_key_of(one, -1) == hash_key_of(one, 2**64 - 1)


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(Misconfigured, match="person-key"):
        person_key(Settings(data_dir=tmp_path / "data"))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(Misconfigured, match="AVILA_PERSON_KEY must have 16 characters"):
        read_settings({"AVILA_PERSON_KEY": "short"})
