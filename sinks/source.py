"""The Kafka end of a delivery: one consumer, the partitions it owns, what is committed for them.

All of it belongs to the one thread that calls it: callbacks of the group run inside `fetch`,
`serve` and the waiting of `commit`, and nowhere else.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.errors import Misconfigured, Unavailable
from sinks.chunks import Plan, checksum, length, offsets, read_plan

log = structlog.get_logger(__name__)

_IDLE_S: Final = 0.5
_RETRY_S: Final = 0.1
_CALL_TIMEOUT_S: Final = 10.0
_SLICE: Final = 10_000
# What a fetch may hold in memory; librdkafka holds at most about as much again.
_FETCH_BYTES: Final = 32 << 20
_QUEUE_KBYTES: Final = 32 << 10


class SourceSettings(NamedTuple):
    """What is read, for whom, and in what helpings."""

    bootstrap: str
    topic: str
    group: str
    session_timeout_ms: int = 10_000
    cut_rows: int = 50_000
    cut_interval_ms: int = 250


class Partition:
    """A partition that is ours, from one assignment to its end; another assignment is another."""

    def __init__(self, number: int, start: int, plan: Plan | None) -> None:
        self.number = number
        self.start = start  # of the next cut
        self.plan = plan  # persisted for it, by us or by who had the partition before
        self.messages: list[Message] = []
        self.owned = True
        self.end_seen = start

    @property
    def rows(self) -> int:
        """How many of the records could be cut now: none while a plan waits for its last one."""
        return length(self.messages, self.plan, len(self.messages))


class Cut(NamedTuple):
    """The next records of a partition, and where they end."""

    partition: Partition
    first: int
    plan: Plan
    messages: Sequence[Message]
    replayed: bool

    @property
    def owned(self) -> bool:
        """Whether the partition is still ours; if not, the cut is another's to finish."""
        return self.partition.owned


class Source:
    """Reads committed records as a member of the group; not thread-safe, any method may block."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._partitions: dict[int, Partition] = {}
        self._paused = False
        self._consumer = self._join()

    def close(self) -> None:
        """Leave the group. Cuts that were persisted and not committed are read again by others."""
        self._drop(list(self._partitions))
        self._consumer.close()

    def reopen(self) -> None:
        """Begin anew from what is committed: the cure when the outcome of a call is in doubt."""
        self.close()
        self._paused = False
        self._consumer = self._join()

    def fetch(self, not_before_s: float) -> None:
        """Read on until a cut is due, by `time.monotonic`.

        It is due when nothing more is at hand and `not_before_s` has come, an interval after that
        in any case, or when there are rows or bytes enough for one.
        """
        self._pause(False)
        latest_s = max(not_before_s, time.monotonic()) + self._settings.cut_interval_ms / 1_000
        rows, size = self._rows(), 0
        while True:
            patience_s = max(0.0, not_before_s - time.monotonic()) if rows else _IDLE_S
            first = self._consumer.poll(patience_s)
            if first is not None:
                # consume(n, t) alone would wait for the whole of n or the whole of t.
                helping = max(0, min(_SLICE, self._settings.cut_rows - rows))
                messages = [first, *self._consumer.consume(helping, 0)]
                self._take(messages)
                rows, size = self._rows(), size + sum(map(len, messages))
                if rows >= self._settings.cut_rows or size >= _FETCH_BYTES:
                    return
            now_s = time.monotonic()
            if now_s >= latest_s or (first is None and (now_s >= not_before_s or not rows)):
                return

    def serve(self, timeout_s: float) -> None:
        """Keep the membership alive, and learn what was taken away, while no record is wanted."""
        self._pause(True)
        message = self._consumer.poll(timeout_s)
        if message is not None:
            self._take([message])

    def cuts(self) -> list[Cut]:
        """Decide the next cut of every partition that has one; its records are then the cut's."""
        found = []
        for partition in self._partitions.values():
            count = length(partition.messages, partition.plan, self._settings.cut_rows)
            if count:
                messages = partition.messages[:count]
                del partition.messages[:count]
                found.append(_cut(partition, messages))
        return found

    def commit(
        self, marks: Mapping[Partition, tuple[int, str]], give_up: Callable[[], bool]
    ) -> None:
        """Commit an offset and its metadata for each partition.

        When it returns, each is committed or its partition is no longer owned. A commit whose
        outcome is not known is repeated unchanged: nothing else is ever committed meanwhile.

        Raises:
            Unavailable: it was given up; what is committed is not known.
            Misconfigured: the broker will never accept it.
        """
        while left := {part: mark for part, mark in marks.items() if part.owned}:
            offsets = [
                TopicPartition(self._settings.topic, part.number, at, text)
                for part, (at, text) in left.items()
            ]
            try:
                answers = self._consumer.commit(offsets=offsets, asynchronous=False) or []
                errors = {answer.partition: answer.error for answer in answers if answer.error}
            except KafkaException as failure:
                errors = dict.fromkeys((part.number for part in left), failure.args[0])
            if not errors:
                return
            for error in errors.values():
                _raise_if_final(error)
            log.warning("offsets not committed yet", errors=sorted(map(str, errors.values())))
            marks = {part: mark for part, mark in left.items() if part.number in errors}
            if give_up():
                raise Unavailable("the offsets could not be committed in time")
            self.serve(_RETRY_S)

    def lag(self) -> dict[int, int]:
        """Return how many offsets each owned partition is behind, by what the broker said last."""
        lags = {}
        for number, partition in self._partitions.items():
            place = TopicPartition(self._settings.topic, number)
            end = self._consumer.get_watermark_offsets(place, cached=True)[1]
            seen = partition.start if partition.messages else partition.end_seen
            lags[number] = max(0, end - max(partition.start, seen))
        return lags

    def _join(self) -> Consumer:
        settings = self._settings
        consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap,
                "group.id": settings.group,
                # Not the newer protocol: its members may commit while they are being fenced.
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": settings.session_timeout_ms,
                "heartbeat.interval.ms": settings.session_timeout_ms // 5,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                # An offset that is not there any more is a loss, and no reason to start over.
                "auto.offset.reset": "error",
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": _QUEUE_KBYTES,
                "socket.timeout.ms": 10_000,
                "reconnect.backoff.max.ms": 1_000,
                **CONSUMER_DEFAULTS,
                # Lost connections are mended by the library; what matters is told by its answers.
                "log_level": 0,
            }
        )
        consumer.subscribe(
            [settings.topic],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )
        return consumer

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Begin each partition where it is committed, with the plan that is persisted there."""
        try:
            committed = consumer.committed(places, timeout=_CALL_TIMEOUT_S) if places else []
            starts = []
            for place in committed:
                if place.error:
                    raise KafkaException(place.error)
                plan = read_plan(place.metadata) if place.offset >= 0 else None
                low, high = consumer.get_watermark_offsets(place, timeout=_CALL_TIMEOUT_S)
                start = low if place.offset < 0 else place.offset
                self._partitions[place.partition] = Partition(place.partition, start, plan)
                if start < low:
                    self._skip_lost(self._partitions[place.partition], low)
                    start = low
                elif start > high:
                    raise Unavailable(
                        f"{place.topic}/{place.partition} ends at {high}, before the offset "
                        f"{start} that was read already: if the topic was made anew, reset the "
                        f"offsets of the group {self._settings.group}"
                    )
                starts.append(TopicPartition(place.topic, place.partition, start))
        except KafkaException as error:
            raise Unavailable(f"the broker does not tell the group's offsets: {error}") from error
        consumer.incremental_assign(starts)
        if starts:
            # Said either way: the library remembers a pause from when they were ours before.
            (consumer.pause if self._paused else consumer.resume)(starts)
            log.info("partitions assigned", offsets={at.partition: at.offset for at in starts})

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        # Nothing to finish: what is persisted is the next owner's to replay, the rest has no trace.
        self._drop([place.partition for place in places])
        if places:
            log.info("partitions revoked", partitions=[place.partition for place in places])

    def _drop(self, numbers: list[int]) -> None:
        for number in numbers:
            partition = self._partitions.pop(number, None)
            if partition is not None:
                partition.owned = False
                partition.messages.clear()

    def _skip_lost(self, partition: Partition, low: int) -> None:
        log.error(
            "offsets were deleted before they were read",
            partition=partition.number,
            first=partition.start,
            last=low - 1,
        )
        partition.start, partition.plan = low, None

    def _pause(self, paused: bool) -> None:
        if paused != self._paused and self._partitions:
            places = [TopicPartition(self._settings.topic, number) for number in self._partitions]
            if paused:
                self._consumer.pause(places)
            else:
                self._consumer.resume(places)
        self._paused = paused

    def _rows(self) -> int:
        return sum(partition.rows for partition in self._partitions.values())

    def _take(self, messages: list[Message]) -> None:
        """Keep the records of partitions that are ours."""
        records = [message for message in messages if message.error() is None]
        if len(records) < len(messages):
            for message in messages:
                self._notice(message)
        for number, group in groupby(records, key=Message.partition):
            partition = self._partitions.get(number if number is not None else -1)
            if partition is not None:
                partition.messages += group

    def _notice(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        number = message.partition()
        partition = self._partitions.get(number if number is not None else -1)
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            if partition is not None:
                partition.end_seen = message.offset() or 0
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            # Begin anew from what is committed: the assignment finds out what is left.
            raise Unavailable(f"partition {number}: {error.str()}")
        elif error.code() in _NO_TOPIC:
            raise Misconfigured(
                f"there is no event store ({error.str()}): create it with `avila topics`, or mend "
                "AVILA_TOPIC_PREFIX"
            )
        else:
            _raise_if_final(error)
            log.warning("reading is held up", error=error.str())


def _cut(partition: Partition, messages: list[Message]) -> Cut:
    found = offsets(messages)
    plan = Plan(found[-1], checksum(found, [message.value() for message in messages]))
    replayed = plan == partition.plan
    if partition.plan is not None and not replayed:
        log.error(
            "a cut that was planned reads otherwise now, so its rows may stand twice: the topic "
            "was changed behind the group's back",
            partition=partition.number,
            planned=partition.plan.text,
            read=plan.text,
        )
    cut = Cut(partition, partition.start, plan, messages, replayed)
    partition.start, partition.plan = plan.last + 1, None
    return cut


_NO_TOPIC: Final = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART}  # noqa: SLF001
_FINAL: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError.INVALID_GROUP_ID,
}


def _raise_if_final(error: KafkaError) -> None:
    if error.code() in _FINAL:
        raise Misconfigured(f"the event store cannot be read: {error.str()}")
    if error.fatal():
        raise KafkaException(error)
