"""What it costs to read and decode an event: `python -m benchmarks.consume`.

Reads the same events as columns, in bulk, and message by message as confluent-kafka hands them out,
in turns in one process, and decodes them by kernels and by the codec. What counts is the CPU time
of the calling thread, the best of several rounds: librdkafka's threads do the same in both ways.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final, NamedTuple

from confluent_kafka import TopicPartition as KafkaPartition
from rich.table import Table

from benchmarks.bench import console, fill, system
from pipelines.kafka.avro_values import ValueDecoder
from pipelines.kafka.bulk_consumer import BulkConsumer
from pipelines.kafka.consumers import ColumnConsumer, MessageConsumer
from pipelines.kafka.records import Records
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.registry.log import Registry
from schemas.settings import Settings

_BATCH: Final = 40_000
_TIMEOUT_S: Final = 30.0
_FILLED_S: Final = 0.5  # until librdkafka has fetched ahead


class Costs(NamedTuple):
    """CPU time of the calling thread in µs an event."""

    read_us: float
    decode_us: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.read_us + self.decode_us


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with system() as settings:
        fill(settings, settings.topics.inbox.name, events=given.events, persons=100_000)
        figures = measure(settings, given.events // settings.partitions // 2, given.rounds)
    table = Table("µs CPU an event", "read", "decode", "together")
    for name, costs in figures.items():
        table.add_row(name, *(f"{cost:.2f}" for cost in (*costs, costs.total)))
    console.print(table)
    columns, messages = figures.values()
    print(
        json.dumps(
            {
                "read_us": round(columns.read_us, 3),
                "decode_us": round(columns.decode_us, 3),
                "ratio": round(messages.total / columns.total, 2),
            }
        )
    )


def measure(settings: Settings, events: int, rounds: int) -> dict[str, Costs]:
    """Read `events` events of a partition `rounds` times in each way; return the lowest costs."""
    schema = files.load("event")
    with Registry(settings.bootstrap) as registry:
        by_kernels, codec = ValueDecoder(schema, registry.find), Codec(schema, registry.find)
        ways: dict[str, tuple[type[ColumnConsumer], Callable[[Records], object]]] = {
            "as columns": (BulkConsumer, lambda records: by_kernels.decode(records.value_column)),
            "message by message": (MessageConsumer, lambda records: codec.decode(records.values)),
        }
        found: dict[str, list[Costs]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                found[name].append(_measure_once(settings, events, *way))
    return {name: Costs(*map(min, zip(*costs, strict=True))) for name, costs in found.items()}


def _measure_once(
    settings: Settings,
    events: int,
    kind: type[ColumnConsumer],
    decode: Callable[[Records], object],
) -> Costs:
    config = {
        "bootstrap.servers": settings.bootstrap,
        "group.id": "consume",
        "enable.auto.commit": False,
        "queued.max.messages.kbytes": 65_536,
    }
    count, read_s, decode_s = 0, 0.0, 0.0
    with closing(kind(config, lambda _: None)) as consumer:
        consumer.assign([KafkaPartition(settings.topics.inbox.name, 0, 0)])
        time.sleep(_FILLED_S)
        while count < events:
            began = time.thread_time()
            if not consumer.wait(_TIMEOUT_S):
                raise RuntimeError(f"only {count} of {events} events came")
            batches = consumer.fetch(_BATCH).records
            read = time.thread_time()
            for records in batches:
                decode(records)
                count += len(records)
            read_s, decode_s = read_s + read - began, decode_s + time.thread_time() - read
    return Costs(1e6 * read_s / count, 1e6 * decode_s / count)


if __name__ == "__main__":
    main()
