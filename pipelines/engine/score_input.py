"""Scores as an input of definitions that ask for them: records of `avila.predictions`.

    avila.predictions ─▶ follow ─▶ take ─▶ cells of persons' rows ─▶ logged by the same commit

Scores are read in no group: partition i of `avila.predictions` has the persons of partition i of
the event store, so whoever processes the one takes the other. A partition's position in the scores
is a part of its log (`LogMeta.scores_position`). Rows that scores have changed are logged by the
commit that moves the position past these scores, so that after a restart each score is either in
the rows, or read again.

Events and scores are two logs. A score is taken between two epochs; it changes a cell that no event
changes, so the order of both makes no difference to a person's row. Scores of a person are taken
in the order of their own log.

A partition begins at the end of its scores as of the commit that first sees a definition which asks
for them, and stops when the last such definition has ended. Without any, nothing is read.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipelines.columnar.arithmetic import Float64s
from pipelines.columnar.string_column import StringColumn
from pipelines.engine.constants import TOTAL
from pipelines.engine.instance import AnyInstance
from pipelines.engine.partition import Partition
from pipelines.kafka.retry import CALL_TIMEOUT_S, QUIET, log_client_error
from schemas.avro import files
from schemas.avro.codec import Codec
from schemas.cluster import Address, client_config
from schemas.consumer_defaults import CONSUMER_DEFAULTS
from schemas.operators.prediction import PREDICTION
from schemas.registry.client import SchemaRegistry

log = structlog.get_logger(__name__)

_BATCH: Final = 10_000
_SCHEMA: Final = PREDICTION.changes[0].schema


class ScoreInput:
    """Reads the scores of the partitions that ask for them. For one thread; calls may block."""

    def __init__(self, cluster: Address, topic: str, registry: SchemaRegistry) -> None:
        self._cluster, self._topic = cluster, topic
        self._decode = Codec(
            files.load(_SCHEMA), registry.find, shipped=files.history(_SCHEMA)
        ).decode
        self._consumer: Consumer | None = None
        self._waiting: dict[int, list[Message]] = {}  # of the partitions that are read

    def follow(self) -> None:
        """Read up to 10,000 of the next records; does not wait for any."""
        if self._consumer is None or not self._waiting:
            return
        for message in self._consumer.consume(_BATCH, 0):
            number = message.partition()
            if (error := message.error()) is not None:
                log_client_error(error)
            elif number in self._waiting:
                self._waiting[number].append(message)

    def take(self, number: int, partition: Partition, now_ms: int) -> None:
        """Give the definitions of a partition the scores that `follow` has read."""
        asking = [one for one in partition.instances.values() if one.predictions and one.keeps_rows]
        if not asking:
            self.drop(number)
            partition.scores_position = None
            return
        if number not in self._waiting and not self._begin(number, partition):
            return
        for instance in asking:
            if instance.scores_since is None:
                instance.scores_since = now_ms
                instance.unpublished.add(TOTAL)
        messages, self._waiting[number] = self._waiting[number], []
        if messages:
            self._give(partition, asking, messages)
            partition.scores_position = (messages[-1].offset() or 0) + 1

    def drop(self, number: int) -> None:
        """Stop reading a partition."""
        if self._consumer is not None and self._waiting.pop(number, None) is not None:
            self._consumer.incremental_unassign([TopicPartition(self._topic, number)])

    def _begin(self, number: int, partition: Partition) -> bool:
        """Read a partition from its position on; from its end, if it has none."""
        if self._consumer is None:
            self._consumer = Consumer(client_config(self._cluster, _CONFIG))
        place = TopicPartition(self._topic, number)
        try:
            if partition.scores_position is None:
                _, end = self._consumer.get_watermark_offsets(place, timeout=CALL_TIMEOUT_S)
                partition.scores_position = end
            place.offset = partition.scores_position
            self._consumer.incremental_assign([place])
        except KafkaException as error:
            log.warning("scores are not read yet", partition=number, reason=str(error))
            return False
        self._waiting[number] = []
        return True

    def _give(
        self, partition: Partition, asking: Sequence[AnyInstance], messages: Sequence[Message]
    ) -> None:
        askers: defaultdict[tuple[str, str], list[AnyInstance]] = defaultdict(list)
        for instance in asking:
            for prediction in instance.predictions:
                askers[instance.key.project, prediction].append(instance)
        for (project, prediction), newest in _newest(messages, askers).items():
            persons, scores = list(newest), self._scores(list(newest.values()))
            projects = StringColumn.of(_texts([project] * len(persons)))
            slots = partition.persons.intern(
                projects, StringColumn.of(_texts(persons)), np.arange(len(persons))
            )
            for instance in askers[project, prediction]:
                instance.take_scores(len(partition.persons), prediction, slots, scores)

    def _scores(self, values: Sequence[bytes | None]) -> Float64s:
        """Return the scores of records; NaN for tombstones, and for what is withheld."""
        scores = np.full(len(values), np.nan)
        filled = [row for row, value in enumerate(values) if value is not None]
        decoded = self._decode([values[row] for row in filled])
        for failure in decoded.failures:
            log.error("not a score", reason=failure.reason, detail=failure.detail)
        shown = ~np.asarray(decoded.batch.column("withheld").to_pylist(), np.bool_)
        rows = np.array(filled, np.int64)[decoded.rows]
        scores[rows[shown]] = decoded.batch.column("score").to_numpy()[shown]
        return scores


def _newest(
    messages: Sequence[Message], asked: Collection[tuple[str, str]]
) -> Mapping[tuple[str, str], Mapping[str, bytes | None]]:
    """Return the last value of each person, for the predictions that are asked for."""
    newest: defaultdict[tuple[str, str], dict[str, bytes | None]] = defaultdict(dict)
    for message in messages:
        try:
            project, prediction, person = (message.key() or b"").decode().split("/", 2)
        except ValueError:
            log.error("not a score", key=message.key(), offset=message.offset())
            continue
        if (project, prediction) in asked:
            newest[project, prediction][person] = message.value()
    return newest


def _texts(strings: Sequence[str]) -> pa.StringArray:
    return pa.array(strings, pa.string())


_CONFIG: Final[dict[str, object]] = {
    "group.id": "avila-scores",  # required, but the worker never joins it
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": 16_384,
    **CONSUMER_DEFAULTS,
    **QUIET,
}
