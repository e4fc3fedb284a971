"""All that is learned from one partition of `avila.examples`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from pipelines.models.parts import NOT_RESTORABLE
from pipelines.trainer.events import ModelEvent
from pipelines.trainer.examples_reader import Logged, skip
from pipelines.trainer.fold import TaskFold
from pipelines.trainer.model_log import ModelCodec, StoredModel, TaskId, newest
from pipelines.trainer.models_topic import RefusedModel
from schemas.errors import AvilaError, InvalidRecord
from schemas.examples.columns import Task
from schemas.model_record import Reign

log = structlog.get_logger(__name__)

# Of a definition. Full records have some 300 kB, nearly all of it the window of their quality.
PUBLISH_INTERVAL_MS: Final = 1_000
_BYTES_PER_S: Final = 65_536


class _PublishedDrifts(NamedTuple):
    """How many drifts of a champion are published, as of the record that it is restored from."""

    reign: Reign
    drifts: int


class TrainerPartition:
    """Folds the records of a partition, each into the fold of its definition.

    Folds continue from `stored`, the models of each definition as of some offset up to `committed`.
    Definitions in `refolded`, whose models cannot be read, are folded again from their first
    record. All others whose records are below `committed` have ended. `refused` are the records of
    models that cannot be read.

    Attributes:
        position: the offset below which all is folded.
        events: what has happened to models and is not published yet.
        rebuilds: the models of each definition that have to be learned again.
    """

    def __init__(
        self,
        codec: ModelCodec,
        committed: int = 0,
        stored: Mapping[TaskId, Sequence[StoredModel]] | None = None,
        refolded: frozenset[TaskId] = frozenset(),
        refused: Sequence[RefusedModel] = (),
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
        self._published: dict[TaskId, _PublishedDrifts] = {}
        self.events = [
            ModelEvent(*task, name, "refused", committed, reason=reason)
            for task, name, reason in refused
        ]

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
        events = fold.lineup.take_events()
        if offset >= self._committed or task in self._refolded:
            self._dirty.add(task)
        if events and offset >= self._committed:  # others were published before
            self.events += events
            self._next_at.pop(task, None)  # so that the models are published with them

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

    def take_events(self) -> list[ModelEvent]:
        """Return what has happened to models since the last call."""
        events, self.events = self.events, []
        return events

    def join(self, task: TaskId, rebuilt: TaskFold) -> None:
        """Let models that were learned again up to `position` go on with the others.

        If the champion is one of them, the drifts that have been found meanwhile are published now.
        """
        self.rebuilds.pop(task, None)
        fold = self.folds[task]
        learned, reign = fold.counts.learned, fold.lineup.championship.reign
        self.events += [
            ModelEvent(*task, learner.name, "learned_again", self.position, learned)
            for learner in rebuilt.learners
        ]
        if reign.model in {learner.name for learner in rebuilt.learners}:
            drifts = [
                event
                for event in rebuilt.lineup.take_events()
                if (event.kind, event.model) == ("drift", reign.model)
                and event.learned > reign.learned
            ]
            published = self._published.get(task, _PublishedDrifts(reign, 0))
            self.events += drifts[published.drifts if published.reign == reign else 0 :]
        fold.lineup.join(rebuilt.learners)
        if reign.model in {learner.name for learner in rebuilt.learners}:
            fold.adopt_scores(rebuilt.progress(self.position).scores)
        self._dirty.add(task)
        self._next_at.pop(task, None)

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
        progress, id_ = newest(stored), TaskId.of(task)
        learners = {}
        champion = task.models[0] if progress.standing is None else progress.standing.reign.model
        for model in stored:
            if model.progress.position == progress.position and model.name == champion:
                progress = model.progress  # it alone has the scores that it has given
        for model in stored:
            standing = model.progress.standing
            if standing is not None and model.name == standing.reign.model:
                self._published[id_] = _PublishedDrifts(standing.reign, model.drifts)
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
                    if not isinstance(error, InvalidRecord) or error.reason != NOT_RESTORABLE:
                        event = ModelEvent(*id_, model.name, "refused", self._committed)
                        self.events.append(event._replace(reason=str(error)))
        missing = [name for name in task.models if name not in learners]
        if missing:
            self.rebuilds[id_] = missing
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
