"""Write the events of a file to the inbox, in their order."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from schemas.avro import files
from schemas.cluster import client_config
from schemas.errors import Unavailable
from schemas.registry.client import open_registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from services.ingest.encode import Encoder
from services.ingest.events import Row

_FLUSH_TIMEOUT_S: Final = 60.0
_INTERRUPTED_S: Final = 5.0
_BATCH: Final = 1_000


class InboxWriter:
    """Writes events; `rate` is how many a second at most.

    Attributes:
        acknowledged: how many events the broker has.
    """

    def __init__(self, settings: Settings, rate: int | None) -> None:
        self.acknowledged = 0
        self._rate = rate
        self._topic = settings.topics.inbox.name
        self._failures: list[KafkaError] = []
        with closing(open_registry(settings)) as registry:
            schema_id = registry.register(value_subject(self._topic), files.load("event"))
        self._encoder = Encoder(schema_id)
        self._producer = Producer(
            client_config(
                settings.cluster,
                {
                    "enable.idempotence": True,
                    "partitioner": "murmur2_random",
                    "compression.type": "lz4",
                    "linger.ms": 20,
                    "on_delivery": self._delivered,
                },
            )
        )

    def write(self, rows: Sequence[Row], progress: Callable[[int], None]) -> None:
        """Write events and return when the broker has all of them; `progress` gets the number sent.

        Raises:
            Unavailable: the broker did not take all of them.
            KeyboardInterrupt: what was sent until then may have arrived.
        """
        started, received_at = time.monotonic(), time.time_ns() // 1_000_000
        size = _BATCH if self._rate is None else max(1, min(_BATCH, self._rate // 10))
        try:
            for begin in range(0, len(rows), size):
                for row in rows[begin : begin + size]:
                    self._send(*self._encoder.encode(row, received_at))
                done = min(begin + size, len(rows))
                progress(done)
                wait = 0.0
                if self._rate is not None:
                    wait = max(0.0, started + done / self._rate - time.monotonic())
                self._producer.poll(wait)
                if self._failures:
                    break
            unsent = self._producer.flush(_FLUSH_TIMEOUT_S)
        except KeyboardInterrupt:
            self._producer.flush(_INTERRUPTED_S)
            raise
        if unsent or self._failures:
            reason = self._failures[0].str() if self._failures else "it does not answer"
            raise Unavailable(f"the broker did not take all events: {reason}")

    def _send(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key)
                return
            except BufferError:
                self._producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._failures.append(error)
