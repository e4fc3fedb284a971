"""The data directory: usable by us, closed to others, and held by one system at a time."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from schemas.errors import Misconfigured

_CONTENTS: Final = ("kafka", "logs", "snapshots", "store")
_LOCK_FILE: Final = "avila.lock"


def prepare_data_dir(path: Path) -> None:
    """Create the directory if necessary; close it, and all that this process creates, to others.

    Directories of earlier versions, which others could read, are closed as well.

    Raises:
        Misconfigured: the directory cannot be created or written.
    """
    os.umask(0o077)
    try:
        path.mkdir(parents=True, exist_ok=True)
        for directory in (path / name for name in _CONTENTS):
            if directory.is_dir():
                directory.chmod(0o700)
    except OSError as error:
        raise _unusable(path, error) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise Misconfigured(
            f"the data directory {path} is not writable for this user: set AVILA_DATA_DIR to a "
            "directory that is"
        )


@contextlib.contextmanager
def locked_data_dir(path: Path) -> Iterator[bool]:
    """Hold the directory for one system inside the block.

    Yield whether the previous system ended without giving it up: processes of it may still be
    about to end.

    Raises:
        Misconfigured: another system holds the directory; names its process.
    """
    file = path / _LOCK_FILE
    try:
        lock = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(file)
            raise Misconfigured(
                f"`avila up` runs on {path.absolute()} already{holder and f' (process {holder})'}: "
                "stop it, or set AVILA_DATA_DIR to another directory"
            ) from None
        abandoned = bool(_read_holder(file))
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"pid": os.getpid()}).encode(), 0)
        yield abandoned
        os.ftruncate(lock, 0)
    finally:
        os.close(lock)


def _read_holder(file: Path) -> str:
    try:
        return str(json.loads(file.read_text("utf-8"))["pid"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _unusable(path: Path, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"the data directory {path} cannot be used ({error.strerror}: {error.filename}): set "
        "AVILA_DATA_DIR to a directory that can be created and written"
    )
