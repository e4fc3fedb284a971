"""Puts what happens into the queues of the subscriptions that ask for it, exactly once.

It reads the topics that some subscription names, and commits how far it has read them in the
transaction that writes the queues. A record that was published after a subscription was answered
is never missed: before a batch is routed, all definitions that were written by then are known.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import Message as KafkaMessage

from schemas.avro.codec import Codec
from schemas.avro.files import history, load
from schemas.follower import Partition
from schemas.notices.delivery import Message, encode_queued, queue_key
from schemas.notices.events import NoticeSource, sources
from schemas.notices.subscription import SubscriptionDefinition, decode
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings
from services.notifier.definitions import NotifierDefinitions
from services.notifier.loops import KafkaLoop
from services.notifier.member import GroupMember, Record

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.1
_MAX_BODY_BYTES: Final = 262_144


class Router(KafkaLoop):
    """Reads the topics of events and writes `avila.deliveries`."""

    def __init__(self, settings: Settings, registry: SchemaRegistry) -> None:
        super().__init__("router")
        self._settings = settings
        self._sources = sources(settings.topics)
        self._codecs = {
            topic: Codec(load(source.schema), registry.find, shipped=history(source.schema))
            for topic, source in self._sources.items()
        }

    def serve(self) -> None:
        """Route records until `stopped`."""
        definitions = NotifierDefinitions(self._settings, SubscriptionDefinition.KIND, decode)
        member: GroupMember

        def assigned(committed: dict[Partition, int | None]) -> dict[Partition, int]:
            new = {
                one: since
                for one, at in committed.items()
                if at is None and (since := self._since(definitions, one.topic)) is not None
            }
            begins = member.offsets_since(new) if new else {}
            return begins | {one: at for one, at in committed.items() if at is not None}

        member = GroupMember(self._settings, "router", [], assigned, lambda _: None)
        try:
            with member:
                definitions.reach(member.end_of(definitions.partition))
                member.subscribe(self._topics(definitions))
                while not self.stopped.is_set():
                    self.ready = True
                    messages = member.poll(_POLL_S)
                    definitions.refresh()
                    if messages:
                        definitions.reach(member.end_of(definitions.partition))
                        self._route(member, definitions, messages)
                    member.subscribe(self._topics(definitions))
        finally:
            definitions.close()

    def _topics(self, definitions: NotifierDefinitions[SubscriptionDefinition]) -> list[str]:
        """Return the topics that some subscription asks for; incidents may be told to any."""
        asked = {
            choice.type for one in definitions.all.values() for choice in one.subscription.events
        }
        wanted = [topic for topic, source in self._sources.items() if asked & set(source.types)]
        if definitions.all:
            wanted.append(self._settings.topics.incidents.name)
        return sorted(set(wanted))

    def _since(
        self, definitions: NotifierDefinitions[SubscriptionDefinition], topic: str
    ) -> int | None:
        """Return when the first subscription to a topic got what it asks for now (ms)."""
        types = set(self._sources[topic].types)
        return min(
            (
                one.updated_at
                for one in definitions.all.values()
                if topic == self._settings.topics.incidents.name
                or any(choice.type in types for choice in one.subscription.events)
            ),
            default=None,
        )

    def _route(
        self,
        member: GroupMember,
        definitions: NotifierDefinitions[SubscriptionDefinition],
        messages: Sequence[KafkaMessage],
    ) -> None:
        by_topic: dict[str, list[KafkaMessage]] = {}
        offsets: dict[Partition, int] = {}
        for message in messages:
            topic, number, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert number is not None
            assert offset is not None
            by_topic.setdefault(topic, []).append(message)
            offsets[Partition(topic, number)] = offset + 1
        subscriptions: dict[str, list[SubscriptionDefinition]] = {}
        for one in definitions.all.values():
            subscriptions.setdefault(one.project_id, []).append(one)
        records = [
            record
            for topic, some in by_topic.items()
            for record in self._records(topic, some, subscriptions)
        ]
        member.commit(records, offsets)

    def _records(
        self,
        topic: str,
        messages: Sequence[KafkaMessage],
        subscriptions: Mapping[str, Sequence[SubscriptionDefinition]],
    ) -> Iterator[Record]:
        source = self._sources[topic]
        decoded = self._codecs[topic].decode([message.value() for message in messages])
        for failure in decoded.failures:
            log.error("notice_unreadable", topic=topic, reason=failure.detail)
        rows = decoded.batch.to_pylist()
        for row, place in zip(rows, decoded.rows.tolist(), strict=True):
            message = messages[place]
            for one in subscriptions.get(row["project_id"], ()):
                if _takes(one, source, row, int(message.timestamp()[1])):
                    queued = message_of(one, source, row, message)
                    key = queue_key(one.project_id, one.id)
                    name = self._settings.topics.deliveries.name
                    yield Record(name, key, encode_queued(queued))


def _takes(
    one: SubscriptionDefinition, source: NoticeSource, row: Mapping[str, Any], published_ms: int
) -> bool:
    """Whether a subscription is told of a record, which was published at a time (ms)."""
    subscription = one.subscription
    if not subscription.active or published_ms < one.created_at:
        return False
    if not (
        subscription.takes(source.type_of(row), row[source.definition])
        or one.id in row.get("notify", ())
    ):
        return False
    at = row.get("at")
    if subscription.max_age_s is None or at is None:
        return True
    return published_ms - int(at) <= 1_000 * subscription.max_age_s


def message_of(
    one: SubscriptionDefinition,
    source: NoticeSource,
    row: Mapping[str, Any],
    record: KafkaMessage,
) -> Message:
    """Return the message about a record for a subscription; the same however often it is made."""
    published_ms = int(record.timestamp()[1])
    place = f"{one.project_id}/{one.id}/{one.created_at}/{record.topic()}/{record.partition()}"
    digest = hashlib.sha256(f"{place}/{record.offset()}".encode()).hexdigest()[:32]
    event_type = source.type_of(row)
    data = {name: value for name, value in row.items() if name != "notify"}
    body = body_of(event_type, published_ms, data)
    if len(body) > _MAX_BODY_BYTES:
        body = body_of(event_type, published_ms, {"too_large": True, **_scalars(data)})
    key = (record.key() or b"").decode("utf-8", "replace")
    return Message(
        id=f"msg_{digest}",
        key=f"{source.name}:{key}",
        type=event_type,
        created_at=published_ms,
        body=body.decode(),
    )


def body_of(event_type: str, at_ms: int, data: Mapping[str, Any]) -> bytes:
    """Return the body of a message, as Standard Webhooks recommends it."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms // 1_000))
    return msgspec.json.encode(
        {"type": event_type, "timestamp": f"{at}.{at_ms % 1_000:03}Z", "data": data}
    )


def _scalars(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not long: of a record that is too large to be sent."""
    kept = (str, int, float, bool, type(None))
    return {
        name: value
        for name, value in data.items()
        if isinstance(value, kept) and len(str(value)) <= 1_000
    }
