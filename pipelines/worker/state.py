"""What the epochs ask of the state that a worker keeps in memory."""

from collections.abc import Iterator
from typing import Protocol

from pipelines.kafka.records import TopicPartition


class State(Protocol):
    """The state of all partitions that a worker owns; called on the Kafka thread only."""

    def missing_offset(self, source: TopicPartition) -> int:
        """Return where to continue in a partition for which the group has no committed offset.

        Raises:
            Misconfigured: the partition was processed before, and nothing says how far.
        """

    def restore(self, source: TopicPartition, committed: int) -> Iterator[None]:
        """Restore the partition's state as of offset `committed`, in steps."""

    def drop(self, source: TopicPartition) -> None:
        """Drop the partition's state, in memory only."""

    def flush(self, positions: dict[TopicPartition, int]) -> None:
        """Put what must be logged into the outbox, before a commit of `positions`."""

    @property
    def backfilling(self) -> bool:
        """Whether a part of the state has yet to catch up with history."""

    @property
    def live_per_past(self) -> float:
        """How long live events are processed, if they wait, per time that `catch_up` takes."""

    def catch_up(self) -> None:
        """Backfill one batch of past events; what it emits is in the outbox."""

    @property
    def snapshot_due(self) -> bool:
        """Whether it is time for the next snapshot."""

    def snapshot(self, positions: dict[TopicPartition, int]) -> None:
        """Begin to write the state to disk; as it is now, it is committed at `positions`."""
