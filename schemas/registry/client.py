"""What the services need of a schema registry, and which one they use: ours, or one at a URL."""

from collections.abc import Collection
from typing import Protocol

from schemas.avro.schema import Schema
from schemas.registry.log import Registry
from schemas.settings import Settings


class SchemaRegistry(Protocol):
    """Assigns ids to schemas. Methods may be called from any thread, and may block.

    Each waits for the registry up to the time-out that it was opened with, then raises
    `Unavailable`; calling again is safe.
    """

    def register(self, subject: str, schema: Schema) -> int:
        """Return the id of `schema` under `subject`; register it there first if necessary.

        Raises:
            Conflict: the subject's compatibility level forbids it, for the given reason.
            InvalidRequest: the registry does not accept the subject or the schema.
        """

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        """Return the Avro schemas with these `ids`; ids that do not exist are left out."""

    def close(self) -> None:
        """Close the connections."""


def open_registry(settings: Settings, *, timeout_s: float = 120.0) -> SchemaRegistry:
    """Open the deployment's registry: the `_schemas` topic, unless the settings name another."""
    if not settings.schema_registry_url:
        return Registry(settings.bootstrap, settings.topics.schemas.name, timeout_s=timeout_s)
    # Imported late: half a second of imports that only this case needs.
    from schemas.registry.remote import RemoteRegistry  # noqa: PLC0415

    return RemoteRegistry(settings.schema_registry_url, timeout_s=timeout_s)
