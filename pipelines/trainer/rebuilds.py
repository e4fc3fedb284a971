"""Learns models again from the log, beside the live fold, one batch of past records at a time.

It is for models whose records do not hold what they learn with, such as trees, and for those whose
records were refused. Until they have caught up, scorers keep what was last published of them.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Final

import structlog
from confluent_kafka import KafkaException

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Records, TopicPartition
from pipelines.trainer.examples_reader import ExamplesReader
from pipelines.trainer.fold import TaskFold
from pipelines.trainer.model_log import ModelCodec, TaskId
from pipelines.trainer.partition import TrainerPartition
from schemas.cluster import Address
from schemas.errors import AvilaError

log = structlog.get_logger(__name__)

_MAX_WAITS: Final = 20  # of a tenth of a second each
_LAST_BATCH: Final = 200  # records
_END: Final = object()


class Rebuilds:
    """The rebuilds of all partitions of a worker."""

    def __init__(
        self, cluster: Address, topic: str, codec: ModelCodec, examples: ExamplesReader
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._codec = codec
        self._examples = examples
        self._running: dict[int, Iterator[None]] = {}

    def step(self, number: int, partition: TrainerPartition) -> None:
        """Take a partition's rebuilds a batch further. What fails is tried again later."""
        running = self._running.setdefault(number, self._run(number, partition))
        try:
            ended = next(running, _END) is _END
        except KafkaException as error:
            log.warning("learning again waits", partition=number, reason=str(error))
            ended = True
        if ended:
            self._running.pop(number, None)

    def drop(self, number: int) -> None:
        """End the rebuilds of a partition that is given up."""
        self._running.pop(number, None)

    def _run(self, number: int, partition: TrainerPartition) -> Iterator[None]:
        """Fold the log from where the models begin, until they are at the partition's position.

        The last batch and the hand-over are one step: the partition must not move on meanwhile.
        """
        folds = self._begin(partition)
        begin = min((fold.begin for fold in folds.values()), default=partition.position)
        source = TopicPartition(self._topic, number)
        with closing(Reader(self._cluster)) as reader:
            first, _ = reader.bounds(source)
            if first > begin:
                log.warning(
                    "models are learned from a part of the log",
                    partition=number,
                    first_gone=begin,
                    first_kept=first,
                )
            while begin < partition.position:
                end, waits = partition.position, 0
                for records in reader.read(source, begin, end):
                    if records is None:
                        waits += 1
                    else:
                        self._fold(folds, records)
                        begin = records.next_offset
                    if end - begin > _LAST_BATCH or waits > _MAX_WAITS:
                        yield
                begin = end
        for task, fold in folds.items():
            if task in partition.folds and partition.folds[task].begin == fold.begin:
                partition.join(task, fold)
                log.info("models learned again", definition=task.name, learned=fold.counts.learned)

    def _begin(self, partition: TrainerPartition) -> dict[TaskId, TaskFold]:
        folds = {}
        for id_, names in list(partition.rebuilds.items()):
            live = partition.folds[id_]
            try:
                learners = [self._codec.create(live.task, name) for name in names]
            except AvilaError as error:
                log.error("models not learned", definition=id_.name, reason=str(error))
                partition.rebuilds.pop(id_)
            else:
                folds[id_] = TaskFold(live.task, learners, live.begin)
        return folds

    def _fold(self, folds: dict[TaskId, TaskFold], records: Records) -> None:
        for offset, examples in self._examples.read(records):
            id_ = TaskId.of(examples.task)
            fold = folds.get(id_)
            if fold is None or offset < fold.begin or fold.task != examples.task:
                continue
            try:
                fold.fold(examples, offset)
            except MemoryError:
                raise
            except Exception as error:
                log.error("models not learned", definition=id_.name, exc_info=error)
                fold.learners.clear()
                del folds[id_]
