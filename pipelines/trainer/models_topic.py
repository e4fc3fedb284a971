"""`avila.models`: the latest record of every model, from which training continues."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import structlog

from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox, TopicPartition
from pipelines.trainer.fold import TaskFold
from pipelines.trainer.model_log import (
    ModelCodec,
    StoredModel,
    TaskId,
    model_key,
    newest,
    parse_model_key,
)
from schemas.errors import InvalidRecord
from schemas.examples.columns import Task

log = structlog.get_logger(__name__)


class RefusedModel(NamedTuple):
    """A record that is not one of a model of ours, and why."""

    task: TaskId
    name: str
    reason: str


class StoredModels(NamedTuple):
    """The models of a partition.

    `readable` has the models from which training can continue, by definition; `unreadable` the
    definitions all of whose records were refused; `refused` each of these records.
    """

    readable: dict[TaskId, list[StoredModel]]
    unreadable: frozenset[TaskId]
    refused: tuple[RefusedModel, ...] = ()


class ModelsTopic:
    """Writes and reads the models of a partition, which are in the partition of that number."""

    def __init__(self, topic: str, codec: ModelCodec, outbox: Outbox) -> None:
        self._topic = topic
        self._codec = codec
        self._outbox = outbox

    def publish(self, partition: int, fold: TaskFold, position: int, log_id: str) -> int:
        """Write the models of a definition, as they are at `position`; return how many bytes.

        A model that cannot be written keeps its earlier record, from which it would be restored.
        """
        task, progress, size = TaskId.of(fold.task), fold.progress(position), 0
        for learner in fold.learners:
            key = model_key(task, learner.name)
            try:
                value = self._codec.encode(fold.task, learner, progress, log_id)
            except InvalidRecord as error:
                log.error("model not written", key=key.decode(), reason=error.detail)
            else:
                self._outbox.send(self._topic, [key], [value], partition=partition)
                size += len(value)
        return size

    def delete(self, partition: int, task: Task) -> None:
        """Delete the models of a definition that has ended."""
        keys = [model_key(TaskId.of(task), name) for name in task.models]
        self._outbox.send(self._topic, keys, [None] * len(keys), partition=partition)

    def read(
        self, partition: int, committed: int, log_id: str, reader: Reader
    ) -> Iterator[StoredModels | None]:
        """Yield None while reading, and in the end the models of a log that end at `committed`."""
        latest: dict[bytes, bytes] = {}
        for records in reader.read(TopicPartition(self._topic, partition), 0):
            if records is not None:
                for key, value in zip(records.keys, records.values, strict=True):
                    latest.pop(key or b"", None)
                    if value is not None:
                        latest[key or b""] = value
            yield None
        yield self._readable(latest, committed, log_id)

    def _readable(self, latest: dict[bytes, bytes], committed: int, log_id: str) -> StoredModels:
        readable: defaultdict[TaskId, list[StoredModel]] = defaultdict(list)
        refused: list[RefusedModel] = []
        for key, value in latest.items():
            try:
                task, name = parse_model_key(key)
            except ValueError as error:
                log.error("not a model", key=key, reason=str(error))
                continue
            try:
                model = self._codec.decode(value)
                _check(model, task, name, committed, log_id)
                readable[task].append(model)
            except InvalidRecord as error:
                log.warning("model refused", key=key.decode(), reason=error.detail)
                refused.append(RefusedModel(task, name, error.detail))
        unreadable = frozenset({one.task for one in refused} - readable.keys())
        return StoredModels(dict(readable), unreadable, tuple(refused))


def _check(model: StoredModel, task: TaskId, name: str, committed: int, log_id: str) -> None:
    position = model.progress.position
    if (model.task, model.name) != (task, name):
        raise InvalidRecord("invalid_model", "it is stored under the key of another")
    if not model.is_of(log_id):
        raise InvalidRecord("invalid_model", "it was learned from another cluster or topic")
    if position > committed:
        raise InvalidRecord(
            "invalid_model", f"it ends at offset {position}, and {committed} is committed"
        )


def earliest(readable: Mapping[TaskId, Sequence[StoredModel]]) -> int | None:
    """Return the first offset to fold again, None if there are no models."""
    return min((newest(models).open_from for models in readable.values()), default=None)
