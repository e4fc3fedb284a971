"""One prediction in one worker: `python -m benchmarks.predictions`.

Every event is scored and asks a question. The worker runs without it and with it, beside 60
definitions and beside 8 funnels; what is lost is the share of throughput, score records included.
Then what the parts cost alone: the fold an event and a question, a score, and what the trainer
takes to learn a question by each kind of model, labels and quality included.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from rich.table import Table

from benchmarks.bench import (
    EVENTS,
    Timed,
    console,
    define,
    fill,
    parts_of,
    report,
    system,
    time_ours,
)
from benchmarks.definitions import funnels, sixty
from benchmarks.history import benchmark_parser
from pipelines.models.river_models import RIVER_KINDS
from pipelines.operators.prediction.instance import PredictionInstance
from pipelines.operators.prediction.state import PredictionState
from pipelines.trainer.fold import TaskFold
from pipelines.trainer.model_learner import ModelLearner
from schemas.definitions import Definition
from schemas.event_filter import EventFilter
from schemas.examples.columns import MAX_QUESTIONS, Examples, Outcomes, Questions
from schemas.model_spec import ModelSpec
from schemas.operators.prediction import Prediction, PredictionDefinition, features_of

_FUNNELS = 8
_FOLDED = 1_000_000
_BATCH = 40_000
_MS_APART = 5
_ALL_OPEN = 1 << 40
_LEARNED = 200_000
_SLOWER = 100
_MODELS = (
    ModelSpec("logistic_sgd"),
    ModelSpec("logistic_adagrad"),
    ModelSpec("logistic_sgd", calibrated=True),
    ModelSpec("base_rate"),
    ModelSpec("gaussian_naive_bayes"),
    ModelSpec("hoeffding_tree"),
    ModelSpec("adaptive_random_forest"),
)


def main() -> None:
    """Run it."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--events", type=int, default=800_000)
    parser.add_argument("--persons", type=int, default=200_000)
    given = parser.parse_args()
    everything = [one for kind in sixty().values() for one in kind]
    some = [one for one, _ in zip(funnels(EVENTS), range(_FUNNELS), strict=False)]
    rows: dict[str, Timed] = {}
    for name, definitions in (("60 definitions", everything), (f"{_FUNNELS} funnels", some)):
        for beside, more in (("", []), (" and a prediction", [a_prediction()])):
            rows[name + beside] = _timed([*definitions, *more], given.events, given.persons)
    event, question = fold_costs(given.persons)
    costs = model_costs()
    champion = costs[_MODELS[0].name]
    report(
        f"{given.events:,} events of {given.persons:,} persons",
        rows,
        {
            "features": len(features_of(a_prediction().prediction)),
            "event_us": round(event, 2),
            "question_us": round(question, 2),
            "score_us": champion.score_us,
            "learn_us": champion.learn_us,
            "models_us": {name: cost._asdict() for name, cost in costs.items()},
            "drop_all": _drop(rows, "60 definitions"),
            "drop_funnels": _drop(rows, f"{_FUNNELS} funnels"),
        },
    )


def a_prediction() -> PredictionDefinition:
    """Return one that is asked at every event."""
    names = [EventFilter(name) for name in EVENTS]
    prediction = Prediction(
        goal=EventFilter("purchase"), within_s=1_800, events=(names[2], names[3])
    )
    return PredictionDefinition(**parts_of("prediction", 0), prediction=prediction)


def _timed(definitions: Sequence[Definition], events: int, persons: int) -> Timed:
    with system(checkpoint_interval_ms=2_000) as settings:
        define(settings, definitions)
        fill(settings, settings.topics.events.name, events=events, persons=persons)
        found, _ = time_ours(settings, settings.topics.events.name)
    return found


def _drop(rows: dict[str, Timed], name: str) -> float:
    with_it, without = rows[f"{name} and a prediction"], rows[name]
    return round(1 - with_it.events_per_s / without.events_per_s, 3)


def fold_costs(persons: int) -> tuple[float, float]:
    """Return what the fold takes of an event, and of a question besides (µs)."""
    nothing, everything = (_fold_us(persons, asks=asks) for asks in (False, True))
    console.print(f"the fold takes {nothing:.2f} µs an event, {everything:.2f} with a question")
    return nothing, everything - nothing


def _fold_us(persons: int, *, asks: bool) -> float:
    state = PredictionState(a_prediction().prediction, _ALL_OPEN)
    rng = np.random.default_rng(persons)
    took = []
    for begin in range(0, _FOLDED, _BATCH):
        slots = rng.integers(0, persons, _BATCH).astype(np.int32)
        masks = (rng.integers(0, 32, _BATCH) & ~4 | 4 * asks | 1).astype(np.uint32)
        offsets = np.arange(begin, begin + _BATCH)
        began = time.perf_counter()
        state.fold(persons, slots, 1_800_000_000_000 + _MS_APART * offsets, masks, offsets)
        took.append(time.perf_counter() - began)
    return float(1e6 * np.median(took) / _BATCH)


class Cost(NamedTuple):
    """What a model costs, in µs: `event_us` if every event asks and is scored."""

    score_us: float
    learn_us: float

    @property
    def event_us(self) -> float:
        """Both together."""
        return round(self.score_us + self.learn_us, 2)


def model_costs() -> dict[str, Cost]:
    """Return what each kind of model costs, and print it."""
    costs = {}
    table = Table("model", "score µs", "learn µs", "an event µs")
    for spec in _MODELS:
        count = _LEARNED // _SLOWER if spec.kind in RIVER_KINDS else _LEARNED
        cost = costs[spec.name] = _cost(spec, count)
        table.add_row(spec.name, f"{cost.score_us:.2f}", f"{cost.learn_us:.2f}", f"{cost.event_us}")
    console.print(table)
    return costs


def _cost(spec: ModelSpec, count: int) -> Cost:
    """Return what a champion costs over as many questions, of which one in nine is answered."""
    definition = a_prediction()
    alone = msgspec.structs.replace(definition.prediction, model=spec)
    task = PredictionInstance(msgspec.structs.replace(definition, prediction=alone), 0).task
    learner = ModelLearner.new(task, spec)
    fold = TaskFold(task, [learner], 0)
    rng = np.random.default_rng(count)
    took = []
    for record, begin in enumerate(range(0, count, MAX_QUESTIONS)):
        offsets = np.arange(begin, begin + MAX_QUESTIONS)
        at, persons = _MS_APART * offsets, (offsets % 9).astype(np.uint64)
        rows = rng.standard_normal((MAX_QUESTIONS, len(task.features))).astype(np.float32)
        questions = Questions(offsets, at, persons, rows, rng.random(MAX_QUESTIONS), at)
        answers = persons == 0
        outcomes = Outcomes(
            offsets[answers],
            at[answers],
            persons[answers],
            np.ones(int(answers.sum())),
            at[answers],
        )
        clock = int(at[-1]) + task.horizon_ms + task.lateness_ms  # most of them are due
        examples = Examples(task, 0, int(offsets[-1]) + 1, clock, questions, outcomes)
        began = time.perf_counter()
        fold.fold(examples, record)
        took.append(time.perf_counter() - began)
    learner.model.predict_many(rows)
    began = time.perf_counter()
    learner.model.predict_many(rows)
    scored = time.perf_counter() - began
    return Cost(*(round(1e6 * spent / MAX_QUESTIONS, 2) for spent in (scored, np.median(took))))


if __name__ == "__main__":
    main()
