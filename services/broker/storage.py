"""A broker's data directory: checked, formatted on the first start, configured on every start."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from schemas.errors import Misconfigured
from services.broker.configuration import server_properties
from services.broker.identity import (
    new_cluster_id,
    read_cluster_id,
    read_version,
    write_cluster_id,
)
from services.broker.install import storage_template
from services.broker.jars import KAFKA_VERSION


def prepare_storage(jars: Path, data_dir: Path, host: str, port: int, controller_port: int) -> str:
    """Write the configuration, format the storage of a new `data_dir`, and return the cluster id.

    New storage is built aside and renamed into place, so that an interrupted start is repeated.

    Raises:
        Misconfigured: another version of Kafka wrote the storage, or a running broker holds it.
    """
    log_dir = data_dir / "log"
    _check_storage(log_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(data_dir / "tmp", ignore_errors=True)
    (data_dir / "tmp").mkdir()
    if not log_dir.exists():
        fresh = data_dir / "tmp" / "log"
        shutil.copytree(storage_template(jars), fresh)
        write_cluster_id(fresh, new_cluster_id())
        fresh.rename(log_dir)
    (data_dir / "server.properties").write_text(
        server_properties(log_dir, host, port, controller_port), "utf-8"
    )
    return read_cluster_id(log_dir)


@contextlib.contextmanager
def setup_errors_named(data_dir: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into a `Misconfigured` that names the file and the setting."""
    try:
        yield
    except OSError as error:
        raise Misconfigured(
            f"the embedded Kafka cannot use {error.filename or data_dir}: {error.strerror}; "
            "set AVILA_DATA_DIR to a writable directory"
        ) from error


def _check_storage(log_dir: Path) -> None:
    if not log_dir.exists():
        return
    version = read_version(log_dir) or "of unknown version"
    if version != KAFKA_VERSION:
        raise Misconfigured(
            f"{log_dir} belongs to Kafka {version}, and this is {KAFKA_VERSION}: "
            "set AVILA_DATA_DIR to a new directory"
        )
    with (log_dir / ".lock").open("a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Kafka locks the file the same way
        except BlockingIOError as error:
            raise Misconfigured(
                f"a broker is running on {log_dir}: stop it, or set AVILA_DATA_DIR to another "
                "directory"
            ) from error
