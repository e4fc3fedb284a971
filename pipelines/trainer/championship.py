"""Which model of a definition scores: the one that was named last, or that the rule has promoted.

Pure: a command takes effect with the record that first has it, and the rule decides after the last
answer of each span. So any cut of the log into records gives the same champions.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from schemas.examples.columns import Float64s, Serving, Task
from schemas.model_record import Reign
from schemas.significance import is_clearly_less

MIN_OF_EITHER: Final = 20  # positives and negatives of a span


class Standing(NamedTuple):
    """Who scores, by what, and how the models compare in the span that has begun.

    Attributes:
        reign: the champion.
        serving: what the newest revision of the definition says.
        answers: how many answers the span has so far, and how many of them are positive.
        compared: for how many of these each model was judged beside the champion.
        sums: of each model, the sums of its losses, of their differences to those of the champion,
            and of the squares of these.
    """

    reign: Reign
    serving: Serving
    answers: tuple[int, int]
    compared: tuple[int, ...]
    sums: tuple[tuple[float, ...], ...]


class Promotion(NamedTuple):
    """A promotion after the first `answers` answers of a lesson."""

    answers: int
    reign: Reign


class Championship:
    """The champion of one definition, whose first record is at offset `begin`."""

    def __init__(self, task: Task, begin: int) -> None:
        self._models: Final = task.models
        self._of_values = task.target == "value"
        self.reign = Reign(task.models[0], begin)
        self._serving = Serving()
        self._begin_span()

    def _begin_span(self) -> None:
        self._answers = self._positives = 0
        self._compared = [0] * len(self._models)
        self._sums = np.zeros((len(self._models), 3))

    @property
    def standing(self) -> Standing:
        """The state."""
        return Standing(
            self.reign,
            self._serving,
            (self._answers, self._positives),
            tuple(self._compared),
            tuple(map(tuple, self._sums.tolist())),
        )

    def resume(self, standing: Standing) -> None:
        """Go on from a standing, unless it is of other models."""
        of_others = len(standing.compared) != len(self._models)
        if of_others or standing.reign.model not in self._models:
            return
        self.reign, self._serving = standing.reign, standing.serving
        self._answers, self._positives = standing.answers
        self._compared, self._sums = list(standing.compared), np.array(standing.sums)

    def obey(self, serving: Serving, offset: int, learned: int) -> Reign | None:
        """Take in what the record at `offset` says; return the champion that it names, if any.

        A record that is older than what is known changes nothing.
        """
        known = self._serving
        if serving.revision <= known.revision:
            return None
        self._serving = serving
        if (serving.margin, serving.compared) != (known.margin, known.compared):
            self._begin_span()
        if serving.promoted <= known.promoted:
            return None
        named = serving.champion or self._models[0]
        if named == self.reign.model:
            return None
        return self._crown(Reign(named, offset, learned, "command", self.reign.model))

    @property
    def answers_left(self) -> int:
        """After how many more answers the rule may promote a model."""
        span = self._serving.compared
        return span - self._answers if span else 2**62

    def judge(
        self, losses: Mapping[str, Float64s], labels: Float64s, offset: int, learned: int
    ) -> Iterator[Promotion]:
        """Take in the losses of models for the same answers, in order; yield the rule's promotions.

        `losses` are log losses, or absolute errors of values. A model that is missing is not
        promoted after this span. `learned` is how many answers came before these.
        """
        span, begin = self._serving.compared, 0
        if not span or self.reign.model not in losses:
            return
        while begin < len(labels):
            end = min(len(labels), begin + span - self._answers)
            self._add(losses, labels, begin, end)
            if self._answers == span:
                best = self._best()
                self._begin_span()
                if best is not None:
                    reign = Reign(best, offset, learned + end, "rule", self.reign.model)
                    yield Promotion(end, self._crown(reign))
            begin = end

    def _crown(self, reign: Reign) -> Reign:
        self.reign = reign
        self._begin_span()
        return reign

    def _add(self, losses: Mapping[str, Float64s], labels: Float64s, begin: int, end: int) -> None:
        self._answers += end - begin
        self._positives += int(np.count_nonzero(labels[begin:end]))
        parts = {name: own[begin:end] for name, own in losses.items()}
        if self._of_values:
            parts = {name: own * own for name, own in parts.items()}
        champion = parts[self.reign.model]
        for place, name in enumerate(self._models):
            if name in parts:
                own = parts[name]
                differences = own - champion
                self._compared[place] += end - begin
                for column, added in enumerate((own, differences, differences * differences)):
                    # One after the other, so that the sum is the same however lessons are cut.
                    total = np.cumsum(np.append(self._sums[place, column], added))[-1]
                    self._sums[place, column] = total

    def _best(self) -> str | None:
        """Return the challenger to promote after the last answer of a span."""
        negatives = self._answers - self._positives
        if not self._of_values and min(self._positives, negatives) < MIN_OF_EITHER:
            return None
        champion = self._models.index(self.reign.model)
        to_beat = self._figure(champion) - self._serving.margin
        better = [
            (self._figure(place), place)
            for place in range(len(self._models))
            if self._compared[place] == self._answers
            and self._figure(place) <= to_beat
            and is_below_zero(self._answers, *self._sums[place, 1:].tolist())
        ]
        return self._models[min(better)[1]] if better else None

    def _figure(self, place: int) -> float:
        """Return the log loss or the RMSE of a model in the span."""
        mean = float(self._sums[place, 0]) / self._answers
        return math.sqrt(mean) if self._of_values else mean


def is_below_zero(count: int, total: float, squares: float) -> bool:
    """Return whether the mean of differences is below 0 by more than two standard errors.

    `total` is their sum, `squares` that of their squares. Of fewer than two, nothing can be said.
    """
    if count < 2:
        return False
    mean = total / count
    variance = max(squares / count - mean * mean, 0.0) / (count - 1)
    return is_clearly_less(mean, 0.0, math.sqrt(variance))
