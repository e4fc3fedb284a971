"""The partitions that a sink's consumer owns, and the chunks that their records form."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import structlog
from confluent_kafka import Message

from sinks.chunks import Plan, checksum, length, offsets

log = structlog.get_logger(__name__)


class Assigned(NamedTuple):
    """A partition that has just been assigned, and what Kafka knows of it.

    `committed` is the group's offset, -1 without one. Records before `first` have been deleted, and
    `end` is the offset of the next record.
    """

    partition: int
    committed: int
    first: int
    end: int


# Returns the offset to read a partition from. It may block, and raise `Unavailable`.
Begin: TypeAlias = Callable[[Assigned], int]


class Partition:
    """A partition from its assignment until its revocation; each assignment makes a new one.

    Attributes:
        number: its number on the topic.
        start: the offset at which the next chunk begins.
        plan: the persisted plan of that chunk, by this process or an earlier owner.
        messages: the records read from `start` on.
        owned: false once the partition has been revoked.
        end_seen: the end of the partition when it was last reached.
    """

    def __init__(self, number: int, start: int, plan: Plan | None) -> None:
        self.number = number
        self.start = start
        self.plan = plan
        self.messages: list[Message] = []
        self.owned = True
        self.end_seen = start
        self._is_cut = False  # the first records of the planned chunk are deleted

    @property
    def rows(self) -> int:
        """The number of records that could form a chunk: 0 until a planned one is complete."""
        return length(self.messages, self.plan, len(self.messages))

    def skip_to(self, offset: int) -> None:
        """Begin at a later offset, because the records before it are deleted.

        What is left of a planned chunk remains a chunk, for it may have been written already.
        """
        self.start = offset
        if self.plan is not None and self.plan.last < offset:
            self.plan = None
        self._is_cut = self.plan is not None

    def take_chunk(self, limit: int) -> "Chunk | None":
        """Remove and return the next chunk, of up to `limit` records unless it is planned."""
        count = length(self.messages, self.plan, limit)
        if not count:
            return None
        messages = self.messages[:count]
        del self.messages[:count]
        found = offsets(messages)
        plan = Plan(found[-1], checksum(found, [message.value() for message in messages]))
        replayed = plan == self.plan or self._is_cut
        if self.plan is not None and not replayed:
            log.error(
                "a planned chunk has other records now, so its rows may be there twice: the topic "
                "was changed",
                partition=self.number,
                planned=self.plan.text,
                read=plan.text,
            )
        chunk = Chunk(self, self.start, plan, messages, replayed)
        self.start, self.plan, self._is_cut = plan.last + 1, None, False
        return chunk

    def clear(self) -> None:
        """Mark the partition as revoked and drop its records."""
        self.owned = False
        self.messages.clear()


class Chunk(NamedTuple):
    """The next records of a partition; `replayed` if their plan was persisted before."""

    partition: Partition
    first: int
    plan: Plan
    messages: Sequence[Message]
    replayed: bool

    @property
    def owned(self) -> bool:
        """Whether the partition is still owned; otherwise another owner completes the chunk."""
        return self.partition.owned
