"""When recounts run: soon after an event came too late, and one of a project at a time.

A recount takes along whatever is behind in its project by then, in one partition after the other.
Then the project pauses for as long as that took, so that late events, which anybody may send, take
no more than half of the time that a worker has for the past.

Those that run take turns, and share the memory for events. One that is due begins at once while
fewer than `MAX_RUNNING` run; otherwise the project that waits longest begins when one ends.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException

from pipelines.engine.events import MatchedEvents
from pipelines.engine.instance import AnyInstance
from pipelines.engine.partition import Partition
from pipelines.engine.recount import Recount
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Records, TopicPartition
from pipelines.matching.match import Key
from schemas.cluster import Address

log = structlog.get_logger(__name__)

_DELAY_S: Final = 2.0  # more late events may follow the first
_RETRY_S: Final = 10.0
_GONE_S: Final = 3_600.0
MAX_RUNNING: Final = 16  # projects: each holds its rows a second time, and has clients of Kafka
_MAX_BYTES: Final = 512 << 20  # of the events that all of them hold
_MIN_SHARES: Final = 4  # of that memory
_QUEUED_KBYTES: Final = 16_384  # of records that one reads ahead

# Decodes records that follow an offset, and matches some definitions.
MatchPast = Callable[[Records, int, Collection[Key]], MatchedEvents]


class _Run:
    """The recount of a project that is under way."""

    def __init__(self, steps: Iterator[int]) -> None:
        self.steps = steps
        self.number = -1  # of the partition that it is at
        self.begun_at = time.monotonic()


class RecountQueue:
    """The recounts of all partitions of a worker.

    `begin_of` returns an offset of a partition before which some instances select no events, `make`
    an instance of a definition that holds nothing; `publish` publishes changes of persons.
    """

    def __init__(
        self,
        cluster: Address,
        topic: str,
        match: MatchPast,
        begin_of: Callable[[int, Sequence[AnyInstance]], int],
        make: Callable[[Key], AnyInstance],
        publish: Callable[[int, list[tuple[AnyInstance, Any]]], None],
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._match = match
        self._begin_of = begin_of
        self._make = make
        self._publish = publish
        self._running: dict[str, _Run] = {}  # by project; the first one's turn is next
        self._due_at: dict[str, float] = {}  # of the projects that were behind lately

    def due(self, partitions: Mapping[int, Partition]) -> bool:
        """Whether `step` has anything to do."""
        return bool(self._running or self._due(partitions))

    def _due(self, partitions: Mapping[int, Partition]) -> list[str]:
        """Return the projects whose recount is to begin, the one that waits longest first."""
        now = time.monotonic()
        behind = {project for partition in partitions.values() for project in partition.behind}
        for project in behind:
            self._due_at.setdefault(project, now + _DELAY_S)
        for project, due_at in list(self._due_at.items()):
            if project not in behind and due_at <= now:
                del self._due_at[project]
        due = [project for project in behind - self._running.keys() if self._due_at[project] <= now]
        return sorted(due, key=self._due_at.__getitem__)

    def step(self, partitions: Mapping[int, Partition]) -> None:
        """Take one recount a step further. What fails is tried again later."""
        for project in self._due(partitions)[: MAX_RUNNING - len(self._running)]:
            self._running[project] = _Run(self._steps(project, partitions))
        if not self._running:
            return
        project = next(iter(self._running))
        run = self._running.pop(project)
        try:
            run.number = next(run.steps)
            self._running[project] = run
        except StopIteration:
            now = time.monotonic()
            self._due_at[project] = max(self._due_at.get(project, now), now + (now - run.begun_at))
        except KafkaException as error:
            log.warning("recount waits", project=project, reason=str(error))
            self._due_at[project] = time.monotonic() + _RETRY_S

    def drop(self, number: int) -> None:
        """End the recounts of a partition that is given up."""
        for project, run in list(self._running.items()):
            if run.number == number:
                del self._running[project]

    def _steps(self, project: str, partitions: Mapping[int, Partition]) -> Iterator[int]:
        """Recount a project in all partitions that are behind; yields the number of each."""
        for number in sorted(partitions):
            partition = partitions.get(number)
            if partition is None or project not in partition.behind:
                continue
            yield number
            source = TopicPartition(self._topic, number)
            behind = partition.behind[project]
            begin = self._begin_of(number, behind)
            with closing(Reader(self._cluster, _QUEUED_KBYTES)) as reader:
                first, _ = reader.bounds(source)
                if first > begin:
                    log.warning("recount refused", project=project, partition=number, gone=first)
                    self._due_at[project] = time.monotonic() + _GONE_S
                    for instance in behind:
                        instance.settle(partition.position)
                    continue
                read = self._reading(reader, source)
                recount = Recount(partition, behind, self._make, read, begin, self._max_bytes)
                for _ in recount.run(_now_ms, partial(self._publish, number)):
                    yield number

    def _max_bytes(self) -> int:
        """Return how many bytes of events one recount may hold: less if more of them run."""
        others = len(self._running)  # without the one whose turn it is
        return _MAX_BYTES // max(_MIN_SHARES, others + 1)

    def _reading(
        self, reader: Reader, source: TopicPartition
    ) -> Callable[[int, int, Collection[Key]], Iterator[MatchedEvents | None]]:
        def read(begin: int, end: int, keys: Collection[Key]) -> Iterator[MatchedEvents | None]:
            for records in reader.read(source, begin, end):
                if records is None:
                    yield None
                else:
                    yield self._match(records, begin, keys)
                    begin = records.next_offset

        return read


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
