"""One prediction in one worker: `python -m benchmarks.predictions`.

Every event is scored and asks a question. The worker runs without it and with it, beside 60
definitions and beside 8 funnels; what is lost is the share of throughput, score records included.
Then the fold alone: µs an event, and a question more.
"""

import argparse
import time
from collections.abc import Sequence

import numpy as np

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
from pipelines.operators.prediction.state import PredictionState
from schemas.definitions import Definition
from schemas.event_filter import EventFilter
from schemas.operators.prediction import Prediction, PredictionDefinition, features_of

_FUNNELS = 8
_FOLDED = 1_000_000
_BATCH = 40_000
_MS_APART = 5
_ALL_OPEN = 1 << 40


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--persons", type=int, default=200_000)
    given = parser.parse_args()
    everything = [one for kind in sixty().values() for one in kind]
    some = [one for one, _ in zip(funnels(EVENTS), range(_FUNNELS), strict=False)]
    rows: dict[str, Timed] = {}
    for name, definitions in (("60 definitions", everything), (f"{_FUNNELS} funnels", some)):
        for beside, more in (("", []), (" and a prediction", [a_prediction()])):
            rows[name + beside] = _timed([*definitions, *more], given.events, given.persons)
    event, question = fold_costs(given.persons)
    report(
        f"{given.events:,} events of {given.persons:,} persons",
        rows,
        {
            "features": len(features_of(a_prediction().prediction)),
            "event_us": round(event, 2),
            "question_us": round(question, 2),
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


if __name__ == "__main__":
    main()
