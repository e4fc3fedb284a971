"""Finds the messages that a command sends once more."""

import time
from collections.abc import Container
from typing import Final

import msgspec
import structlog
from confluent_kafka import Message as KafkaMessage
from msgspec.structs import replace

from schemas.follower import Partition
from schemas.notices.delivery import Message, Replay, decode_dead, decode_queued, queue_key
from schemas.settings import Settings
from services.notifier.member import GroupMember, read_partitions

log = structlog.get_logger(__name__)

MAX_REPLAYED: Final = 10_000
MAX_REPLAYED_BYTES: Final = 64 << 20
# The time for which other deliveries may wait for a replay.
_READ_S: Final = 20.0
# A message is queued after it was created, by a clock that may be behind.
_CLOCKS_MS: Final = 3_600_000


def find_replayed(
    settings: Settings,
    member: GroupMember,
    number: int,
    key: tuple[str, str],
    asked: Replay,
    waiting: Container[str],
    now_ms: int,
) -> list[Message]:
    """Return the messages, in the order in which they were queued, as new ones with their own ids.

    They are those that are dead, or all that were queued, of what is kept, but for those whose ids
    are `waiting`: the first 10,000, or 64 MB. Blocks while it reads the partition `number` of the
    topic, for 20 seconds at most; what it has not read by then is logged.

    Raises:
        KafkaException: Kafka does not answer.
    """
    topics = settings.topics
    topic = topics.deliveries.name if asked.all else topics.dead_deliveries.name
    partition = Partition(topic, number)
    record_key = queue_key(*key)
    found: dict[str, Message] = {}
    size = 0
    deadline = time.monotonic() + _READ_S

    def take(record: KafkaMessage) -> bool:
        nonlocal size
        if record.key() == record_key:
            message = _message_in(record, all_of_them=asked.all)
            if message is not None and _is_asked(message, asked) and message.id not in waiting:
                size += len(message.body) if message.id not in found else 0
                found.setdefault(message.id, message)
        if time.monotonic() > deadline:
            log.warning("replay_cut", subscription=key, read_until=record.offset())
            return False
        return len(found) < MAX_REPLAYED and size < MAX_REPLAYED_BYTES

    since = max(0, asked.since - _CLOCKS_MS)
    begin = member.offsets_since({partition: since})[partition] if since else 0
    read_partitions(settings, {partition: begin}, take)
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
