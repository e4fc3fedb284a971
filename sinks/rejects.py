"""Records that are no events, on their way to the rejected topic with the reason."""

import time
from typing import Final

import structlog
from confluent_kafka import KafkaError, Message, Producer

from schemas.avro.codec import Failure
from schemas.errors import Unavailable

log = structlog.get_logger(__name__)

_FLUSH_S: Final = 5.0
_DETAIL_CHARACTERS: Final = 1_000


class Rejects:
    """Produces to the rejected topic; connects with the first record, and not before."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: Producer | None = None
        self._failed: KafkaError | None = None

    def add(self, message: Message, failure: Failure) -> None:
        """Send the record as it stands; it has arrived when `flush` returns."""
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        log.error("not an event", record=place, reason=failure.reason, detail=failure.detail)
        if self._producer is None:
            self._producer = Producer(
                {
                    "bootstrap.servers": self._bootstrap,
                    "enable.idempotence": True,
                    "delivery.timeout.ms": int(_FLUSH_S * 1_000),
                    "log_level": 0,
                }
            )
        self._producer.produce(
            self._topic,
            message.value(),
            message.key(),
            headers=[
                ("reason", failure.reason.encode()),
                ("detail", failure.detail[:_DETAIL_CHARACTERS].encode()),
                ("topic", str(message.topic()).encode()),
                ("partition", str(message.partition()).encode()),
                ("offset", str(message.offset()).encode()),
                ("rejected_at", str(time.time_ns() // 1_000_000).encode()),
                *(message.headers() or []),
            ],
            on_delivery=self._delivered,
        )

    def flush(self) -> None:
        """Wait until everything added is acknowledged.

        Raises:
            Unavailable: something was not; add all of it again.
        """
        if self._producer is None:
            return
        left = self._producer.flush(_FLUSH_S)
        failed, self._failed = self._failed, None
        if left or failed:
            self._producer = None
            raise Unavailable(f"the rejected topic did not take a record: {failed or 'timed out'}")

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._failed = self._failed or error
