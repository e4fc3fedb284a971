"""Examples as a definition's operator would write them: events in, records out, cut at will."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from pipelines.models.drift import Drift
from pipelines.trainer.learner import Judged, Lesson
from schemas.examples.columns import (
    Examples,
    NotAsked,
    Outcomes,
    Questions,
    Target,
    Task,
    feature_schema_of,
)
from tests.oracles.training import Asked, Happened

NEVER = -(2**62)


class Seen(NamedTuple):
    """An event that a definition sees, at a time (ms) of a person."""

    at: int
    person: int
    asks: bool = False
    value: float | None = None  # that it answers with, None if it answers nothing


class Source:
    """One source partition: the questions and outcomes of its events, in the order of the log."""

    def __init__(self, task: Task, number: int, events: Iterable[Seen]) -> None:
        self.task, self.number = task, number
        self.asked: list[Asked] = []
        self.happened: list[Happened] = []
        self.ask_clocks: list[int] = []
        self.clocks: list[int] = []  # after each event
        clock = NEVER
        for offset, event in enumerate(events):
            if event.value is not None:
                value = event.value if task.target == "value" else 1.0
                self.happened.append(Happened(offset, event.at, event.person, value, clock))
            before, clock = clock, max(clock, event.at)
            due = event.at + task.horizon_ms + task.lateness_ms
            if event.asks and due > clock:
                features = tuple(float(offset + n) for n in range(len(task.features)))
                self.asked.append(Asked(offset, event.at, event.person, features))
                self.ask_clocks.append(before)
            self.clocks.append(clock)

    def moment(self, asked: Asked) -> int:
        """When its source partition asked a question, by its clock."""
        return max(asked.at, dict(zip(self.asked, self.ask_clocks, strict=True))[asked])

    def cut(self, ends: Iterable[int]) -> list[Examples]:
        """The records if batches end before these offsets; the last ends with the events."""
        bounds = [0, *sorted({end for end in ends if 0 < end < len(self.clocks)}), len(self.clocks)]
        return [self.record(begin, end) for begin, end in pairwise(bounds)]

    def record(self, begin: int, end: int) -> Examples:
        """The record of the events from offset `begin` to `end`."""
        by_clock = zip(self.asked, self.ask_clocks, strict=True)
        pairs = [(one, clock) for one, clock in by_clock if begin <= one.offset < end]
        asked, ask_clocks = [one for one, _ in pairs], [clock for _, clock in pairs]
        happened = [one for one in self.happened if begin <= one.offset < end]
        return Examples(
            self.task,
            self.number,
            end,
            self.clocks[end - 1],
            questions_of(self.task, asked, ask_clocks),
            outcomes_of(happened),
            model_version=begin,
            not_asked=NotAsked(capped=1, sampled_out=2, late_triggers=3),
        )


def questions_of(task: Task, asked: Sequence[Asked], clocks: Sequence[int]) -> Questions:
    return Questions(
        np.array([one.offset for one in asked], np.int64),
        np.array([one.at for one in asked], np.int64),
        np.array([one.person for one in asked], np.uint64),
        np.array([one.features for one in asked], np.float32).reshape(
            len(asked), len(task.features)
        ),
        np.array([score_of(one) for one in asked], np.float64),
        np.array(clocks, np.int64),
    )


def score_of(question: Asked) -> float:
    """The score that was served with a question."""
    return question.offset / 10_000


def outcomes_of(happened: Sequence[Happened]) -> Outcomes:
    return Outcomes(
        np.array([one.offset for one in happened], np.int64),
        np.array([one.at for one in happened], np.int64),
        np.array([one.person for one in happened], np.uint64),
        np.array([one.value for one in happened], np.float64),
        np.array([one.clock for one in happened], np.int64),
    )


class Recorder:
    """A model that only remembers its lessons: a row's first feature, its label, its score."""

    def __init__(self, name: str = "logistic", learned: Sequence[tuple[float, ...]] = ()) -> None:
        self.name = name
        self.learned = list(learned)

    @property
    def version(self) -> int:
        return len(self.learned)

    is_compared = False

    def set_champion(self, champion: bool) -> None:
        """Only remember lessons."""

    def serve(self, lesson: Lesson, judged: Judged) -> Sequence[Drift]:
        del lesson, judged
        return ()

    def learn(self, lesson: Lesson) -> Judged:
        first = lesson.rows[:, 0].tolist()
        self.learned += zip(first, lesson.labels.tolist(), lesson.scores.tolist(), strict=True)
        return Judged(np.zeros(len(first)), np.zeros(len(first)))


FEATURES = ("recency", "age")
MODELS: dict[str, tuple[str, ...]] = {
    "performs": ("logistic_sgd_0.003", "base_rate"),
    "does_not": ("logistic_sgd_0.003", "base_rate"),
    "value": ("linear_regression_0.01", "running_mean"),
}


def task(target: Target = "performs", horizon_ms: int = 10, lateness_ms: int = 5) -> Task:
    return Task(
        "shop",
        "buys",
        1,
        -7,
        target,
        horizon_ms,
        lateness_ms,
        MODELS[target],
        FEATURES,
        feature_schema_of(FEATURES, 1),
    )


targets = st.sampled_from(["performs", "does_not", "value"])
tasks = st.builds(task, targets, st.integers(1, 12), st.integers(0, 8))
events = st.builds(
    Seen,
    at=st.integers(0, 60),
    person=st.integers(1, 3),
    asks=st.booleans(),
    value=st.none() | st.sampled_from([1.0, 2.0, 3.0]),
)
# Mostly in order of time, as events come.
histories = st.lists(events, min_size=1, max_size=40).map(
    lambda seen: sorted(seen, key=lambda event: event.at // 12)
)
