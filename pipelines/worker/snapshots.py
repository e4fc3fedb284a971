"""Local snapshots: a table's columns on disk, so that a restart need not read its whole changelog.

A snapshot only saves time. One that is missing, torn or of another version is ignored, and so is
one of another log: a cluster or a topic of the same name may have taken the place of the first. If
one cannot be written, that is logged and the worker goes on.
"""

import contextlib
import threading
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import structlog

from pipelines.columnar.jit import AnyArray

log = structlog.get_logger(__name__)

Columns = dict[str, AnyArray]

_VERSION = 1
_META = "meta"


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """Which offsets a snapshot covers."""

    version: int = _VERSION
    position: int  # it covers the source's records below this offset
    logged: int  # and the changelog's records below this one
    log_id: str = ""  # the cluster and the topic that the offsets belong to
    about: dict[str, Any] = {}  # JSON values that its table gives a meaning


class Snapshot(NamedTuple):
    """Columns, and which offsets they cover."""

    meta: Meta
    columns: Columns


class Snapshots:
    """The snapshots of one table, one file a partition; a thread writes them."""

    def __init__(self, directory: Path, table: str) -> None:
        self.log_id = ""  # of the log whose snapshots these are, see `Reader.log_id`
        self._directory = directory / table
        self._writing: dict[int, threading.Thread] = {}

    def load(self, partition: int) -> Snapshot | None:
        """Return a partition's snapshot, or None if there is no valid one. Blocks on the disk."""
        path = self._path(partition)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in arrays.files}
            meta = msgspec.json.decode(columns.pop(_META).tobytes(), type=Meta)
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 (whatever a torn file makes NumPy raise)
            log.warning("snapshot ignored", path=str(path), reason=repr(error))
            return None
        if meta.log_id != self.log_id:
            log.info("snapshot ignored", path=str(path), reason="of another cluster or topic")
            return None
        return Snapshot(meta, columns) if meta.version == _VERSION else None

    def save(self, partition: int, snapshot: Snapshot) -> None:
        """Begin to write a snapshot, unless the partition's last one is still being written.

        The columns must not change afterwards. The file replaces the older one when it is complete.
        """
        meta = msgspec.structs.replace(snapshot.meta, log_id=self.log_id)
        snapshot = snapshot._replace(meta=meta)
        if partition in self._writing and self._writing[partition].is_alive():
            return
        thread = threading.Thread(target=self._write, args=(partition, snapshot), daemon=True)
        self._writing[partition] = thread
        thread.start()

    def wait(self) -> None:
        """Block until all snapshots are written."""
        for thread in self._writing.values():
            thread.join()

    def _write(self, partition: int, snapshot: Snapshot) -> None:
        path = self._path(partition)
        partial = path.with_suffix(".partial")
        meta = np.frombuffer(msgspec.json.encode(snapshot.meta), np.uint8)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                arrays: dict[str, AnyArray] = {_META: meta, **snapshot.columns}
                np.savez(file, **arrays)  # type: ignore[arg-type] # as if one were its `allow_pickle`
            partial.replace(path)
        except OSError as error:
            log.error("snapshot not written", path=str(path), reason=str(error))
            with contextlib.suppress(OSError):
                partial.unlink()

    def _path(self, partition: int) -> Path:
        return self._directory / f"{partition}.npz"
