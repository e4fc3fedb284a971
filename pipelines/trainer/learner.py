"""What the fold asks of a model."""

from typing import NamedTuple, Protocol

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
    those that the champion gave when the questions were asked, having learned `versions` examples;
    NaN where there was no model yet. `asked` is what the champion scores meanwhile.
    """

    rows: Float32s
    labels: Float64s
    scores: Float64s
    versions: Int64s
    asked: Asked | None = None


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

    def learn(self, lesson: Lesson) -> Float64s | None:
        """Judge the model by each row before it learns the row, one row after the other.

        Returns the scores of `lesson.asked`, if there are any.
        """
