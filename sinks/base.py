"""The contract of a sink, and the steps by which every row is written exactly once.

`sinks.delivery` delivers a topic to a sink in chunks. A chunk is a range of committed
records of one Kafka partition. Every chunk goes through these steps, in this order:

1. Set up: before the first chunk, the sink creates what it writes to (`Sink.setup`).
2. Plan: the end of the chunk and the checksum of its records are decided, once and for all.
3. Persist: the plan is committed with the offset at which the chunk begins. Only the owner of the
   partition can do that.
4. Write: the sink writes the rows of the chunk (`Sink.write`), possibly several times.
5. Commit: the offset after the chunk. It is never written again.

A process that stops between two steps leaves either nothing (before 3) or a persisted plan. The
next owner of the partition reads the plan and completes it with the same rows. A sink therefore
need not be transactional, but it must recognise a batch that it has written before.

A sink that is `repeatable` has no need of plans: for it, steps 2 and 3 are left out.
"""

import time
from typing import Final, NamedTuple, Protocol

import pyarrow as pa

# It also advances while the process is stopped, or the machine sleeps.
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock_s() -> float:
    """Return the seconds since the machine was started, even while this process was stopped."""
    return time.clock_gettime(_BOOT_CLOCK)


class Batch(NamedTuple):
    """The rows of a chunk, which are the same whenever the chunk is read.

    Attributes:
        topic: the topic of the chunk; `partition`, `first` and `last` are its place on it.
        checksum: of the offsets and bytes of the records on the topic.
        rows: rows of the schema that the sink takes, in the order of the topic; may be empty.
        planned_at_s: `boot_clock_s` before the plan was persisted. Before that nobody has written
            the batch; afterwards another process may have, if this one was considered dead.
        again: the sink may have written the batch before, completely or in part.
    """

    topic: str
    partition: int
    first: int
    last: int
    checksum: int
    rows: pa.RecordBatch
    planned_at_s: float
    again: bool

    @property
    def name(self) -> str:
        """A name that is the same for the same chunk, and different for all others."""
        return f"{self.topic}:{self.partition}:{self.first}-{self.last}:{self.checksum:08x}"


class Row(NamedTuple):
    """What identifies a row beside its position in the event store."""

    project_id: str
    distinct_id: str
    event: str


class Sink(Protocol):
    """A destination of rows. `setup` is called first; `write` is called from one thread."""

    @property
    def repeatable(self) -> bool:
        """Whether readers see the same if rows are written again at any time, in any batches."""

    def setup(self) -> None:
        """Create what is needed to write; may block, and may be called again.

        Raises:
            Unavailable: try again later.
            Misconfigured: stop and correct the configuration.
        """

    def write(self, batch: Batch) -> None:
        """Write the rows; afterwards every reader sees each of them exactly once. May block.

        Even without `again`, two processes can write the same batch at the same time: this one may
        have been stopped after its plan was persisted.

        Raises:
            Unavailable: it is not known whether the rows were written; repeat with `again` set.
        """

    def close(self) -> None:
        """Close connections; rows that were written are not affected."""


class ResumableSink(Sink, Protocol):
    """A sink that knows what it has, which says where to continue (`sinks.resume`)."""

    def stored(self, partition: int, count: int) -> dict[int, Row]:
        """Return up to `count` rows of a partition, those with the highest offsets, by offset.

        Raises:
            Unavailable: try again later.
        """

    def derive(self, partition: int, first: int, last: int) -> None:
        """Derive again what is derived from the rows at a range of offsets, with both its ends.

        Raises:
            Unavailable: try again later.
        """

    def reopened(self) -> "ResumableSink":
        """Return a sink of the same rows that another thread may use meanwhile."""
