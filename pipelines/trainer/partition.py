"""All that is learned from one partition of `avila.examples`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import structlog

from pipelines.trainer.examples_reader import Logged, skip
from pipelines.trainer.fold import TaskFold
from pipelines.trainer.model_log import ModelCodec, StoredModel, TaskId, newest
from schemas.errors import AvilaError
from schemas.examples.columns import Task

log = structlog.get_logger(__name__)

# Of a definition. Full records have some 300 kB, nearly all of it the window of their quality.
PUBLISH_INTERVAL_MS: Final = 1_000
_BYTES_PER_S: Final = 65_536


class TrainerPartition:
    """Folds the records of a partition, each into the fold of its definition.

    Folds continue from `stored`, the models of each definition as of some offset up to `committed`.
    Definitions in `refolded`, whose models cannot be read, are folded again from their first
    record. All others whose records are below `committed` have ended.

    Attributes:
        position: the offset below which all is folded.
        rebuilds: the models of each definition that have to be learned again.
    """

    def __init__(
        self,
        codec: ModelCodec,
        committed: int = 0,
        stored: Mapping[TaskId, Sequence[StoredModel]] | None = None,
        refolded: frozenset[TaskId] = frozenset(),
    ) -> None:
        self._codec = codec
        self._committed = committed
        self._stored = dict(stored or {})
        self._refolded = refolded
        self.position = committed
        self.folds: dict[TaskId, TaskFold] = {}
        self.rebuilds: dict[TaskId, list[str]] = {}
        self._dirty: set[TaskId] = set()
        self._next_at: dict[TaskId, int] = {}
        self._failed: set[TaskId] = set()

    def fold(self, logged: Logged) -> None:
        """Fold a record. A definition that fails is learned no further; the others continue."""
        offset, examples = logged
        self.position = max(self.position, offset + 1)
        task = TaskId.of(examples.task)
        if examples.ended:
            self._end(task, offset)
            return
        if task in self._failed:
            return
        fold = self.folds.get(task)
        if fold is not None and fold.task != examples.task:
            if fold.task._replace(feature_schema=examples.task.feature_schema) != examples.task:
                skip(offset, f"{task.name}: what is learned must not change under one tag")
                return
            log.warning("features have changed: models begin again", definition=task.name)
            self._drop(task)
            fold = None
        try:
            if fold is None:
                fold = self._begin(examples.task, offset)
            if fold is None or offset < fold.begin:
                return  # of a definition that has ended
            fold.fold(examples, offset)
        except MemoryError:
            raise
        except Exception as error:
            log.error("definition not learned", definition=task.name, exc_info=error)
            self._drop(task)
            self._failed.add(task)
            return
        if offset >= self._committed or task in self._refolded:
            self._dirty.add(task)

    def due(self, now_ms: int) -> Iterator[TaskFold]:
        """Yield the folds whose models are to be published: changed, and not published just now."""
        for task in list(self._dirty):
            if now_ms >= self._next_at.get(task, now_ms):
                self._dirty.discard(task)
                yield self.folds[task]

    def published(self, task: TaskId, size: int, now_ms: int) -> None:
        """Note that `size` bytes were published at `now_ms`: large models wait longer."""
        wait_ms = max(PUBLISH_INTERVAL_MS, 1_000 * size // _BYTES_PER_S)
        self._next_at[task] = now_ms + wait_ms

    def join(self, task: TaskId, rebuilt: TaskFold) -> None:
        """Let models that were learned again up to `position` go on with the others."""
        self.rebuilds.pop(task, None)
        fold = self.folds[task]
        together = {learner.name: learner for learner in (*fold.learners, *rebuilt.learners)}
        fold.learners = [together[name] for name in fold.task.models if name in together]
        if any(learner.name == fold.task.models[0] for learner in rebuilt.learners):
            fold.adopt_scores(rebuilt.progress(self.position).scores)
        self._dirty.add(task)

    def _begin(self, task: Task, offset: int) -> TaskFold | None:
        id_ = TaskId.of(task)
        stored = self._stored.pop(id_, None)
        if stored:
            fold = self._resume(task, stored)
        elif offset >= self._committed or id_ in self._refolded:
            learners = [self._codec.create(task, name) for name in task.models]
            fold = TaskFold(task, learners, offset)
        else:
            return None
        self.folds[id_] = fold
        return fold

    def _resume(self, task: Task, stored: Sequence[StoredModel]) -> TaskFold:
        """Continue from the newest records; models without one are learned again."""
        progress = newest(stored)
        learners = {}
        for model in stored:
            if model.progress.position == progress.position and model.name == task.models[0]:
                progress = model.progress  # it alone has the scores that it has given
        for model in stored:
            if model.progress.position == progress.position and model.name in task.models:
                try:
                    learners[model.name] = model.restore(task)
                except AvilaError as error:
                    log.warning(
                        "model is learned again",
                        definition=task.name,
                        model=model.name,
                        reason=str(error),
                    )
        missing = [name for name in task.models if name not in learners]
        if missing:
            self.rebuilds[TaskId.of(task)] = missing
        ordered = [learners[name] for name in task.models if name in learners]
        return TaskFold(task, ordered, progress.begin, progress)

    def _end(self, task: TaskId, offset: int) -> None:
        """Drop a definition, unless it has begun again after this record."""
        fold = self.folds.get(task)
        begin = fold.begin if fold is not None else 0
        if task in self._stored:
            begin = newest(self._stored[task]).begin
        if offset >= begin:
            self._drop(task)
            self._failed.discard(task)

    def _drop(self, task: TaskId) -> None:
        self._stored.pop(task, None)
        self.folds.pop(task, None)
        self.rebuilds.pop(task, None)
        self._dirty.discard(task)
        self._next_at.pop(task, None)
