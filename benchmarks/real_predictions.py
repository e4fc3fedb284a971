"""How good predictions are on real events: `python -m benchmarks.models` prints the figures.

Two public datasets: the clickstream of a web shop (31,106 events, `retentioneering`, Apache-2.0)
and the purchases of a record shop (69,659 events of CDNOW's customers, `lifetimes`, MIT). Their
events pass through the code of the worker in this process, without Kafka: they are matched, asked
and answered in four source partitions, and learned as history, in the order of time.

All models have their default learning rates, and all features are used. What the shop's prediction
looks at (three events, and whether the last steps before a purchase were taken in the last half
hour) was chosen with its figures in view: without these conditions they are 0.303 and 0.75.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import files
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from benchmarks.bench import parts_of
from pipelines.columnar.string_column import StringColumn
from pipelines.matching.match import Key
from pipelines.matching.matcher import Matcher, Selection
from pipelines.models.arrays import Float64s
from pipelines.models.quality import OutcomeFigures, OutcomeQuality, better_than_base
from pipelines.operators.prediction.instance import PredictionInstance
from pipelines.operators.prediction.operator import reads_of, selectors_of
from pipelines.trainer.fold import TaskFold
from pipelines.trainer.model_codec import spec_named
from pipelines.trainer.model_learner import ModelLearner
from schemas.event_filter import EventFilter
from schemas.examples.chunks import chunks
from schemas.examples.columns import Examples, Outcomes, Questions
from schemas.model_spec import ModelSpec
from schemas.operators.prediction import Prediction, PredictionDefinition, RecentlyPerformed

PARTITIONS: Final = 4
_BATCH: Final = 500  # events of a partition
_DAY_S: Final = 86_400
_CHALLENGERS: Final = (ModelSpec("logistic_sgd", 0.01), ModelSpec("logistic_adagrad"))
_ALL: Final = 1 << 17  # more than any of them asks

_LAST_STEPS: Final = ("add_to_cart", "cart", "shipping_details", "payment_details")
BUYS_SOON: Final = Prediction(
    goal=EventFilter("purchase"),
    within_s=1_800,
    events=(EventFilter("add_to_cart"), EventFilter("cart"), EventFilter("payment_details")),
    conditions=tuple(RecentlyPerformed(EventFilter(name), 1_800) for name in _LAST_STEPS),
    challengers=(*_CHALLENGERS, ModelSpec("gaussian_naive_bayes")),
)
LEAVES: Final = Prediction(  # a visit begins at home
    target="does_not", goal=EventFilter("home"), within_s=14 * _DAY_S, challengers=_CHALLENGERS
)
BUYS_AGAIN: Final = Prediction(
    goal=EventFilter("buy"), within_s=90 * _DAY_S, amount="dollars", challengers=_CHALLENGERS
)


class Event(NamedTuple):
    """One event of a dataset."""

    person: str
    name: str
    at: int
    properties: str = "{}"


class Judged(NamedTuple):
    """A model's figures over all questions that were learned.

    They are of the scores as of when the questions were asked if the model is the champion, and of
    what it says just before it learns an answer if it is not. `better_than_base` says whether the
    system shows the scores in the end, rather than withholding them.
    """

    figures: OutcomeFigures
    mean_score: float
    better_than_base: bool


class Quality(OutcomeQuality):
    """Judges scores in the usual window, and all of them together besides."""

    def __init__(self) -> None:
        super().__init__()
        self.all = OutcomeQuality(_ALL)

    def add(self, scores: Float64s, base_scores: Float64s, labels: Float64s) -> Float64s:
        """Take in scores for both; see `OutcomeQuality.add`."""
        self.all.add(scores, base_scores, labels)
        return super().add(scores, base_scores, labels)


def shop() -> list[Event]:
    """Return the clickstream of the web shop, in the order of time."""
    with gzip.open(_file("retentioneering", "ecom.csv.gz"), "rt", newline="") as lines:
        found = [
            Event(row["user_id"], row["event"], _ms(row["timestamp"]))
            for row in csv.DictReader(lines)
        ]
    return sorted(found, key=lambda event: event.at)


def cdnow() -> list[Event]:
    """Return the purchases of CDNOW's customers, in the order of time."""
    found = []
    for line in _file("lifetimes", "CDNOW_master.txt").read_text().splitlines():
        customer, day, _, dollars = line.split()[-4:]
        if day.isdigit():
            at = _ms(f"{day[:4]}-{day[4:6]}-{day[6:]}")
            found.append(Event(customer, "buy", at, f'{{"dollars": {float(dollars)}}}'))
    return sorted(found, key=lambda event: event.at)


def learn(prediction: Prediction, events: Sequence[Event]) -> dict[str, Judged]:
    """Return the figures of each model, by its name, after all events."""
    found = qualities_of(examples_of(prediction, events))
    return {name: _judged(quality) for name, quality in found.items()}


def examples_of(prediction: Prediction, events: Sequence[Event]) -> list[Examples]:
    """Return what workers would publish of a history, one source partition after the other."""
    definition = PredictionDefinition(**parts_of("prediction", 0), prediction=prediction)
    parts: list[list[Event]] = [[] for _ in range(PARTITIONS)]
    for event in events:
        parts[zlib.crc32(event.person.encode()) % PARTITIONS].append(event)
    return [one for number, part in enumerate(parts) for one in _records(definition, number, part)]


def qualities_of(log: Sequence[Examples]) -> dict[str, Quality]:
    """Return how good the models are that have learned a log, by their names."""
    task = log[0].task
    learners = [ModelLearner.new(task, spec_named(name)) for name in task.models]
    judges = {learner.name: Quality() for learner in learners}
    for learner in learners:
        if learner.served is not None:
            learner.served = judges[learner.name]
        else:
            learner.maturity = judges[learner.name]
    fold = TaskFold(task, learners, 0)
    for offset, examples in enumerate(log):
        fold.fold(examples, offset)
    assert fold.unmerged == 0
    return judges


def _records(
    definition: PredictionDefinition, number: int, events: Sequence[Event]
) -> Iterator[Examples]:
    """Yield what a worker would publish of the history of one source partition."""
    prediction, key = definition.prediction, Key("prediction", "shop", "p", 1)
    instance = PredictionInstance(definition, lateness_ms=0)
    matcher = Matcher([Selection(key, selectors_of(prediction), reads_of(prediction))])
    persons = {person: slot for slot, person in enumerate({event.person for event in events})}
    nothing = Questions.none(len(instance.task.features)), Outcomes.none()
    bounds = [*range(0, len(events), _BATCH), len(events)]
    for begin, end in pairwise(bounds):
        batch = events[begin:end]
        projects = StringColumn.of(pa.array([key.project] * len(batch)))
        names = StringColumn.of(pa.array([event.name for event in batch]))
        properties = pa.array([event.properties for event in batch])
        rows, masks, values = matcher.match(projects, names, properties).matches[key]
        slots = np.array([persons[event.person] for event in batch], np.int32)
        at = np.array([event.at for event in batch], np.int64)
        changes = instance.state.fold(
            len(persons), slots[rows], at[rows], masks, begin + rows, values
        ).changes
        asked, answered = changes.questions, changes.outcomes
        yield from chunks(
            Examples(
                instance.task,
                number,
                end,
                changes.clock,
                Questions(
                    asked.offsets,
                    asked.at,
                    asked.rows.astype(np.uint64),
                    asked.features,
                    np.full(len(asked), np.nan),
                    asked.clocks,
                ),
                Outcomes(
                    answered.offsets,
                    answered.at,
                    answered.rows.astype(np.uint64),
                    answered.values,
                    answered.clocks,
                ),
                history=True,
                partitions=PARTITIONS,
            )
        )
    live = Examples(instance.task, number, len(events), 0, *nothing, partitions=PARTITIONS)
    yield live


def _judged(quality: Quality) -> Judged:
    figures = quality.all.window()
    scores = sum(one.examples * one.mean_score for one in figures.calibration)
    return Judged(figures, scores / figures.examples, better_than_base(quality.window()))


def _file(package: str, name: str) -> Path:
    (path,) = (path for path in files(package) or () if path.name == name)
    return Path(str(path.locate()))


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)
