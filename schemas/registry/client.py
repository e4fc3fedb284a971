"""The schema registry of a deployment: the embedded one, or one at an address."""

from collections.abc import Collection
from typing import Protocol

from schemas.avro.schema import Schema
from schemas.registry.log import Registry
from schemas.settings import Settings


class SchemaRegistry(Protocol):
    """Assigns ids to schemas. Thread-safe; calls may block.

    A method waits for the registry up to the time-out given when it was opened, and then raises
    `Unavailable`. Every call can be repeated.
    """

    def register(self, subject: str, schema: Schema) -> int:
        """Return the id of `schema`, and register it under `subject` unless it is there already.

        Raises:
            Conflict: the subject's compatibility level forbids it; says why.
            InvalidRequest: the registry does not accept the subject or the schema.
        """

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        """Return the Avro schemas with these `ids`, without those that do not exist."""

    def close(self) -> None:
        """Close the connections."""


def open_registry(settings: Settings, *, timeout_s: float = 120.0) -> SchemaRegistry:
    """Open the registry of a deployment: the `_schemas` topic, unless the settings name another."""
    if not settings.schema_registry_url:
        return Registry(settings.cluster, settings.topics.schemas.name, timeout_s=timeout_s)
    # Importing it takes half a second, which the embedded registry need not spend.
    from schemas.registry.remote import RemoteRegistry  # noqa: PLC0415

    return RemoteRegistry(
        settings.schema_registry_url,
        ca_file=settings.schema_registry_ca_file,
        timeout_s=timeout_s,
    )
