"""Writes definitions; each write is decided on all earlier ones, of any process.

All writers share one transactional id, which is the lock, as in `schemas.registry.log`. Starting a
producer with it fences the other processes' producers; once the view has reached the topic's end,
the process knows every record. It keeps its producer until another process fences it. A fenced
process starts a new producer, reads what the other has written, and decides again. So optimistic
checks hold between processes: of two writers that replace revision 3, one writes revision 4 and the
other gets a `Conflict`.
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

from schemas.cluster import client_config
from schemas.errors import Unavailable
from schemas.follower import Partition
from schemas.settings import Settings
from services.topic_view import TopicView

T = TypeVar("T")

_CHANGE_TIMEOUT_S: Final = 10.0
_CALL_TIMEOUT_S: Final = 5.0
_MAX_PAUSE_S: Final = 0.25


class Write(NamedTuple, Generic[T]):
    """A record to write, and the `result` to return once it is committed and in the view.

    The writes in `also` are in the same transaction.
    """

    key: bytes
    value: bytes | None
    headers: dict[str, bytes]
    result: T
    also: Sequence["Write[Any]"] = ()


class Commands:
    """The writer of the definitions topic; decisions are made on the view of `topic_view`."""

    def __init__(self, settings: Settings, topic_view: TopicView[Any]) -> None:
        self._client = client_config(settings.cluster, {"log_level": 0})
        self._partition = Partition(settings.topics.definitions.name, 0)
        self._topic_view = topic_view
        self._lock = asyncio.Lock()
        self._producer: Producer | None = None

    async def change(self, decide: Callable[[], Write[T]]) -> T:
        """Write what `decide` returns; return its result once it is committed and in the view.

        `decide` is called when the view has all earlier records, and again if another process
        writes first; its exceptions end the command. Waits up to ten seconds.

        Raises:
            Unavailable: not acknowledged in time; the record may or may not stand.
        """
        try:
            async with asyncio.timeout(_CHANGE_TIMEOUT_S), self._lock:
                while True:
                    try:
                        return await self._change(decide)
                    except _NotWrittenError:
                        await asyncio.sleep(random.uniform(0, _MAX_PAUSE_S))  # noqa: S311
        except (TimeoutError, KafkaException) as error:
            reason = f"no answer within {_CHANGE_TIMEOUT_S:.0f} s" if not str(error) else str(error)
            raise Unavailable(
                f"Kafka has not acknowledged the change, which may or may not stand: {reason}"
            ) from error

    async def _change(self, decide: Callable[[], Write[T]]) -> T:
        # Put back on success; after anything else the next command starts a new producer.
        producer, self._producer = self._producer, None
        if producer is None:
            producer = await self._new_producer()
        try:
            write = decide()
        except BaseException:
            self._producer = producer
            raise
        try:
            offset = await asyncio.to_thread(self._commit, producer, write)
        except _UnknownOutcomeError as unknown:
            producer = await self._new_producer()  # ends the transaction, if it is still open
            if not await asyncio.to_thread(self._is_committed, unknown.offset):
                raise _NotWrittenError from unknown
            offset = unknown.offset
        self._producer = producer
        await self._topic_view.reach(self._partition, offset + 1)
        return write.result

    async def _new_producer(self) -> Producer:
        """Fence all other producers, and return one when the view has what they have written."""
        producer = await asyncio.to_thread(self._start_producer)
        await self._topic_view.reach(self._partition, await asyncio.to_thread(self._end))
        return producer

    def _start_producer(self) -> Producer:
        producer = Producer(
            self._client
            | {
                "transactional.id": f"{self._partition.topic}-writer",
                # A transaction that a killed process leaves open delays all readers by up to this
                # long; a killed broker must be back sooner (see `services.broker`).
                "transaction.timeout.ms": 45_000,
                "linger.ms": 0,
            }
        )
        producer.init_transactions(_CALL_TIMEOUT_S)
        return producer

    def _end(self) -> int:
        consumer = Consumer(self._client | {"group.id": self._partition.topic})
        try:
            partition = TopicPartition(*self._partition)
            return consumer.get_watermark_offsets(partition, timeout=_CALL_TIMEOUT_S)[1]
        finally:
            consumer.close()

    def _is_committed(self, offset: int) -> bool:
        """Return whether the record at an offset is committed; no transaction may be open."""
        config = {"group.id": self._partition.topic, "enable.partition.eof": True}
        consumer = Consumer(self._client | config)
        try:
            consumer.assign([TopicPartition(*self._partition, offset)])
            message = consumer.poll(_CALL_TIMEOUT_S)
            if message is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                raise KafkaException(error)
            return error is None and message.offset() == offset
        finally:
            consumer.close()

    def _commit(self, producer: Producer, write: Write[T]) -> int:
        """Commit a write and return its last offset.

        Raises:
            _NotWrittenError: another process has fenced this one.
            _UnknownOutcomeError: the broker has not said whether the write is committed.
        """
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
            producer.commit_transaction(_CALL_TIMEOUT_S)
        except KafkaException as failure:
            code = failure.args[0].code()
            if code in _FENCED:
                raise _NotWrittenError from failure
            if code == KafkaError.UNKNOWN and offsets:
                raise _UnknownOutcomeError(max(offsets)) from failure
            raise
        return max(offsets)


class _NotWrittenError(Exception):
    """Nothing was written; the write is to be decided again."""


class _UnknownOutcomeError(Exception):
    """A commit failed for a reason that the broker did not give.

    Brokers answer so where a producer is fenced while its transaction ends. `offset` is that of the
    last record, committed or not.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


_FENCED: Final = {
    KafkaError._FENCED,  # noqa: SLF001
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
}
