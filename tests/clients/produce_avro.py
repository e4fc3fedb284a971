"""Produces an event straight onto Kafka in Avro, with Confluent's serializer and our registry.

pip install 'confluent-kafka[avro,schemaregistry]'
python produce_avro.py localhost:9092 avila.inbox http://localhost:8081
"""

import sys
import uuid
from datetime import UTC, datetime

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def delivered(error: KafkaError | None, _: Message) -> None:
    """Hear what became of a record: without an error, every replica in sync has it."""
    if error is not None:
        sys.exit(f"not delivered: {error}")


def main(bootstrap: str, topic: str, registry_url: str) -> None:
    """Produce one event."""
    # Under the schema that the system has registered for the topic; to send another of your own
    # that can be read as it (fewer fields, say), name it here and let it be registered, with
    # "basic.auth.user.info": "avila:aqt_…", a query token that may write.
    serialize = AvroSerializer(
        SchemaRegistryClient({"url": registry_url}),
        conf={
            "auto.register.schemas": False,
            "use.latest.version": True,
            "subject.name.strategy.type": "TOPIC",
        },
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            # As Java clients partition: all events of a person must be on one partition.
            "partitioner": "murmur2_random",
        }
    )
    event = {
        "event_id": str(uuid.uuid4()),  # sent again with it, the event counts once
        "project_id": "default",
        "distinct_id": "ada",
        "event": "signup",
        "timestamp": datetime.now(UTC),
        "properties": '{"plan": "pro"}',
    }
    producer.produce(
        topic,
        key=f"{event['project_id']}:{event['distinct_id']}",
        value=serialize(event, SerializationContext(topic, MessageField.VALUE)),
        on_delivery=delivered,
    )
    producer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
