"""Writes to the queues of subscriptions: test messages and commands to replay."""

import asyncio
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.cluster import client_config
from schemas.errors import Unavailable
from schemas.notices.delivery import Queued, encode_queued, queue_key
from schemas.settings import Settings

_TIMEOUT_S: Final = 10.0


class DeliveryCommands:
    """Appends records to `avila.deliveries`. Use it on one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.deliveries.name
        self._config = client_config(
            settings.cluster,
            {
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
                "delivery.timeout.ms": int(1_000 * _TIMEOUT_S),
                "log_level": 0,
            },
        )
        self._producer: Producer | None = None

    async def put(self, project_id: str, subscription_id: str, queued: Queued) -> None:
        """Return when the broker has the record.

        Raises:
            Unavailable: it has not been acknowledged in time; it may or may not stand.
        """
        key, value = queue_key(project_id, subscription_id), encode_queued(queued)
        await asyncio.to_thread(self._put, key, value)

    def _put(self, key: bytes, value: bytes) -> None:
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        try:
            if self._producer is None:
                self._producer = Producer(self._config)
            self._producer.produce(self._topic, value, key, on_delivery=delivered)
            left = self._producer.flush(_TIMEOUT_S)
        except (KafkaException, BufferError) as error:
            raise Unavailable(f"Kafka has not acknowledged it: {error}") from error
        if left or failures:
            reason = failures[0].str() if failures else f"no answer within {_TIMEOUT_S:.0f} s"
            raise Unavailable(f"Kafka has not acknowledged it: {reason}")
