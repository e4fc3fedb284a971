"""Send rejected records to the inbox again, where they are tracked like any other record.

An event keeps its id; one without an id gets it from the place where it was first read, and the
same one whenever it is sent again. So within the window of `AVILA_DEDUP_WINDOW_S` an event counts
once, however often it is sent again. What is still no event is rejected again, and says in a header
where it was first read; of several such records only the newest is sent.

A Tracker that starts judges the last records of the inbox by its present settings, and takes those
that it would accept for known. So the id of an event that had none is not the one that it would
have had there.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from msgspec import Meta

from schemas.avro.codec import Codec, Encoder
from schemas.avro.files import load
from schemas.cluster import client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import Unavailable
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.rejected import MAX_KEY_BYTES, Header, own_fields, received_headers
from schemas.settings import Settings
from services.query.views.rejected import headers_of, project_of

FIRST_READ: Final = "avila_first_read"
MAX_SCANNED: Final = 200_000
_TIMEOUT_S: Final = 30.0
_CALL_TIMEOUT_S: Final = 5.0


class Reinjected(NamedTuple):
    """What became of some rejected records; `next` says where the others begin."""

    found: int
    sent: int
    lost: int
    next: dict[int, int] | None


class _Record(NamedTuple):
    """A rejected record, as it was received."""

    first_read: str
    partition: int
    rejected_at: int
    key: bytes | None
    value: bytes | None
    headers: list[Header]


class Reinjection:
    """Reads `avila.rejected` and writes to the inbox; its methods block."""

    def __init__(self, settings: Settings, registry: SchemaRegistry) -> None:
        self._cluster = settings.cluster
        self._rejected = settings.topics.rejected.name
        self._inbox = settings.topics.inbox.name
        self._registry = registry
        # Anybody writes to the inbox: a schema that the registry does not have is not guessed.
        self._codec = Codec(load("event"), registry.find)

    def run(
        self, project: str, reason: str, after: Mapping[int, int] | None, limit: int
    ) -> Reinjected:
        """Send up to `limit` records of a project that were rejected for a reason; "" is any.

        `after` has the offset to begin at, by partition; by default the oldest that is kept. Those
        that were cut, and that the inbox keeps no more, are lost.

        Raises:
            Unavailable: Kafka does not answer; some may have been sent, and may be sent again.
        """
        try:
            with contextlib.closing(self._consumer()) as consumer:
                newest: dict[str, _Record] = {}
                found = lost = 0
                positions = self._begin(consumer, after)
                reading = self._read(consumer, positions)
                for message in reading:
                    headers = headers_of(message)
                    own = own_fields(headers)
                    key = (message.key() or b"").decode(errors="replace")
                    if project_of(own, key) != project or reason not in {"", own.get("reason")}:
                        continue
                    found += 1
                    record = self._whole(message, own, headers)
                    if record is None:
                        lost += 1
                        continue
                    newest.pop(record.first_read, None)
                    newest[record.first_read] = record
                    if len(newest) >= limit:
                        break
                ends = {
                    one.partition: consumer.get_watermark_offsets(one, _CALL_TIMEOUT_S)[1]
                    for one in self._partitions(consumer)
                }
                left = any(positions.get(number, 0) < end for number, end in ends.items())
            sent = self._send(list(newest.values()))
        except KafkaException as error:
            raise Unavailable(f"Kafka does not answer: {error}") from error
        return Reinjected(found, sent, lost, positions if left else None)

    def _consumer(self) -> Consumer:
        own = {
            "group.id": "avila-reinjection",  # required, but it never joins it
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            **CONSUMER_DEFAULTS,
        }
        return Consumer(client_config(self._cluster, own))

    def _partitions(self, consumer: Consumer) -> list[TopicPartition]:
        topic = consumer.list_topics(self._rejected, _CALL_TIMEOUT_S).topics[self._rejected]
        return [TopicPartition(self._rejected, number) for number in sorted(topic.partitions)]

    def _begin(self, consumer: Consumer, after: Mapping[int, int] | None) -> dict[int, int]:
        """Assign all partitions; return the offsets where they begin, which reading moves on."""
        positions = {}
        assigned = []
        for one in self._partitions(consumer):
            first, end = consumer.get_watermark_offsets(one, _CALL_TIMEOUT_S)
            begin = min(max(first, (after or {}).get(one.partition, first)), end)
            positions[one.partition] = begin
            assigned.append(TopicPartition(self._rejected, one.partition, begin))
        consumer.assign(assigned)
        return positions

    def _read(self, consumer: Consumer, positions: dict[int, int]) -> Iterator[Message]:
        """Yield records up to the present ends, and note in `positions` what was read."""
        behind = set(positions)
        for _ in range(MAX_SCANNED):
            if not behind:
                return
            message = consumer.poll(_CALL_TIMEOUT_S)
            if message is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            error, partition = message.error(), message.partition() or 0
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    raise KafkaException(error)
                behind.discard(partition)
                positions[partition] = max(positions[partition], message.offset() or 0)
                continue
            positions[partition] = (message.offset() or 0) + 1
            yield message

    def _whole(
        self, message: Message, own: Mapping[str, str], headers: list[Header]
    ) -> _Record | None:
        """Return a rejected record as it was received; None if it is no longer kept whole."""
        place = f"{own.get('topic', '')}/{own.get('partition', '')}/{own.get('offset', '')}"
        given = dict(received_headers(headers))
        first = given.get(FIRST_READ) or place
        record = _Record(
            first_read=first.decode(errors="replace") if isinstance(first, bytes) else first,
            partition=int(own.get("partition", "0")),
            rejected_at=int(own.get("rejected_at", "0")),
            key=message.key(),
            value=message.value(),
            headers=[one for one in received_headers(headers) if one[0] != FIRST_READ],
        )
        is_cut = len(message.value() or b"") < int(own.get("length", "0"))
        if not is_cut and len(message.key() or b"") < MAX_KEY_BYTES:
            return record
        return self._from_inbox(record, own)

    def _from_inbox(self, record: _Record, own: Mapping[str, str]) -> _Record | None:
        if own.get("topic") != self._inbox:
            return None
        offset = int(own.get("offset", "0"))
        with contextlib.closing(self._consumer()) as consumer:
            consumer.assign([TopicPartition(self._inbox, record.partition, offset)])
            message = consumer.poll(_CALL_TIMEOUT_S)
        if message is None or message.error() is not None or message.offset() != offset:
            return None
        headers = [one for one in headers_of(message) if one[0] != FIRST_READ]
        return record._replace(key=message.key(), value=message.value(), headers=headers)

    def _send(self, records: list[_Record]) -> int:
        if not records:
            return 0
        schema = load("event")
        encoder = Encoder(schema, self._registry.register(value_subject(self._inbox), schema))
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failures.append(error)

        producer = Producer(
            client_config(self._cluster, {"enable.idempotence": True, "linger.ms": 5})
        )
        for one in records:
            producer.produce(
                self._inbox,
                self._identified(one, encoder),
                one.key,
                partition=one.partition,
                timestamp=one.rejected_at,
                headers=[*one.headers, (FIRST_READ, one.first_read.encode())],
                on_delivery=delivered,
            )
            producer.poll(0)
        unsent = producer.flush(_TIMEOUT_S)
        if unsent or failures:
            reason = failures[0].str() if failures else "it does not answer"
            raise Unavailable(f"the broker did not take all records: {reason}")
        return len(records)

    def _identified(self, record: _Record, encoder: Encoder) -> bytes | None:
        """Return the value; an event without an id has one of the place where it was first read."""
        value = record.value
        if value is None or value[:1] != b"\0":
            return value
        rows: list[dict[str, Any]] = self._codec.decode([value]).batch.to_pylist()
        if not rows or rows[0].get("event_id"):
            return value
        name = f"{record.first_read}/again"
        [identified] = encoder.encode_records([{**rows[0], "event_id": name}])
        return identified


class ReinjectRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rejected records to send again: those of a reason, or of any without one.

    `after` is the `next` of the answer before.
    """

    reason: Annotated[str, Meta(max_length=200)] = ""
    after: dict[int, Annotated[int, Meta(ge=0)]] | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000


class ReinjectResponse(msgspec.Struct, frozen=True):
    """How many rejected records there were, how many were sent again, and how many are lost.

    Of records that were rejected repeatedly, the newest is sent. `next` is where the others begin;
    null if these were all.
    """

    found: int
    sent: int
    lost: int
    next: dict[int, int] | None
