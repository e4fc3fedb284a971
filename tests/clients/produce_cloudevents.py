"""Produces events straight onto Kafka as CloudEvents in JSON; needs `pip install confluent-kafka`.

python produce_cloudevents.py localhost:9092 avila.inbox
"""

import json
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaError, Message, Producer


def binary(attributes: dict[str, str], data: dict[str, Any]) -> dict[str, Any]:
    """A record in binary mode: the attributes are headers, the value is the data alone."""
    headers = {f"ce_{name}": text for name, text in attributes.items()}
    headers["content-type"] = "application/json"
    return {"value": json.dumps(data), "headers": headers}


def structured(attributes: dict[str, str], data: dict[str, Any]) -> dict[str, Any]:
    """A record in structured mode: the value is the whole event."""
    value = json.dumps(attributes | {"data": data})
    return {"value": value, "headers": {"content-type": "application/cloudevents+json"}}


def delivered(error: KafkaError | None, _: Message) -> None:
    """Hear what became of a record: without an error, every replica in sync has it."""
    if error is not None:
        sys.exit(f"not delivered: {error}")


def main(bootstrap: str, topic: str) -> None:
    """Produce one event in each mode."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            # As Java clients partition: all events of a person must be on one partition.
            "partitioner": "murmur2_random",
        }
    )
    project, person = "default", "ada"
    for event, mode, properties in (
        ("signup", binary, {"plan": "pro"}),
        ("invite", structured, {"count": 2}),
    ):
        attributes = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),  # sent again with it, the event counts once
            "source": "shop",
            "type": event,
            "subject": person,
            "time": datetime.now(UTC).isoformat(),
            "project": project,
        }
        record = mode(attributes, properties)
        producer.produce(topic, key=f"{project}:{person}", on_delivery=delivered, **record)
    producer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
