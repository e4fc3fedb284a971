"""Opens a consumer that returns columns, in bulk or, where that is impossible, by messages."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from confluent_kafka import Consumer, KafkaError, Message

from pipelines.kafka.abi_check import reads_messages
from pipelines.kafka.bulk_consumer import BulkConsumer
from pipelines.kafka.fetched import Fetched, of_messages


class MessageConsumer(Consumer):
    """What `BulkConsumer` does, by confluent-kafka's own means: several times as slow."""

    def __init__(
        self, config: Mapping[str, object], on_error: Callable[[KafkaError], None]
    ) -> None:
        callbacks: dict[str, Any] = {"error_cb": on_error}
        super().__init__({**config, **callbacks})
        self._first: Message | None = None

    def wait(self, timeout_s: float) -> bool:
        """See `BulkConsumer.wait`."""
        self._first = self.poll(timeout_s)
        return self._first is not None

    def fetch(self, max_records: int, timeout_s: float = 0) -> Fetched:
        """See `BulkConsumer.fetch`."""
        first, self._first = self._first, None
        begin = [] if first is None else [first]
        return of_messages([*begin, *self.consume(max_records - len(begin), timeout_s)])


ColumnConsumer: TypeAlias = BulkConsumer | MessageConsumer


def open_consumer(
    config: Mapping[str, object], on_error: Callable[[KafkaError], None]
) -> ColumnConsumer:
    """Open a consumer, which begins to connect; `on_error` hears of what librdkafka reports.

    Raises:
        KafkaException: a property in `config` is unknown to librdkafka, or its value is wrong.
    """
    return (BulkConsumer if reads_messages() else MessageConsumer)(config, on_error)
