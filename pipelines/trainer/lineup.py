"""The models of one definition: they learn the same lessons, and one of them is the champion."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import structlog

from pipelines.models.drift import Drift
from pipelines.trainer.championship import Championship
from pipelines.trainer.events import EventKind, ModelEvent
from pipelines.trainer.learner import Judged, Learner, Lesson
from schemas.examples.columns import Serving, Task
from schemas.model_record import Reign

log = structlog.get_logger(__name__)


class FoldedRecord(NamedTuple):
    """A record of `avila.examples`, its clock, and how many answers were learned before it."""

    offset: int
    clock: int
    learned: int


class Lineup:
    """Teaches the models of a task, whose first record is at offset `begin`.

    Attributes:
        learners: the models that learn. One that fails learns no more, and one whose record could
            not be read is missing until it has learned everything again.
        championship: says which model scores.
        events: the drifts and promotions since they were taken.
    """

    def __init__(self, task: Task, learners: Sequence[Learner], begin: int) -> None:
        self.learners = list(learners)
        self.championship = Championship(task, begin)
        self.events: list[ModelEvent] = []
        self._task = task

    def join(self, learners: Iterable[Learner]) -> None:
        """Add models that have learned everything again."""
        together = {learner.name: learner for learner in (*self.learners, *learners)}
        self.learners = [together[name] for name in self._task.models if name in together]
        self._crown()

    def take_events(self) -> list[ModelEvent]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events

    def obey(self, serving: Serving, at: FoldedRecord) -> None:
        """Take in what a record says about the champion."""
        reign = self.championship.obey(serving, at.offset, at.learned)
        if reign is not None:
            self._promote(reign, at)

    def teach(self, lesson: Lesson, at: FoldedRecord) -> None:
        """Let all models learn a lesson, which a record has made due.

        `at.learned` is how many answers have been learned before. If the rule promotes a model
        within the lesson, the scores of the rest are judged for the new champion.
        """
        judged = self._judge(lesson)
        losses = {
            learner.name: judged[learner.name].losses
            for learner in self.learners
            if learner.is_compared
        }
        begin = 0
        promotions = self.championship.judge(losses, lesson.labels, at.offset, at.learned)
        for end, reign in promotions:
            self._serve(reign.before, lesson, judged, at, (begin, end))
            self._promote(reign, at)
            begin = end
        champion = self.championship.reign.model
        self._serve(champion, lesson, judged, at, (begin, len(lesson.labels)))

    def _judge(self, lesson: Lesson) -> dict[str, Judged]:
        judged = {}
        for learner in list(self.learners):
            try:
                judged[learner.name] = learner.learn(lesson)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 (a model may raise anything)
                self._fail(learner, error)
        return judged

    def _serve(
        self,
        champion: str,
        lesson: Lesson,
        judged: Mapping[str, Judged],
        at: FoldedRecord,
        span: tuple[int, int],
    ) -> None:
        for learner in [one for one in self.learners if one.name == champion]:
            try:
                drifts = learner.serve(lesson.part(*span), judged[champion].part(*span))
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 (a model may raise anything)
                self._fail(learner, error)
            else:
                self.events += [self._drift(champion, one, at, span[0]) for one in drifts]

    def _drift(self, champion: str, drift: Drift, at: FoldedRecord, begin: int) -> ModelEvent:
        learned = at.learned + begin + drift.example + 1
        event = self._event(champion, "drift", at, learned)
        return event._replace(loss_before=drift.before, loss_after=drift.after)

    def _promote(self, reign: Reign, at: FoldedRecord) -> None:
        event = self._event(reign.model, "promotion", at, reign.learned)
        self.events.append(event._replace(before=reign.before, reason=reign.reason))
        self._crown()

    def _event(self, model: str, kind: EventKind, at: FoldedRecord, learned: int) -> ModelEvent:
        return ModelEvent(*self._task[:4], model, kind, at.offset, learned, at.clock)

    def _crown(self) -> None:
        for learner in self.learners:
            learner.set_champion(learner.name == self.championship.reign.model)

    def _fail(self, learner: Learner, error: Exception) -> None:
        log.error("model failed", definition=self._task.name, model=learner.name, exc_info=error)
        self.learners.remove(learner)
