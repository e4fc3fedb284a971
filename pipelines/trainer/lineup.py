"""The models of one definition: they learn the same lessons, and one of them is the champion."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import structlog

from pipelines.columnar.jit import Int64s
from pipelines.models.drift import Drift
from pipelines.trainer.championship import Championship
from pipelines.trainer.columns import FORFEITED, TRAINER
from pipelines.trainer.events import EventKind, ModelEvent
from pipelines.trainer.learner import Asked, Judged, Learner, Lesson
from schemas.examples.columns import Float64s, Serving, Task
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

    @property
    def champion(self) -> str:
        """The name of the model that scores."""
        return self.championship.reign.model

    def join(self, learners: Iterable[Learner]) -> None:
        """Add models that have learned everything again."""
        together = {learner.name: learner for learner in (*self.learners, *learners)}
        self.learners = [together[name] for name in self._task.models if name in together]
        self._crown()

    def take_events(self) -> list[ModelEvent]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events

    def obey(self, serving: Serving, at: FoldedRecord) -> bool:
        """Take in what a record says about the champion; return whether it is another one now."""
        reign = self.championship.obey(serving, at.offset, at.learned)
        if reign is not None:
            self._promote(reign, at)
        return reign is not None

    def teach(self, lesson: Lesson, at: FoldedRecord) -> Float64s | None:
        """Let all models learn a lesson, which a record has made due.

        `at.learned` is how many answers have been learned before. Returns what the champion says of
        `lesson.asked`, `FORFEITED` of what a model says that is not the champion any more; None
        without it, or if the champion is missing.

        A lesson is learned in parts, each up to where the rule may promote another model: what is
        asked and judged after that is the new champion's.
        """
        scores = np.where(lesson.scores == FORFEITED, np.nan, lesson.scores)
        lesson = lesson._replace(scores=scores)
        asked_scores = None if lesson.asked is None else np.full(len(lesson.asked.rows), np.nan)
        begin, count, complete, last = 0, len(lesson.labels), True, False
        while not last:
            limit = begin + self.championship.answers_left
            end, last = min(count, limit), count < limit
            picked = _asked_between(lesson.asked, begin, end, last=last)
            promoted, said = self._teach(lesson, (begin, end), picked, at)
            if len(picked) and asked_scores is not None:
                complete &= said is not None
                if said is not None:
                    asked_scores[picked] = said
            if promoted:
                later = lesson.scorers[end:] == TRAINER
                lesson.scores[end:][later] = np.nan
                if asked_scores is not None:
                    asked_scores[~np.isnan(asked_scores)] = FORFEITED
            begin = end
        return asked_scores if complete else None

    def _teach(
        self, lesson: Lesson, span: tuple[int, int], picked: Int64s, at: FoldedRecord
    ) -> tuple[bool, Float64s | None]:
        """Learn a part of a lesson; return whether a model was promoted after it, and the scores.

        `picked` are the places of what is asked in this part, among all that is asked.
        """
        part, champion = lesson.part(*span), self.champion
        if not len(part.labels) and not len(picked):
            return False, None
        judged = self._judge(part, _part_of(lesson.asked, picked, span[0]))
        said = judged[champion].asked_scores if champion in judged else None
        if said is not None and lesson.asked is not None:
            places = lesson.asked.places[picked]
            lesson.scores[places[places >= 0]] = said[places >= 0]
        self._serve(champion, lesson.part(*span), judged, at, span[0])
        losses = {
            learner.name: judged[learner.name].losses
            for learner in self.learners
            if learner.is_compared and learner.name in judged
        }
        learned = at.learned + span[0]
        promotions = list(self.championship.judge(losses, part.labels, at.offset, learned))
        for promotion in promotions:
            self._promote(promotion.reign, at)
        return bool(promotions), said

    def _judge(self, lesson: Lesson, asked: Asked | None) -> dict[str, Judged]:
        judged = {}
        for learner in list(self.learners):
            own = lesson._replace(asked=asked) if learner.name == self.champion else lesson
            if not len(own.labels) and own.asked is None:
                continue
            try:
                judged[learner.name] = learner.learn(own)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 (a model may raise anything)
                self._fail(learner, error)
        return judged

    def _serve(
        self, champion: str, lesson: Lesson, judged: dict[str, Judged], at: FoldedRecord, begin: int
    ) -> None:
        for learner in [
            one for one in self.learners if one.name == champion and one.name in judged
        ]:
            try:
                drifts = learner.serve(lesson, judged[champion])
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 (a model may raise anything)
                self._fail(learner, error)
            else:
                self.events += [self._drift(champion, one, at, begin) for one in drifts]

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
            learner.set_champion(learner.name == self.champion)

    def _fail(self, learner: Learner, error: Exception) -> None:
        log.error("model failed", definition=self._task.name, model=learner.name, exc_info=error)
        self.learners.remove(learner)


def _asked_between(asked: Asked | None, begin: int, end: int, *, last: bool) -> Int64s:
    """Return the places of what is asked in a part of a lesson.

    What is asked just after the last answer of a part belongs to the next one, if there is one.
    """
    if asked is None:
        return np.empty(0, np.int64)
    within = (asked.after >= begin) & ((asked.after < end) | last)
    return np.flatnonzero(within).astype(np.int64)


def _part_of(asked: Asked | None, picked: Int64s, begin: int) -> Asked | None:
    """Return some of what is asked, in the part of a lesson that begins at `begin`."""
    if asked is None or not len(picked):
        return None
    after, places = asked.after[picked] - begin, asked.places[picked]
    return Asked(asked.rows[picked], after, np.where(places >= begin, places - begin, -1))
