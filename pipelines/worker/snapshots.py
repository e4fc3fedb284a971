"""Local snapshots: a table's columns on disk, so that a restart need not read its whole changelog.

A snapshot is worth only what it saves. One that is missing, torn, of another version or of a topic
that has been made anew is left aside; one that cannot be written is reported, and the worker goes
on.
"""

import contextlib
import threading
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

log = structlog.get_logger(__name__)

Columns = dict[str, NDArray[Any]]

_VERSION = 1
_META = "meta"


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot stands for."""

    version: int = _VERSION
    position: int  # the source's records below this offset are in it
    logged: int  # and so is what the changelog holds below this one
    about: dict[str, Any] = {}


class Snapshot(NamedTuple):
    """Columns and what they stand for."""

    meta: Meta
    columns: Columns


class Snapshots:
    """The snapshots of one table, one file a partition. Writing happens on a thread of its own."""

    def __init__(self, directory: Path, table: str) -> None:
        self._directory = directory / table
        self._writing: dict[int, threading.Thread] = {}

    def load(self, partition: int) -> Snapshot | None:
        """The newest snapshot of a partition, if there is a good one. Blocks on the disk."""
        path = self._path(partition)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in arrays.files}
            meta = msgspec.json.decode(columns.pop(_META).tobytes(), type=Meta)
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001
            log.warning("snapshot left aside", path=str(path), reason=repr(error))
            return None
        return Snapshot(meta, columns) if meta.version == _VERSION else None

    def save(self, partition: int, snapshot: Snapshot) -> None:
        """Begin to write a snapshot, unless the partition's last one is still being written.

        The columns must not change any more. The file takes the place of the older one when it is
        whole and on disk.
        """
        if partition in self._writing and self._writing[partition].is_alive():
            return
        thread = threading.Thread(target=self._write, args=(partition, snapshot), daemon=True)
        self._writing[partition] = thread
        thread.start()

    def wait(self) -> None:
        """Block until what is being written is written."""
        for thread in self._writing.values():
            thread.join()

    def _write(self, partition: int, snapshot: Snapshot) -> None:
        path = self._path(partition)
        partial = path.with_suffix(".partial")
        meta = np.frombuffer(msgspec.json.encode(snapshot.meta), np.uint8)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez(file, **{_META: meta}, **snapshot.columns)  # type: ignore[arg-type]
            partial.replace(path)
        except OSError as error:
            log.error("snapshot not written", path=str(path), reason=str(error))
            with contextlib.suppress(OSError):
                partial.unlink()

    def _path(self, partition: int) -> Path:
        return self._directory / f"{partition}.npz"
