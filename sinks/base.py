"""The contract between the event store and a sink, and the order that makes a row stand once.

The loop in `sinks.delivery` carries cuts of the event store to a sink. A cut is a run of committed
records of one Kafka partition. For every cut, in this order and never in another:

1. Set up: the sink makes what it writes to (`Sink.setup`), before the first cut.
2. Plan: where the cut ends and the checksum of its records are decided, once and for all.
3. Persist: the plan is committed beside the offset that the cut starts at. Only its owner can.
4. Write: the sink takes the cut's rows (`Sink.write`), however often it is told to.
5. Commit: the offset after the cut. From now on it is history.

A process that stops between any two steps leaves either no trace (before 3) or a persisted plan,
which the next owner of the partition reads first and carries through with the same rows. So a sink
need not be transactional: it has to recognise a batch that it has taken before.
"""

import time
from typing import Final, NamedTuple, Protocol

import pyarrow as pa

# Since the machine was started; it goes on while a process is stopped and a laptop asleep.
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock_s() -> float:
    """The seconds since this machine was started, those that this process was stopped included."""
    return time.clock_gettime(_BOOT_CLOCK)


class Batch(NamedTuple):
    """One cut as a sink gets it: the same cut gives the same rows whenever it is read.

    Attributes:
        topic: the topic of the cut, with `partition`, its `first` offset and its `last`.
        checksum: of the cut's offsets and bytes as they stand on the topic.
        rows: `sinks.rows.ROWS`, in the order of the topic; may be empty.
        planned_at_s: `boot_clock_s` before the plan was persisted. Until then nobody had written
            the batch; since then another process may have, if this one was taken for dead.
        again: the batch may stand in the sink already, wholly or in part.
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
        """The same for the same cut, and different for any other."""
        return f"{self.topic}:{self.partition}:{self.first}-{self.last}:{self.checksum:08x}"


class Sink(Protocol):
    """Something that rows are written to. `write` is called from one thread, `setup` before it."""

    def setup(self) -> None:
        """Make what is needed to write; may block, and may be called again.

        Raises:
            Unavailable: try again later.
            Misconfigured: stop and mend the set-up.
        """

    def write(self, batch: Batch) -> None:
        """Take the rows; after it returns each stands exactly once, for every reader. May block.

        The easy mistake is to trust `again` alone: without it the batch may be written by two
        processes at the same time, if this one was stopped after its plan was persisted.

        Raises:
            Unavailable: whether the rows stand is not known; call again with `again` set.
        """

    def close(self) -> None:
        """Let go of connections; nothing that was written depends on it."""
