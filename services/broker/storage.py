"""A broker's data directory: checked, formatted on the first start, configured on every start."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from schemas.errors import Misconfigured
from services.broker.configuration import LOG_DIR, Node, server_properties
from services.broker.identity import (
    new_id,
    read_cluster_id,
    read_version,
    shared_cluster_id,
    write_identity,
)
from services.broker.install import storage_template
from services.broker.jars import KAFKA_VERSION

SERVER_FILE: Final = "server.properties"
LOGGING_FILE: Final = "log4j2.properties"
_LOGGING: Final = Path(__file__).with_name("kafka-log4j2.properties")


def prepare_storage(jars: Path, data_dir: Path, node: Node, more: Mapping[str, str]) -> str:
    """Write the configuration, format the storage of a new `data_dir`, and return the cluster id.

    The nodes of a cluster of several have directories of one parent. New storage is built aside
    and renamed into place, so that an interrupted start is repeated.

    Raises:
        Misconfigured: another version of Kafka wrote the storage, or a running broker holds it.
    """
    log_dir = data_dir / LOG_DIR
    _check_storage(log_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(data_dir / "tmp", ignore_errors=True)
    (data_dir / "tmp").mkdir()
    if not log_dir.exists():
        fresh = data_dir / "tmp" / "log"
        shutil.copytree(storage_template(jars), fresh, copy_function=shutil.copyfile)
        fresh.chmod(0o700)  # whatever the template has
        alone = len(node.controller_ports) == 1
        cluster_id = new_id() if alone else shared_cluster_id(data_dir.parent)
        write_identity(fresh, cluster_id, node.number)
        fresh.rename(log_dir)
    properties = server_properties(node, more)
    (data_dir / SERVER_FILE).write_text(properties, "utf-8")
    shutil.copyfile(_LOGGING, data_dir / LOGGING_FILE)
    return read_cluster_id(log_dir)


def storage_directory(data_dir: Path, number: int, brokers: int) -> Path:
    """Return where a broker has its files in the data directory of a system.

    Raises:
        Misconfigured: the directory has the data of another number of brokers.
    """
    root = data_dir / "kafka"
    one, several = (root / LOG_DIR).exists(), (root / "1").exists()
    if several if brokers == 1 else one:
        raise Misconfigured(
            f"{root} has the data of {1 if one else 3} broker{'s'[one:]}, and AVILA_BROKERS is "
            f"{brokers}: set it to {1 if one else 3}, or AVILA_DATA_DIR to a new directory"
        )
    return root if brokers == 1 else root / str(number)


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
    if storage_in_use(log_dir.parent):
        raise Misconfigured(
            f"a broker is running on {log_dir}: stop it, or set AVILA_DATA_DIR to another directory"
        )


def storage_in_use(data_dir: Path) -> bool:
    """Return whether a broker runs on the storage in `data_dir`."""
    try:
        with (data_dir / LOG_DIR / ".lock").open("r+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Kafka locks the file the same way
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
