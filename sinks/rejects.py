"""The rejected topic: records that are not events, with the reason."""

import time
from typing import Final

import structlog
from confluent_kafka import KafkaError, Message, Producer

from schemas.avro.codec import Failure
from schemas.errors import Unavailable

log = structlog.get_logger(__name__)

_FLUSH_TIMEOUT_S: Final = 5.0
_MAX_DETAIL_CHARS: Final = 1_000


class Rejects:
    """Produces to the rejected topic; connects when the first record is added."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: Producer | None = None
        self._failed: KafkaError | None = None

    def add(self, message: Message, failure: Failure) -> None:
        """Send the record unchanged; it is acknowledged when `flush` returns."""
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        log.error("not an event", record=place, reason=failure.reason, detail=failure.detail)
        if self._producer is None:
            self._producer = Producer(
                {
                    "bootstrap.servers": self._bootstrap,
                    "enable.idempotence": True,
                    "delivery.timeout.ms": int(_FLUSH_TIMEOUT_S * 1_000),
                    "log_level": 0,
                }
            )
        self._producer.produce(
            self._topic,
            message.value(),
            message.key(),
            headers=[
                ("reason", failure.reason.encode()),
                ("detail", failure.detail[:_MAX_DETAIL_CHARS].encode()),
                ("topic", str(message.topic()).encode()),
                ("partition", str(message.partition()).encode()),
                ("offset", str(message.offset()).encode()),
                ("rejected_at", str(time.time_ns() // 1_000_000).encode()),
                *(message.headers() or []),
            ],
            on_delivery=self._delivered,
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
