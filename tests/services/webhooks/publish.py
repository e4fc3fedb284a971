"""What tests publish in place of workers, and definitions in place of the query service."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.definitions import Definition
from schemas.notices.delivery import DeliveryState, decode_dead, decode_state
from schemas.notices.subscription import (
    Subscription,
    SubscriptionDefinition,
    decode_subscription,
)
from schemas.operators.segment import SEGMENT
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import Record, produce, read_all


def define(settings: Settings, definition: Definition) -> None:
    """Write a definition to its topic."""
    record = Record(msgspec.json.encode(definition), definition.key)
    produce(settings.cluster, settings.topics.definitions.name, [record])


def subscribe(
    settings: Settings, name: str, destination: Mapping[str, Any], *types: str, **fields: Any
) -> SubscriptionDefinition:
    """Define a subscription; fields of its record may be given, too.

    It is of the project `shop` by default.
    """
    body = {"destination": destination, "events": [{"type": one} for one in types]}
    own = {key: fields.pop(key) for key in ("active", "max_age_s") if key in fields}
    subscription: Subscription = decode_subscription(msgspec.json.encode(body | own))
    now = time.time_ns() // 1_000_000
    numbers: dict[str, Any] = {"version": 1, "created_at": now, "updated_at": now, **fields}
    numbers.setdefault("project_id", "shop")
    made = SubscriptionDefinition(id=name, subscription=subscription, **numbers)
    define(settings, made)
    return made


def unsubscribe(settings: Settings, definition: SubscriptionDefinition) -> None:
    """Delete a subscription."""
    produce(settings.cluster, settings.topics.definitions.name, [Record(None, definition.key)])


def enter(
    settings: Settings, persons: Sequence[str], change: str = "entered", project: str = "shop"
) -> None:
    """Publish that persons entered the segment `buyers` of a project."""
    topic = SEGMENT.changes[0].topic(settings.topics).name
    schema = load("segment-change")
    with Registry(settings.cluster) as registry:
        encoder = Encoder(schema, registry.register(value_subject(topic), schema))
    now = time.time_ns() // 1_000_000
    values = encoder.encode_records(
        {
            "project_id": project,
            "segment_id": "buyers",
            "version": 1,
            "person_id": person,
            "change": change,
            "at": now,
            "event_at": None,
        }
        for person in persons
    )
    keys = (f"{project}/buyers/{person}".encode() for person in persons)
    records = [Record(value, key) for value, key in zip(values, keys, strict=True)]
    produce(settings.cluster, topic, records)


def states(settings: Settings) -> dict[str, DeliveryState]:
    """How far the subscriptions of `shop` are."""
    found: dict[str, DeliveryState] = {}
    for record in read_all(settings.cluster, settings.topics.delivery_state.name):
        name, value = (record.key() or b"").decode().removeprefix("shop/"), record.value()
        if value is None:
            found.pop(name, None)
        else:
            found[name] = decode_state(value)
    return found


def dead_ids(settings: Settings) -> list[str]:
    """The ids of dead messages."""
    records = read_all(settings.cluster, settings.topics.dead_deliveries.name)
    return [decode_dead(record.value() or b"").message.id for record in records]
