"""The spec of an operator: its definitions, their limit, and the topics of its results."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from schemas.definitions import NO_PREVIOUS, Definition
from schemas.topic import FOREVER, Cleanup, Topic

D = TypeVar("D", bound=Definition)


class Deployment(Protocol):
    """Anything with the prefix of a deployment's topics (`schemas.topics.Topics`)."""

    @property
    def prefix(self) -> str:
        """The first part of the names of its topics."""


class ResultTopic(NamedTuple):
    """A topic that an operator publishes to, named `<prefix>.<suffix>`.

    `schema` names the schema of its values (`schemas/<schema>.avsc`). `retention_ms` applies only
    if `cleanup` is `delete`.
    """

    suffix: str
    schema: str
    cleanup: Cleanup = "compact"
    retention_ms: int = FOREVER

    def topic(self, deployment: Deployment) -> Topic:
        """Return the topic of a deployment."""
        return Topic(f"{deployment.prefix}.{self.suffix}", self.cleanup, self.retention_ms)


class OperatorSpec(NamedTuple):
    """An operator, as both the worker side and the query side know it.

    `name` is the `KIND` of its definitions. `decode` raises `msgspec.DecodeError` for anything else
    than a definition of this kind. `counts_alike` returns whether two definitions count the same,
    so that one can replace the other without a backfill. The topic `aggregates` has one record for
    each period and partition, with the definition's status; records of the topics `changes` say
    what changed for a person.
    """

    name: str
    plural: str
    decode: Callable[[bytes], Definition]
    encode: Callable[[Any], bytes]
    counts_alike: Callable[[Any, Any], bool]
    max_per_project: int
    aggregates: ResultTopic
    changes: tuple[ResultTopic, ...] = ()

    @property
    def results(self) -> tuple[ResultTopic, ...]:
        """All topics that the operator publishes to."""
        return (self.aggregates, *self.changes)

    def previous(self, definition: Definition) -> Definition | None:
        """Decode the definition that counted before this version; None if there was none.

        Raises:
            msgspec.DecodeError: it is not a definition of this kind.
        """
        raw = bytes(definition.previous)
        return None if raw == bytes(NO_PREVIOUS) else self.decode(raw)

    def with_previous(self, definition: D, before: D | None) -> D:
        """Return `definition` with `before` as the version that counts until it is live."""
        if before is None:
            return msgspec.structs.replace(definition, previous=NO_PREVIOUS)
        record = self.encode(msgspec.structs.replace(before, previous=NO_PREVIOUS))
        return msgspec.structs.replace(definition, previous=msgspec.Raw(record))
