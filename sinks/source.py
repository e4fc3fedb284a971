"""The Kafka side of a delivery: a member of the group, its partitions, and their commits.

Everything runs in the thread that calls it: the group's callbacks run only within `fetch`, `serve`,
and the waiting of `commit`.
"""

import time
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import Misconfigured, Unavailable
from sinks.chunks import read_plan
from sinks.consumer import NO_TOPIC, SourceSettings, join, raise_if_final
from sinks.partitions import Assigned, Begin, Chunk, Partition

__all__ = ["Source", "SourceSettings"]

log = structlog.get_logger(__name__)

_IDLE_S: Final = 0.5
_RETRY_S: Final = 0.1
_CALL_TIMEOUT_S: Final = 10.0
_BATCH: Final = 10_000
# Of the records of one fetch; librdkafka buffers about as much (`sinks.consumer`).
_FETCH_BYTES: Final = 32 << 20


class Source:
    """Reads committed records as a member of the group. Not thread-safe; calls may block.

    `on_skipped` is called with the number of offsets that were deleted before they were read, and
    `begin` with each partition that is assigned.
    """

    def __init__(
        self,
        settings: SourceSettings,
        on_skipped: Callable[[int], None],
        begin: Begin = lambda assigned: max(0, assigned.committed),
    ) -> None:
        self._settings = settings
        self._begin = begin
        self._on_skipped = on_skipped
        self._partitions: dict[int, Partition] = {}
        self._paused = False
        self._consumer = self._join()

    def close(self) -> None:
        """Leave the group. Others complete the chunks that are planned but not committed."""
        self._drop(list(self._partitions))
        self._consumer.close()

    def reopen(self) -> None:
        """Start again from the committed offsets, if the outcome of a call is unknown."""
        self.close()
        self._paused = False
        self._consumer = self._join()

    def fetch(self, not_before_s: float) -> None:
        """Read until a chunk is due; `not_before_s` is a time of `time.monotonic`.

        It is due after `not_before_s` if no more records are available, an interval later in any
        case, or as soon as there are enough rows or bytes for a chunk.
        """
        self._pause(False)
        latest_s = max(not_before_s, time.monotonic()) + self._settings.chunk_interval_ms / 1_000
        rows, size = self._rows(), 0
        while True:
            timeout_s = max(0.0, not_before_s - time.monotonic()) if rows else _IDLE_S
            first = self._consumer.poll(timeout_s)
            if first is not None:
                # consume(n, t) alone would wait until it has n records or t has passed.
                count = max(0, min(_BATCH, self._settings.chunk_rows - rows))
                messages = [first, *self._consumer.consume(count, 0)]
                self._take(messages)
                rows, size = self._rows(), size + sum(map(len, messages))
                if rows >= self._settings.chunk_rows or size >= _FETCH_BYTES:
                    return
            now_s = time.monotonic()
            if now_s >= latest_s or (first is None and (now_s >= not_before_s or not rows)):
                return

    def serve(self, timeout_s: float) -> None:
        """Keep the membership alive, and process revocations, without reading records."""
        self._pause(True)
        message = self._consumer.poll(timeout_s)
        if message is not None:
            self._take([message])

    def chunks(self) -> list[Chunk]:
        """Remove and return the next chunk of every partition that has one."""
        limit = self._settings.chunk_rows
        found = [partition.take_chunk(limit) for partition in self._partitions.values()]
        return [chunk for chunk in found if chunk is not None]

    def commit(
        self, marks: Mapping[Partition, tuple[int, str]], give_up: Callable[[], bool]
    ) -> None:
        """Commit an offset with its metadata for each partition.

        Afterwards each is committed, or its partition is no longer owned. A commit with an unknown
        outcome is repeated unchanged, and nothing else is committed before it succeeds.

        Raises:
            Unavailable: `give_up` returned true; it is unknown what is committed.
            Misconfigured: the broker will never accept the commit.
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
                raise_if_final(error)
            log.warning("offsets not committed yet", errors=sorted(map(str, errors.values())))
            marks = {part: mark for part, mark in left.items() if part.number in errors}
            if give_up():
                raise Unavailable("the offsets could not be committed in time")
            self.serve(_RETRY_S)

    def lag(self) -> dict[int, int]:
        """Return the lag of each owned partition in offsets, as the broker last reported it."""
        lags = {}
        for number, partition in self._partitions.items():
            place = TopicPartition(self._settings.topic, number)
            end = self._consumer.get_watermark_offsets(place, cached=True)[1]
            seen = partition.start if partition.messages else partition.end_seen
            lags[number] = max(0, end - max(partition.start, seen))
        return lags

    def _join(self) -> Consumer:
        return join(self._settings, self._assigned, self._revoked)

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Start partitions at their committed offsets, with the plans persisted there."""
        try:
            committed = consumer.committed(places, timeout=_CALL_TIMEOUT_S) if places else []
            starts = []
            for place in committed:
                if place.error:
                    raise KafkaException(place.error)
                low, high = consumer.get_watermark_offsets(place, timeout=_CALL_TIMEOUT_S)
                known = max(-1, place.offset)
                start = self._begin(Assigned(place.partition, known, low, high))
                plan = read_plan(place.metadata) if start == known else None
                self._partitions[place.partition] = Partition(place.partition, start, plan)
                if start < low:
                    self._skip_deleted(self._partitions[place.partition], low)
                    start = low
                elif start > high:
                    raise Unavailable(
                        f"{place.topic}/{place.partition} ends at {high}, before the committed "
                        f"offset {start}: if the topic was created again, reset the offsets of "
                        f"the group {self._settings.group}"
                    )
                starts.append(TopicPartition(place.topic, place.partition, start))
        except KafkaException as error:
            raise Unavailable(f"the group's offsets cannot be read: {error}") from error
        consumer.incremental_assign(starts)
        if starts:
            # In either case: the library remembers a pause from an earlier assignment.
            (consumer.pause if self._paused else consumer.resume)(starts)
            log.info(
                "partitions assigned",
                topic=self._settings.topic,
                offsets={at.partition: at.offset for at in starts},
            )

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        # The next owner completes persisted plans; of other records nothing has been written.
        self._drop([place.partition for place in places])
        if places:
            log.info("partitions revoked", partitions=[place.partition for place in places])

    def _drop(self, numbers: list[int]) -> None:
        for number in numbers:
            partition = self._partitions.pop(number, None)
            if partition is not None:
                partition.clear()

    def _skip_deleted(self, partition: Partition, low: int) -> None:
        skipped = low - partition.start
        log.error(
            "offsets skipped: they were deleted before they were read",
            partition=partition.number,
            first_skipped=partition.start,
            last_skipped=low - 1,
            skipped=skipped,
        )
        self._on_skipped(skipped)
        partition.skip_to(low)

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
        """Keep the records of owned partitions."""
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
            # Start again from the committed offsets: the assignment finds what is left.
            raise Unavailable(f"partition {number}: {error.str()}")
        elif error.code() in NO_TOPIC:
            raise Misconfigured(
                f"there is no topic {self._settings.topic} ({error.str()}): create it with "
                "`avila topics`, or correct AVILA_TOPIC_PREFIX"
            )
        else:
            raise_if_final(error)
            topic = self._settings.topic
            log.warning("the topic cannot be read yet", topic=topic, error=error.str())
