"""A snapshot is read as it was written, and no trouble with the disk stops a worker."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.worker.snapshots import Meta, Snapshot, Snapshots

FIRST = Snapshot(
    Meta(position=7, logged=3, about={"funnels": []}),
    {"rows": np.arange(5), "times": np.ones((2, 3), np.int32)},
)
SECOND = Snapshot(Meta(position=8, logged=4), {"rows": np.arange(50_000)})


def written(directory: Path, *snapshots: Snapshot) -> Snapshots:
    kept = Snapshots(directory, "funnels")
    for snapshot in snapshots:
        kept.save(1, snapshot)
        kept.wait()
    return kept


def test_the_newest_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    found = written(tmp_path, FIRST, SECOND).load(1)
    assert found is not None
    assert found.meta == SECOND.meta
    np.testing.assert_equal(found.columns, SECOND.columns)
    assert [path.name for path in (tmp_path / "funnels").iterdir()] == ["1.npz"]


def test_a_partition_without_a_snapshot_has_none(tmp_path: Path) -> None:
    assert written(tmp_path, FIRST).load(2) is None


@pytest.mark.parametrize("kept", [0, 1, 100, 400])
def test_a_torn_snapshot_is_ignored(
    tmp_path: Path, kept: int, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshots = written(tmp_path, FIRST)
    path = tmp_path / "funnels" / "1.npz"
    path.write_bytes(path.read_bytes()[:kept])
    assert snapshots.load(1) is None
    assert "snapshot ignored" in capsys.readouterr().out


def test_a_snapshot_of_another_version_is_ignored(tmp_path: Path) -> None:
    other = FIRST._replace(meta=Meta(version=99, position=7, logged=3))
    assert written(tmp_path, other).load(1) is None


@pytest.mark.parametrize("other", ["", "cluster/other topic", "other cluster/topic"])
def test_a_snapshot_of_another_cluster_or_topic_is_ignored(tmp_path: Path, other: str) -> None:
    kept = Snapshots(tmp_path, "funnels")
    kept.log_id = other
    kept.save(1, FIRST)
    kept.wait()
    kept.log_id = "cluster/topic"
    assert kept.load(1) is None
    kept.save(1, SECOND)
    kept.wait()
    found = kept.load(1)
    assert found is not None
    assert found.meta.position == SECOND.meta.position


def test_a_full_disk_is_reported_and_the_older_one_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshots = written(tmp_path, FIRST)
    (tmp_path / "funnels" / "1.partial").symlink_to("/dev/full")
    snapshots.save(1, SECOND)
    snapshots.wait()
    said = capsys.readouterr().out
    assert "snapshot not written" in said
    assert "No space left on device" in said
    found = snapshots.load(1)
    assert found is not None
    assert found.meta == FIRST.meta


def test_a_directory_that_cannot_be_written_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    snapshots = written(tmp_path / "file", FIRST)
    assert "snapshot not written" in capsys.readouterr().out
    assert snapshots.load(1) is None
