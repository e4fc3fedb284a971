"""What an operator is to both sides: its definitions, its limit and the topics of its results."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from schemas.definitions import NO_PREVIOUS, Definition, Kind
from schemas.topics import Topic, Topics

D = TypeVar("D", bound=Definition)


class ResultTopic(NamedTuple):
    """A topic that an operator publishes to, and the schema of its values (`schemas/*.avsc`)."""

    topic: Callable[[Topics], Topic]
    schema: str


class OperatorSpec(NamedTuple):
    """An operator, as the worker side and the query side both know it.

    `decode` raises `msgspec.DecodeError` for what is no definition of this kind. `counts_alike`
    tells whether two definitions count the same, so that one can take the other's place without a
    backfill. `aggregates` is the topic of what is counted, one record a period and partition, with
    the definition's status; `changes` are those of what becomes different of persons.
    """

    name: Kind
    plural: str
    decode: Callable[[bytes], Definition]
    encode: Callable[[Any], bytes]
    counts_alike: Callable[[Any, Any], bool]
    max_per_project: int
    aggregates: ResultTopic
    changes: tuple[ResultTopic, ...] = ()

    def previous(self, definition: Definition) -> Definition | None:
        """Decode the definition that counted before this version; None if none did.

        Raises:
            msgspec.DecodeError: it is no definition of this kind.
        """
        raw = bytes(definition.previous)
        return None if raw == bytes(NO_PREVIOUS) else self.decode(raw)

    def with_previous(self, definition: D, before: D | None) -> D:
        """Return `definition` with `before` as the one that counts until it is live itself."""
        if before is None:
            return msgspec.structs.replace(definition, previous=NO_PREVIOUS)
        record = self.encode(msgspec.structs.replace(before, previous=NO_PREVIOUS))
        return msgspec.structs.replace(definition, previous=msgspec.Raw(record))
