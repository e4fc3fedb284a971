"""Reads a funnel's figures from their topic, beside nothing but Kafka and the schema registry.

pip install 'confluent-kafka[avro,schemaregistry]'
python consume_funnel.py localhost:9092 avila.funnels http://localhost:8081 default checkout
"""

import json
import sys
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

Record = dict[str, Any]


def main(bootstrap: str, topic: str, registry_url: str, project: str, funnel: str) -> None:
    """Print what the REST API answers at the same moment: persons per step, in total and by day."""
    read = AvroDeserializer(SchemaRegistryClient({"url": registry_url}))
    context = SerializationContext(topic, MessageField.VALUE)
    newest: dict[bytes, Record] = {}
    for message in whole_topic(bootstrap, topic):
        key = message.key() or b""
        if not key.startswith(f"{project}/{funnel}/".encode()):
            continue
        if message.value() is None:  # the figures of what has been changed or deleted
            newest.pop(key, None)
        else:
            newest[key] = read(message.value(), context)
    print(json.dumps(added_up(list(newest.values()))))


def whole_topic(bootstrap: str, topic: str) -> list[Message]:
    """Every committed record up to the present end; to go on from there, do not stop at the end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "consume-funnel",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        messages: list[Message] = []
        unread = set(partitions)
        while unread:
            message = consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise KafkaException(error)
        return messages
    finally:
        consumer.close()


def added_up(records: list[Record]) -> Record:
    """The figures of the version that counts, those of the partitions added up."""
    version = counting_version(records)
    totals: list[int] = []
    days: dict[str, list[int]] = {}
    late_dropped = 0
    for record in records:
        if record["version"] != version:
            continue
        late_dropped += record["late_dropped"]
        if record["day"] is None:
            totals = plus(totals, record["reached"])
        else:
            day = record["day"].isoformat()
            days[day] = plus(days.get(day, []), record["reached"])
    shown = {day: reached for day, reached in sorted(days.items()) if any(reached)}
    return {"totals": totals, "days": shown, "late_dropped": late_dropped}


def counting_version(records: list[Record]) -> int:
    """The highest version that is live on all partitions; the highest of all if none is."""
    versions = {record["version"] for record in records}
    backfilling = {one["version"] for one in records if one["backfilling_to"] is not None}
    return max(versions - backfilling or versions, default=0)


def plus(sums: list[int], more: list[int]) -> list[int]:
    """Add step by step."""
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more


if __name__ == "__main__":
    main(*sys.argv[1:])
