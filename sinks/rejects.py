"""The rejected topic: records that cannot be decoded, with the reason."""

from typing import Final, cast

import structlog
from confluent_kafka import KafkaError, Message, Producer

from schemas.avro.codec import Failure
from schemas.cluster import Address, client_config
from schemas.errors import Unavailable
from schemas.rejected import Header, Origin, rejected

log = structlog.get_logger(__name__)

_FLUSH_TIMEOUT_S: Final = 5.0


class Rejects:
    """Produces to the rejected topic; connects when the first record is added."""

    def __init__(self, cluster: Address, topic: str) -> None:
        self._cluster = cluster
        self._topic = topic
        self._producer: Producer | None = None
        self._failed: KafkaError | None = None

    def add(self, message: Message, failure: Failure) -> None:
        """Send the record, cut if it is long; it has arrived when `flush` returns."""
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        log.error("record rejected", record=place, reason=failure.reason, detail=failure.detail)
        if self._producer is None:
            self._producer = Producer(
                client_config(
                    self._cluster,
                    {
                        "enable.idempotence": True,
                        "delivery.timeout.ms": int(_FLUSH_TIMEOUT_S * 1_000),
                        "log_level": 0,
                    },
                )
            )
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        origin = Origin(topic or "", partition or 0, offset or 0)
        own = rejected(
            origin,
            failure.reason,
            failure.detail,
            message.key(),
            message.value(),
            cast(list[Header], message.headers() or []),
        )
        self._producer.produce(
            self._topic, own.value, own.key, headers=own.headers, on_delivery=self._delivered
        )

    def flush(self) -> None:
        """Wait until all added records are acknowledged.

        Raises:
            Unavailable: some are not; add all of them again.
        """
        if self._producer is None:
            return
        left = self._producer.flush(_FLUSH_TIMEOUT_S)
        failed, self._failed = self._failed, None
        if left or failed:
            self._producer = None
            raise Unavailable(f"the rejected topic lacks a record: {failed or 'timed out'}")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._failed = self._failed or error
