"""Faust's producer: what `topic.send` writes with."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, TypeAlias, cast

import faust
from confluent_kafka import KafkaError, Message
from confluent_kafka import Producer as KafkaProducer
from faust.transport import base
from faust.types import TP, RecordMetadata

from pipelines.kafka.records import BY_KEY
from pipelines.worker.app import settings_of
from pipelines.worker.tables import tables_of
from schemas.cluster import client_config

_Header: TypeAlias = tuple[str, bytes]
Passed: TypeAlias = Any  # what Faust passes to `send`


class Producer(base.Producer):
    """Writes into the epoch's transaction; outside of a worker, with a client of its own."""

    _client: KafkaProducer | None = None

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Mapping[str, bytes] | Iterable[_Header] | None,
        *,
        transactional_id: str | None = None,  # noqa: ARG002 (as Faust calls it)
    ) -> Awaitable[RecordMetadata]:
        """Write a record.

        In a worker the record joins the epoch's transaction: the future is done at once with offset
        -1, and the record's timestamp is the end of the epoch, whatever `timestamp` says.
        Elsewhere, as in `faust send`, the future is done when the broker has acknowledged.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[RecordMetadata] = loop.create_future()
        where = BY_KEY if partition is None else partition
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
        if self.app.in_worker:
            tables_of(self.app).outbox.send(
                topic, [key], [value], partition=where, headers=[pairs] if pairs else None
            )
            done.set_result(RecordMetadata(topic, where, TP(topic, where), -1))
            return done

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                loop.call_soon_threadsafe(
                    done.set_exception, faust.exceptions.ProducerSendError(str(error))
                )
            else:
                tp = TP(cast(str, message.topic()), cast(int, message.partition()))
                result = RecordMetadata(*tp, tp, cast(int, message.offset()))
                loop.call_soon_threadsafe(done.set_result, result)

        now_or_given = 0 if timestamp is None else int(timestamp * 1000)  # 0: when it is written
        self._kafka().produce(
            topic, value, key, where, on_delivery, timestamp=now_or_given, headers=pairs or None
        )
        await self.flush()
        return done

    async def send_and_wait(self, *args: Passed, **kwargs: Passed) -> RecordMetadata:
        """Write a record, and wait until `send` has its result."""
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Wait until the client's records are acknowledged; a worker has no client."""
        if self._client is not None:
            await asyncio.to_thread(self._client.flush)

    def supports_headers(self) -> bool:
        """Return that headers are written."""
        return True

    async def create_topic(self, *_: object, **__: object) -> None:
        """Do nothing: `schemas.topics` declares the topics."""

    def _kafka(self) -> KafkaProducer:
        if self._client is None:
            self._client = KafkaProducer(
                client_config(
                    settings_of(self.app).cluster,
                    {"enable.idempotence": True, "partitioner": "murmur2_random"},
                )
            )
        return self._client
