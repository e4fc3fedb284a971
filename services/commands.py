"""Writes definitions, each decided on all that was written before it, by whatever process.

The lock is the transactional id that all who write definitions share, as in `schemas.registry.log`:
who starts a producer with it fences the others and, once its view has reached the topic's end,
knows everything. It keeps the pen until another process takes it; whoever is fenced takes it back,
reads what the other has written and decides anew. So optimistic checks hold between processes too:
of two writers that replace version 3, one gets version 4 and the other a `Conflict`.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from schemas.errors import Unavailable
from schemas.follower import Partition
from schemas.settings import Settings
from services.topic_view import TopicView

T = TypeVar("T")

_WITHIN_S: Final = 10.0
_CALL_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 0.25


class Write(NamedTuple, Generic[T]):
    """A record to write, and what to return once everyone can see it.

    `also` is written with it, all or nothing.
    """

    key: bytes
    value: bytes | None
    headers: dict[str, bytes]
    result: T
    also: Sequence["Write[Any]"] = ()


class Commands:
    """The pen of the definitions topic; `following` keeps the view that decisions are made on."""

    def __init__(self, settings: Settings, topic_view: TopicView[Any]) -> None:
        self._client: dict[str, Any] = {"bootstrap.servers": settings.bootstrap, "log_level": 0}
        self._partition = Partition(settings.topics.definitions.name, 0)
        self._following = topic_view
        self._lock = asyncio.Lock()
        self._producer: Producer | None = None

    async def change(self, decide: Callable[[], Write[T]]) -> T:
        """Write what `decide` wants; return when it is committed and the view shows it.

        `decide` is called on a view that holds everything written so far, again if another process
        was first; what it raises ends the command. Waits up to ten seconds.

        Raises:
            Unavailable: not acknowledged in time; the record may or may not stand.
        """
        try:
            async with asyncio.timeout(_WITHIN_S), self._lock:
                while True:
                    try:
                        return await self._change(decide)
                    except _FencedError:
                        await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311
        except (TimeoutError, KafkaException) as error:
            reason = f"no answer within {_WITHIN_S:.0f} s" if not str(error) else str(error)
            raise Unavailable(
                f"Kafka has not acknowledged the change, which may or may not stand: {reason}"
            ) from error

    async def _change(self, decide: Callable[[], Write[T]]) -> T:
        # Put back when all is well: whatever else happens, the next command starts a new one.
        producer, self._producer = self._producer, None
        if producer is None:
            producer = await asyncio.to_thread(self._take_pen)
            end = await asyncio.to_thread(self._end)
            await self._following.reach(self._partition, end)
        try:
            write = decide()
        except BaseException:
            self._producer = producer
            raise
        offset = await asyncio.to_thread(self._commit, producer, write)
        self._producer = producer
        await self._following.reach(self._partition, offset + 1)
        return write.result

    def _take_pen(self) -> Producer:
        producer = Producer(
            self._client
            | {
                "transactional.id": f"{self._partition.topic}-writer",
                # What a killed process leaves open holds up all readers for no longer than this; a
                # broker that is killed must be back before (see `services.broker`).
                "transaction.timeout.ms": 45_000,
                "linger.ms": 0,
            }
        )
        producer.init_transactions(_CALL_S)
        return producer

    def _end(self) -> int:
        consumer = Consumer(self._client | {"group.id": self._partition.topic})
        try:
            partition = TopicPartition(*self._partition)
            return consumer.get_watermark_offsets(partition, timeout=_CALL_S)[1]
        finally:
            consumer.close()

    def _commit(self, producer: Producer, write: Write[T]) -> int:
        """Commit a write, return its last offset; `_FencedError` if another process has the pen."""
        offsets: list[int] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets.append(message.offset() or 0)

        try:
            producer.begin_transaction()
            for one in (write, *write.also):
                producer.produce(
                    self._partition.topic,
                    one.value,
                    one.key,
                    partition=self._partition.number,
                    headers=list(one.headers.items()),
                    on_delivery=delivered,
                )
            producer.commit_transaction(_CALL_S)
        except KafkaException as failure:
            if failure.args[0].code() in _FENCED:
                raise _FencedError from failure
            raise
        return max(offsets)


class _FencedError(Exception):
    """Another process has taken the pen; nothing of ours was written."""


_FENCED: Final = {
    KafkaError._FENCED,  # noqa: SLF001
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}
