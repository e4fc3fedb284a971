"""What names a broker's storage: its cluster id, and the version of Kafka that wrote it."""

import base64
import contextlib
import os
import tempfile
import uuid
from pathlib import Path
from typing import Final

from services.broker.jars import KAFKA_VERSION

VERSION_FILE: Final = "avila-kafka-version"
_META_FILE: Final = "meta.properties"
_SHARED_FILE: Final = "cluster-id"
_CLUSTER_ID: Final = "cluster.id="


def new_id() -> str:
    """Return a random id of a cluster or directory, in Kafka's form."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def read_cluster_id(storage: Path) -> str:
    """Return the cluster id of formatted storage."""
    return next(
        line.removeprefix(_CLUSTER_ID) for line in _meta(storage) if line.startswith(_CLUSTER_ID)
    )


def write_identity(storage: Path, cluster_id: str, number: int) -> None:
    """Make formatted storage that of one node of a cluster."""
    own = {"cluster.id": cluster_id, "node.id": str(number), "directory.id": new_id()}
    kept = [line for line in _meta(storage) if line.partition("=")[0] not in own]
    text = "\n".join([*kept, *(f"{name}={value}" for name, value in own.items()), ""])
    (storage / _META_FILE).write_text(text, "utf-8")


def shared_cluster_id(directory: Path) -> str:
    """Return the id of the cluster whose nodes are in `directory`; the first caller makes it."""
    file = directory / _SHARED_FILE
    with tempfile.NamedTemporaryFile("w", dir=directory, encoding="utf-8") as own:
        own.write(new_id())
        own.flush()
        with contextlib.suppress(FileExistsError):
            os.link(own.name, file)
    return file.read_text("utf-8")


def read_version(storage: Path) -> str:
    """Return the version of Kafka that wrote the storage; empty if it is not recorded."""
    file = storage / VERSION_FILE
    return file.read_text("utf-8") if file.exists() else ""


def write_version(storage: Path) -> None:
    """Record that this version of Kafka wrote the storage."""
    (storage / VERSION_FILE).write_text(KAFKA_VERSION, "utf-8")


def _meta(storage: Path) -> list[str]:
    return (storage / _META_FILE).read_text("utf-8").splitlines()
