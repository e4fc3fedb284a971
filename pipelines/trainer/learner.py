"""What the fold asks of a model."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pipelines.models.drift import Drift
from schemas.examples.columns import Float32s, Float64s, Int64s


class Asked(NamedTuple):
    """Questions that the champion scores while it learns a lesson; the columns have shape (m,).

    Each of `rows` (m, features) is scored when the first `after` examples of the lesson have been
    learned. `places` are those of the same questions in the lesson, -1 for those that are learned
    in a later one.
    """

    rows: Float32s
    after: Int64s
    places: Int64s


class Lesson(NamedTuple):
    """Questions that are due, with their labels, in the order in which to learn them.

    Labels are 0 or 1, or values; the columns have shape (n,), `rows` (n, features). `scores` are
    those that were served when the questions were asked, NaN where there was no model yet: by
    models that had learned `versions` examples by then, and whose places in the task are `scorers`
    (`TRAINER` of questions of history). `asked` is what the champion scores meanwhile.
    """

    rows: Float32s
    labels: Float64s
    scores: Float64s
    versions: Int64s
    scorers: Int64s
    asked: Asked | None = None

    def part(self, begin: int, end: int) -> "Lesson":
        """Return the questions from place `begin` to `end`, without what is asked meanwhile."""
        return Lesson(
            self.rows[begin:end],
            self.labels[begin:end],
            self.scores[begin:end],
            self.versions[begin:end],
            self.scorers[begin:end],
        )


class Judged(NamedTuple):
    """What a lesson cost a model before it learned it; the columns have shape (n,).

    `losses` are log losses, or absolute errors of values. `base_scores` is what the base rate, or
    the running mean, said of each question. `asked_scores` are the scores of `lesson.asked`, None
    without them.
    """

    losses: Float64s
    base_scores: Float64s
    asked_scores: Float64s | None = None


class Learner(Protocol):
    """A model with its quality, as a fold of lessons.

    However lessons are cut into calls, the same model and the same quality follow.
    """

    @property
    def name(self) -> str:
        """The name that the definition gives the model."""

    @property
    def version(self) -> int:
        """How many examples it has learned."""

    @property
    def is_compared(self) -> bool:
        """Whether the rule of a definition compares it with others, and may promote it."""

    def learn(self, lesson: Lesson) -> Judged:
        """Judge the model by each row before it learns the row, one row after the other."""

    def set_champion(self, champion: bool) -> None:
        """Begin to judge the scores that it serves, or stop to; change nothing if it does so."""

    def serve(self, lesson: Lesson, judged: Judged) -> Sequence[Drift]:
        """Judge the champion by the scores that it has served; return the drifts of its losses.

        The questions that other models have scored say nothing about it.
        """
