"""What an operator is to both sides: its definitions, its limit and the topics of its results."""

from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.definitions import Definition, Kind
from schemas.topics import Topic, Topics


class ResultTopic(NamedTuple):
    """A topic that an operator publishes to, and the schema of its values (`schemas/*.avsc`)."""

    topic: Callable[[Topics], Topic]
    schema: str


class OperatorSpec(NamedTuple):
    """An operator, as the worker side and the query side both know it.

    `decode` raises `msgspec.DecodeError` for what is no definition of this kind. `aggregates` is
    the topic of what is counted, one record a period and partition, with the definition's status;
    `changes` are those of what becomes different of persons.
    """

    name: Kind
    plural: str
    decode: Callable[[bytes], Definition]
    encode: Callable[[Any], bytes]
    max_per_project: int
    aggregates: ResultTopic
    changes: tuple[ResultTopic, ...] = ()
