"""What the notifier knows of the definitions topic: subscriptions and alerts."""

import time
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from schemas.definitions import Definition, parse_key
from schemas.follower import Partition, TopicReader
from schemas.settings import Settings

log = structlog.get_logger(__name__)

D = TypeVar("D", bound=Definition)
Key = tuple[str, str]

_REACH_TIMEOUT_S: Final = 30.0


class NotifierDefinitions(Generic[D]):
    """The definitions of one kind, by project and id. Use it in one thread, and `close` it.

    A definition that cannot be read is logged and counts as deleted.
    """

    def __init__(self, settings: Settings, kind: str, decode: Callable[[bytes], D]) -> None:
        self._kind, self._decode = kind, decode
        self._partition = Partition(settings.topics.definitions.name, 0)
        self._reader = TopicReader(settings.cluster, [self._partition.topic])
        self._found: dict[Key, D] = {}

    @property
    def all(self) -> Mapping[Key, D]:
        """Those that are known now."""
        return self._found

    def find(self, key: Key) -> D | None:
        """Return a definition, if there is one."""
        return self._found.get(key)

    def refresh(self) -> bool:
        """Take in what has come; return whether anything has. Does not block for long."""
        found = self._reader.poll(0.0)
        for message in found:
            self._take(message)
        return bool(found)

    def reach(self, end: int) -> None:
        """Return when all definitions before an offset of the topic are known.

        Raises:
            KafkaException: Kafka has not answered for half a minute.
        """
        deadline = time.monotonic() + _REACH_TIMEOUT_S
        while self._reader.positions.get(self._partition, 0) < end:
            for message in self._reader.poll(0.1):
                self._take(message)
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001

    @property
    def partition(self) -> Partition:
        """The partition of the definitions topic."""
        return self._partition

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()

    def _take(self, message: Message) -> None:
        try:
            project, kind, name = parse_key(message.key() or b"")
        except ValueError:
            return
        if kind != self._kind:
            return
        value = message.value()
        try:
            if value is None:
                self._found.pop((project, name), None)
            else:
                self._found[project, name] = self._decode(value)
        except msgspec.DecodeError as error:
            log.error("definition_unreadable", key=message.key(), reason=str(error))
            self._found.pop((project, name), None)
