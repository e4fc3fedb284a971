"""Finds the messages that a command sends once more."""

from typing import Final

import msgspec
from confluent_kafka import Message as KafkaMessage
from msgspec.structs import replace

from schemas.follower import Partition
from schemas.notices.delivery import Message, Replay, decode_dead, decode_queued, queue_key
from schemas.settings import Settings
from services.notifier.member import read_partitions

MAX_REPLAYED: Final = 10_000
_TIMEOUT_S: Final = 60.0


def find_replayed(
    settings: Settings, number: int, key: tuple[str, str], asked: Replay, now_ms: int
) -> list[Message]:
    """Return the messages, in the order in which they were queued, as new ones with their own ids.

    They are those that are dead, or all that were queued, of what is kept; the first 10,000. Blocks
    while it reads the partition `number` of the topic.

    Raises:
        KafkaException: Kafka does not answer.
    """
    topics = settings.topics
    topic = topics.deliveries.name if asked.all else topics.dead_deliveries.name
    record_key = queue_key(*key)
    found: dict[str, Message] = {}

    def take(record: KafkaMessage) -> bool:
        if record.key() == record_key:
            message = _message_in(record, all_of_them=asked.all)
            if message is not None and _is_asked(message, asked):
                found.setdefault(message.id, message)
        return len(found) < MAX_REPLAYED

    read_partitions(settings, {Partition(topic, number): 0}, take, timeout_s=_TIMEOUT_S)
    return [replace(message, created_at=now_ms) for message in found.values()]


def _message_in(record: KafkaMessage, *, all_of_them: bool) -> Message | None:
    value = record.value() or b""
    try:
        if not all_of_them:
            return decode_dead(value).message
        queued = decode_queued(value)
    except msgspec.DecodeError:
        return None  # as `Deliverer` has logged when it came
    return queued if isinstance(queued, Message) else None


def _is_asked(message: Message, asked: Replay) -> bool:
    if asked.id is not None and message.id != asked.id:
        return False
    return asked.since <= message.created_at < asked.until
