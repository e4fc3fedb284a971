"""Events that are in the log and in the store: at the same offsets, as the sink writes them."""

from collections import Counter
from collections.abc import Sequence

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.settings import Settings
from tests.oracles.events import Event
from tests.pipelines.in_process import store_events
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

PROJECT = "shop"


class Recorded:
    """A deployment's event store, and what the store has of it."""

    def __init__(self, settings: Settings, warehouse: Warehouse) -> None:
        self._settings, self._warehouse = settings, warehouse
        self._ends: Counter[int] = Counter()
        warehouse.client.command(f"TRUNCATE TABLE {self.table}")

    @property
    def table(self) -> str:
        """The table of the events."""
        return f"{self._warehouse.settings.clickhouse_database}.events"

    def record(self, events: Sequence[Event], partition: int = 0) -> list[Row]:
        """Append events to the log only; returns them as rows for `keep`."""
        store_events(self._settings, events, PROJECT, partition)
        first = self._ends[partition]
        self._ends[partition] += len(events)
        return [
            Row(PROJECT, one.person, one.event, one.at, one.text, partition, first + place)
            for place, one in enumerate(events)
        ]

    def keep(self, rows: Sequence[Row]) -> None:
        """Write rows to the store."""
        self._warehouse.write(rows)

    def write(self, events: Sequence[Event], partition: int = 0) -> None:
        """Append events to the log, and write them to the store."""
        self.keep(self.record(events, partition))

    def end_transaction(self, partition: int = 0) -> None:
        """Append an aborted record and its marker, which readers of the log never see."""
        producer = Producer(
            {
                "bootstrap.servers": self._settings.bootstrap,
                "transactional.id": "recorded",
                "log_level": 0,
            }
        )
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce(self._settings.topics.events.name, b"", partition=partition)
        producer.flush()
        producer.abort_transaction()
        self._ends[partition] += 2

    def delete_below(self, offset: int, partition: int = 0) -> None:
        """Delete the beginning of the log."""
        admin = AdminClient({"bootstrap.servers": self._settings.bootstrap})
        place = TopicPartition(self._settings.topics.events.name, partition, offset)
        (done,) = admin.delete_records([place]).values()
        done.result(30)
