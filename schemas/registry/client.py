"""What the services ask of a schema registry, and which one answers: ours, or one at an address."""

from collections.abc import Collection
from typing import Protocol

from schemas.avro.schema import Schema
from schemas.registry.log import Registry
from schemas.settings import Settings


class SchemaRegistry(Protocol):
    """Gives schemas their ids. May be asked from any thread, and may block.

    Each method waits for the registry up to the time-out it was opened with and then raises
    `Unavailable`; doing the same again is safe.
    """

    def register(self, subject: str, schema: Schema) -> int:
        """The id of `schema` under `subject`, where it is put if it does not stand there yet.

        Raises:
            Conflict: the subject's compatibility level forbids it; says why.
            InvalidRequest: the registry does not take the subject or the schema.
        """

    def find(self, ids: Collection[int]) -> dict[int, Schema]:
        """The Avro schemas of those `ids` that exist."""

    def close(self) -> None:
        """Give back the connections."""


def open_registry(settings: Settings, *, timeout_s: float = 120.0) -> SchemaRegistry:
    """The registry of a deployment: the `_schemas` topic, unless the settings name another."""
    if not settings.schema_registry_url:
        return Registry(settings.bootstrap, settings.topics.schemas.name, timeout_s=timeout_s)
    # Half a second of imports that only this case needs.
    from schemas.registry.remote import RemoteRegistry  # noqa: PLC0415

    return RemoteRegistry(settings.schema_registry_url, timeout_s=timeout_s)
