"""What the trainer asks of the codec of `avila.models`, and the keys of the topic."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pipelines.trainer.fold import Progress
from pipelines.trainer.learner import Learner
from schemas.examples.columns import Task
from schemas.model_keys import ModelKey


class TaskId(NamedTuple):
    """What names one tag of one version of a definition: its models are independent of others."""

    project_id: str
    prediction_id: str
    version: int
    tag: int

    @classmethod
    def of(cls, task: Task) -> "TaskId":
        """Return the id of a task."""
        return cls(task.project_id, task.prediction_id, task.version, task.tag)

    @property
    def name(self) -> str:
        """What logs call it."""
        return f"{self.project_id}/{self.prediction_id}/{self.version}"


class StoredModel(NamedTuple):
    """A record of `avila.models` that can be read.

    `is_of` returns whether its offsets belong to the log of an id (`Reader.log_id`).
    `restore` returns the model as it was at `progress`. It raises `InvalidRecord` if the record
    does not fit the task, or does not hold what the model learns with. `drifts` is how many drifts
    of its losses have been found since it is the champion.
    """

    task: TaskId
    name: str
    is_of: Callable[[str], bool]
    progress: Progress
    restore: Callable[[Task], Learner]
    drifts: int = 0


class ModelCodec(Protocol):
    """Makes models, and keeps them in records of `avila.models`."""

    def create(self, task: Task, name: str) -> Learner:
        """Return the model called `name`, which has learned nothing.

        Raises:
            AvilaError: there is no such model, or it cannot learn this task.
        """

    def encode(self, task: Task, learner: Learner, progress: Progress, log_id: str) -> bytes:
        """Return the record's value. `log_id` is of the log that the offsets belong to.

        Raises:
            InvalidRecord: it could not be read again: it is too large, or a number not finite.
        """

    def decode(self, value: bytes) -> StoredModel:
        """Read a record's value. Nothing in it is executed.

        Raises:
            InvalidRecord: it is not a record of the schema, or does not hold what it should.
        """


def newest(stored: Sequence[StoredModel]) -> Progress:
    """Return how far a definition is folded, by the newest of its models' records."""
    return max((model.progress for model in stored), key=lambda progress: progress.position)


def model_key(task: TaskId, model: str) -> bytes:
    """Return the key of a model's record."""
    return ModelKey(*task, model).encode()


def parse_model_key(key: bytes) -> tuple[TaskId, str]:
    """Return what a record is of, and which model.

    Raises:
        ValueError: it is not a key of ours.
    """
    of = ModelKey.parse(key)
    return TaskId(of.project_id, of.prediction_id, of.version, of.tag), of.model
