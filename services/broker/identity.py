"""What names a broker's storage: its cluster id, and the version of Kafka that wrote it."""

import base64
import uuid
from pathlib import Path
from typing import Final

from services.broker.jars import KAFKA_VERSION

VERSION_FILE: Final = "avila-kafka-version"
_META_FILE: Final = "meta.properties"
_CLUSTER_ID: Final = "cluster.id="


def new_cluster_id() -> str:
    """Return a random cluster id, in Kafka's form."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def read_cluster_id(storage: Path) -> str:
    """Return the cluster id of formatted storage."""
    return next(
        line.removeprefix(_CLUSTER_ID) for line in _meta(storage) if line.startswith(_CLUSTER_ID)
    )


def write_cluster_id(storage: Path, cluster_id: str) -> None:
    """Give formatted storage another cluster id."""
    kept = [line for line in _meta(storage) if not line.startswith(_CLUSTER_ID)]
    text = "\n".join([*kept, _CLUSTER_ID + cluster_id, ""])
    (storage / _META_FILE).write_text(text, "utf-8")


def read_version(storage: Path) -> str:
    """Return the version of Kafka that wrote the storage; empty if it is not recorded."""
    file = storage / VERSION_FILE
    return file.read_text("utf-8") if file.exists() else ""


def write_version(storage: Path) -> None:
    """Record that this version of Kafka wrote the storage."""
    (storage / VERSION_FILE).write_text(KAFKA_VERSION, "utf-8")


def _meta(storage: Path) -> list[str]:
    return (storage / _META_FILE).read_text("utf-8").splitlines()
