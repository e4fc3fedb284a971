"""Reads the records of `avila.deliveries`."""

import msgspec
import structlog
from confluent_kafka import Message as KafkaMessage

from schemas.notices.delivery import Message, Replay, decode_queued, parse_queue_key
from services.notifier.definitions import Key

log = structlog.get_logger(__name__)


def read_queued(record: KafkaMessage) -> tuple[Key | None, Message | Replay | None]:
    """Return the subscription and the content of a record; None for what cannot be read."""
    key = key_of(record.key())
    try:
        return key, decode_queued(record.value() or b"")
    except msgspec.DecodeError as error:
        log.error("delivery_unreadable", offset=record.offset(), reason=str(error))
        return key, None


def key_of(key: bytes | str | None) -> Key | None:
    """Return the subscription of a record key; None if it is none."""
    try:
        return parse_queue_key(key if isinstance(key, bytes) else b"")
    except ValueError:
        return None
