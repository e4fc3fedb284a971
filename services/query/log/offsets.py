"""Offsets of the event store: what Kafka keeps, what the store has, and what was there at a time.

All calls block for up to some seconds; `EventLog` runs them in threads.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.cluster import Address, client_config
from schemas.errors import Unavailable

T = TypeVar("T")

_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.1
_BATCH: Final = 10_000
_EARLIEST: Final[OffsetSpec] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # as of the library
_LATEST: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # likewise


class Kept(NamedTuple):
    """The offsets of a partition that Kafka keeps: from `first` to `end`, which is excluded.

    All transactions below `end` are decided.
    """

    first: int
    end: int


class Next(NamedTuple):
    """The first committed record from an offset on, and when it was appended (ms)."""

    offset: int
    appended_at: int


class Offsets:
    """Asks the brokers for offsets of one topic with a number of partitions.

    All methods raise `Unavailable` if the brokers do not answer in time.
    """

    def __init__(self, cluster: Address, topic: str, partitions: int) -> None:
        self._cluster = cluster
        self._topic, self._partitions = topic, partitions
        self._admin = AdminClient(client_config(cluster, {"log_level": 0}))
        self._members: dict[str, Consumer] = {}
        self._lock = threading.Lock()

    def kept(self) -> dict[int, Kept]:
        """Return the offsets that are kept, by partition."""
        first = self._list(_EARLIEST)
        end = self._list(_LATEST)
        return {number: Kept(first[number], end[number]) for number in end}

    def ends(self) -> dict[int, int]:
        """Return the ends of the partitions, records of open transactions included."""
        return self._list(_LATEST, IsolationLevel.READ_UNCOMMITTED)

    def since(self, at_ms: int) -> dict[int, int | None]:
        """Return the first offset appended at a time or later; None where there is none."""
        found = self._list(OffsetSpec.for_timestamp(at_ms))
        return {number: offset if offset >= 0 else None for number, offset in found.items()}

    def committed(self, group: str) -> dict[int, int]:
        """Return the offsets that a group has committed, for the partitions where it has."""
        places = self._ask(lambda: self._member(group).committed(self._places(), _TIMEOUT_S))
        return {place.partition: place.offset for place in places if place.offset >= 0}

    def _member(self, group: str) -> Consumer:
        """Return a consumer that never joins the group, and so is not seen by it."""
        with self._lock:
            if group not in self._members:
                own = {"group.id": group, "enable.auto.commit": False, "log_level": 0}
                self._members[group] = Consumer(client_config(self._cluster, own))
            return self._members[group]

    def next_records(self, starts: Mapping[int, int]) -> dict[int, Next | None]:
        """Return the first committed record of some partitions from an offset each.

        None where none follows. An offset that is no longer kept is replaced by the first that is.
        """
        found: dict[int, Next | None] = {}
        if not starts:
            return found
        consumer = Consumer(client_config(self._cluster, _READING))
        deadline = time.monotonic() + _TIMEOUT_S
        try:
            consumer.assign([TopicPartition(self._topic, *start) for start in starts.items()])
            while found.keys() < starts.keys():
                if time.monotonic() > deadline:
                    raise Unavailable(f"Kafka does not answer: {self._topic} was not read in time")
                message = consumer.poll(_POLL_S)
                if message is not None and (number := message.partition()) is not None:
                    found.setdefault(number, _next(message))
        except KafkaException as error:
            raise _unavailable(error) from error
        finally:
            consumer.close()
        return found

    def records(self, number: int, begin: int, end: int, limit: int) -> tuple[int, list[Message]]:
        """Return committed records of a partition from an offset on, and the offset after them.

        They are all below that offset: some more than `limit`, or all below `end`.
        """
        consumer = Consumer(client_config(self._cluster, _READING))
        found: list[Message] = []
        deadline = time.monotonic() + _TIMEOUT_S
        try:
            consumer.assign([TopicPartition(self._topic, number, begin)])
            while len(found) < limit:
                if time.monotonic() > deadline:
                    raise Unavailable(f"Kafka does not answer: {self._topic} was not read in time")
                for message in consumer.consume(_BATCH, _POLL_S):
                    offset = message.offset() or 0
                    if _next(message) is None or offset >= end:
                        return end, found
                    found.append(message)
                    if offset == end - 1:
                        return end, found
        except KafkaException as error:
            raise _unavailable(error) from error
        finally:
            consumer.close()
        return (found[-1].offset() or 0) + 1, found

    def _list(
        self, spec: OffsetSpec, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> dict[int, int]:
        asked = dict.fromkeys(self._places(), spec)

        def offsets() -> dict[int, int]:
            futures = self._admin.list_offsets(
                asked, isolation_level=isolation, request_timeout=_TIMEOUT_S
            )
            return {
                place.partition: future.result(_TIMEOUT_S).offset
                for place, future in futures.items()
            }

        return self._ask(offsets)

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number) for number in range(self._partitions)]

    def _ask(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except KafkaException as error:
            raise _unavailable(error) from error
        except TimeoutError:
            raise Unavailable("Kafka does not answer in time") from None


_READING: Final[dict[str, Any]] = {
    "group.id": "avila-query",  # required, but never joined
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "fetch.wait.max.ms": 10,
    "queued.max.messages.kbytes": 4_096,
    "log_level": 0,
}


def _next(message: Message) -> Next | None:
    error = message.error()
    if error is None:
        return Next(message.offset() or 0, message.timestamp()[1])
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (its public name)
        return None
    raise KafkaException(error)


def _unavailable(error: KafkaException) -> Unavailable:
    return Unavailable(f"Kafka does not answer: {error.args[0].str()}")
