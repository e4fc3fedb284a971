"""Quality figures are those of their definitions, and of River where River is exact."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import compose, drift, evaluate, metrics

from pipelines.models.create import create
from pipelines.models.drift import DriftDetector
from pipelines.models.quality import OutcomeFigures, OutcomeQuality, better_than_base
from pipelines.models.rows import interleaved
from pipelines.models.value_quality import (
    MAX_ERROR,
    ValueFigures,
    ValueQuality,
    better_than_mean,
)
from schemas.errors import InvalidRecord
from schemas.model_record import decode, encode, named_part
from schemas.model_spec import ModelSpec
from tests.oracles import ranking
from tests.pipelines.models.as_river import named, names, pipeline, same_bits
from tests.pipelines.models.test_export import record_of

SCORES = st.one_of(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]), st.floats(0, 1))
JUDGED = st.lists(st.tuples(SCORES, SCORES, st.booleans()), max_size=60)


def filled(quality: Any, judged: list[tuple[float, float, Any]], cuts: list[int]) -> Any:
    columns = np.array(judged, np.float64).reshape(-1, 3).T
    bounds = [0, *sorted(min(cut, len(judged)) for cut in cuts), len(judged)]
    for begin, end in pairwise(bounds):
        quality.add(*columns[:, begin:end])
    return quality


def columns_of(judged: list[tuple[float, float, bool]]) -> tuple[Any, Any, list[bool]]:
    scores, bases, labels = ([row[i] for row in judged] for i in range(3))
    return scores, bases, list(map(bool, labels))


@given(JUDGED, st.lists(st.integers(0, 60), max_size=4), st.integers(1, 70))
@settings(deadline=None, max_examples=300)
def test_figures_of_outcomes_are_those_of_their_definitions(
    judged: list[tuple[float, float, bool]], cuts: list[int], window: int
) -> None:
    quality = filled(OutcomeQuality(window), judged, cuts)

    for figures, span in (quality.since(), judged), (quality.window(), judged[-window:]):
        scores, bases, labels = columns_of(span)
        assert figures.examples == len(span)
        assert figures.positives == sum(labels)
        assert figures.log_loss == pytest.approx(ranking.log_loss(scores, labels), rel=1e-12)
        assert figures.base_log_loss == pytest.approx(ranking.log_loss(bases, labels), rel=1e-12)
        assert list(map(tuple, figures.calibration)) == ranking.calibration(scores, labels)
        error = ranking.calibration_error(scores, labels)
        assert figures.calibration_error == pytest.approx(error, abs=1e-15)

    scores, _, labels = columns_of(judged[-window:])
    newest = quality.window()
    assert newest.roc_auc == ranking.roc_auc(scores, labels)
    precision = ranking.average_precision(scores, labels)
    assert newest.pr_auc == (precision and pytest.approx(precision, rel=1e-12))
    assert newest.log_loss == ranking.log_loss(scores, labels)
    assert quality.since().roc_auc is None
    assert quality.since().pr_auc is None


@given(JUDGED.filter(bool))
@settings(deadline=None)
def test_log_loss_since_the_start_has_the_bits_of_river(judged: Any) -> None:
    metric, base = metrics.LogLoss(), metrics.LogLoss()
    for score, base_score, label in judged:
        metric.update(label, {True: score})
        base.update(label, {True: base_score})

    figures = filled(OutcomeQuality(), judged, []).since()

    assert same_bits([figures.log_loss, figures.base_log_loss], [metric.get(), base.get()])


def test_rolling_auc_is_that_of_river_where_no_scores_are_equal() -> None:
    """Where some are, River's is not the share of pairs, and ours is: the oracle says so."""
    rng = np.random.default_rng(21)
    labels = rng.random(3_000) < 0.3
    scores: Any = np.clip(rng.normal(0.4 + 0.2 * labels, 0.05), 0, 1)
    assert len(np.unique(scores)) == 3_000
    metric, quality = metrics.RollingROCAUC(window_size=500), OutcomeQuality(500)
    for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
        metric.update(label, score)

    quality.add(scores, np.full(3_000, 0.5), labels.astype(float))
    assert quality.window().roc_auc == pytest.approx(metric.get(), abs=1e-12)

    scores = np.round(scores, 2)
    quality.add(scores, np.full(3_000, 0.5), labels.astype(float))
    newest = ranking.roc_auc(scores[-500:].tolist(), labels[-500:].tolist())
    assert quality.window().roc_auc == newest


def test_delayed_progressive_validation_gives_the_figures_of_rivers_evaluation() -> None:
    """A score is of its question's version; its label is learned, and counted, later."""
    rng = np.random.default_rng(22)
    count, delay = 600, 37
    rows = rng.standard_normal((count, 4)).astype(np.float32)
    labels = (rows[:, 0] + rng.standard_normal(count) > 0.5).astype(float)
    river = pipeline(ModelSpec("logistic_sgd", 0.05))
    examples = [
        ({**named(row.tolist()), "moment": n}, bool(label))
        for n, (row, label) in enumerate(zip(rows, labels, strict=True))
    ]
    river = compose.Discard("moment") | river
    steps = evaluate.iter_progressive_val_score(
        examples, river, metrics.LogLoss(), moment="moment", delay=delay
    )
    *_, last = steps

    order: list[int] = []
    for n in range(count):
        if n >= delay:
            order.append(~(n - delay))
        order.append(n)
    order += [~n for n in range(count - delay, count)]
    model = create(ModelSpec("logistic_sgd", 0.05), names(4))
    scores = model.fold(rows, labels, np.array(order))
    quality = OutcomeQuality()
    quality.add(scores, np.full(count, 0.5), labels)

    assert same_bits(quality.since().log_loss, last["LogLoss"].get())


VALUES = st.floats(-1e6, 1e6)


@given(
    st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=3),
    st.integers(1, 50),
)
@settings(deadline=None)
def test_figures_of_values_have_the_bits_of_river(
    judged: list[tuple[float, float, float]], cuts: list[int], window: int
) -> None:
    quality = filled(ValueQuality(window), judged, cuts)
    rivers: list[Any] = [metrics.MAE(), metrics.RMSE(), metrics.MAE(), metrics.RMSE()]
    for score, base, value in judged:
        for metric, predicted in zip(rivers, (score, score, base, base), strict=True):
            metric.update(value, predicted)

    since = quality.since()
    assert since.examples == len(judged)
    assert same_bits(since[1:5], [metric.get() for metric in rivers])
    newest = judged[-window:]
    assert quality.window()[:5] == (
        len(newest),
        pytest.approx(np.mean([abs(v - s) for s, _, v in newest])),
        pytest.approx(np.mean([(v - s) ** 2 for s, _, v in newest]) ** 0.5),
        pytest.approx(np.mean([abs(v - b) for _, b, v in newest])),
        pytest.approx(np.mean([(v - b) ** 2 for _, b, v in newest]) ** 0.5),
    )


@pytest.mark.parametrize("kind", [OutcomeQuality, ValueQuality])
@given(JUDGED, st.integers(0, 60), st.sampled_from([1, 7, 64, 65, 200]))
@settings(deadline=None, max_examples=60)
def test_quality_goes_on_from_a_record_as_if_it_had_never_stopped(
    kind: Any, judged: Any, cut: int, window: int
) -> None:
    whole = filled(kind(window), judged, [])
    before = filled(kind(window), judged[:cut], [])
    model = create(ModelSpec("logistic_sgd"), ("a",))
    record = record_of(model)
    arrays = {**record.arrays, **named_part("quality", before.arrays())}

    stored = decode(encode(record._replace(arrays=arrays))).part("quality")
    after = filled(kind.from_arrays(stored, window), judged[cut:], [])

    assert after.since() == whole.since()
    assert after.window() == whole.window()
    assert after.arrays().keys() == whole.arrays().keys()
    for name, array in whole.arrays().items():
        assert after.arrays()[name].tobytes() == array.tobytes()


def losses(seed: int, count: int) -> Any:
    rng = np.random.default_rng(seed)
    return rng.random(count) + 2 * (np.arange(count) // 1_500 % 2)


@pytest.mark.parametrize("cut", [0, 1, 5, 64, 1_535, 1_536, 1_600, 4_000])
def test_drift_is_found_where_river_finds_it_through_a_restart(cut: int) -> None:
    every = losses(3, 5_000)
    adwin, expected = drift.ADWIN(), []
    for n, loss in enumerate(every.tolist()):
        adwin.update(loss)
        if adwin.drift_detected:
            expected.append(n)

    first = DriftDetector()
    found = [one.example for one in first.add(every[:cut])]
    again = DriftDetector.from_arrays(first.arrays())
    drifts = again.add(every[cut:])

    assert len(expected) >= 3
    assert [*found, *(cut + one.example for one in drifts)] == expected
    assert (again.examples, again.drifts) == (5_000, len(expected))
    assert any(one.after > one.before for one in drifts)


def test_a_drift_detector_is_restored_at_any_version() -> None:
    detector = DriftDetector()
    for loss in losses(4, 2_500):
        detector.add(np.array([loss]))
        arrays = detector.arrays()
        again = DriftDetector.from_arrays(arrays).arrays()
        assert all(again[name].tobytes() == array.tobytes() for name, array in arrays.items())


def wrong(name: str, place: Any, value: float) -> Any:
    def change(arrays: Any) -> None:
        arrays[name][place] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong("sizes", 0, 7), "sizes: must be 0 to 6"),
        (wrong("sizes", 0, 0), "sizes: must add up to the width"),
        (wrong("totals", (0, 0), np.nan), "totals: must be finite"),
        (wrong("counters", 0, -1), "counters: must be 0 to 4294967295"),
        (wrong("sums", 2, -3.0), "sizes: must add up to the width"),
        (lambda arrays: arrays.update(sizes=np.zeros(0, np.int64)), "must be 1 to 48 levels"),
        (lambda arrays: arrays.update(sizes=np.zeros(49, np.int64)), "must be 1 to 48 levels"),
        (lambda arrays: arrays.pop("totals"), "totals: is missing"),
    ],
)
def test_a_forged_drift_detector_is_refused(change: Any, message: str) -> None:
    detector = DriftDetector()
    detector.add(losses(5, 200))
    arrays = dict(detector.arrays())
    change(arrays)

    with pytest.raises(InvalidRecord, match=message):
        DriftDetector.from_arrays(arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong("counts", (0, 0), 3), "counts: must add up to examples"),
        (wrong("counts", (3, 1), 2), "counts: must add up to examples"),
        (wrong("window_scores", 0, 1.5), "window_scores: must be at most 1"),
        (wrong("window_scores", 0, -0.5), "window_scores: must be 0 or more"),
        (wrong("means", 0, np.inf), "means: must be finite"),
        (lambda arrays: arrays.update(window_scores=np.zeros(1)), "window_scores: must be float64"),
        (lambda arrays: arrays.update(code=np.zeros(1)), "do not belong"),
    ],
)
def test_forged_quality_is_refused(change: Any, message: str) -> None:
    quality = OutcomeQuality(100)
    quality.add(np.full(5, 0.5), np.full(5, 0.5), np.ones(5))
    arrays = dict(quality.arrays())
    change(arrays)

    with pytest.raises(InvalidRecord, match=message):
        OutcomeQuality.from_arrays(arrays, 100)


def test_quality_of_another_window_is_refused() -> None:
    quality = OutcomeQuality(100)
    quality.add(np.full(50, 0.5), np.full(50, 0.5), np.ones(50))

    with pytest.raises(InvalidRecord, match="window_scores: must be float64 of shape"):
        OutcomeQuality.from_arrays(quality.arrays(), 10)


@pytest.mark.parametrize(
    ("scores", "bases", "labels", "message"),
    [
        ([1.1], [0.5], [1.0], "between 0 and 1"),
        ([float("nan")], [0.5], [1.0], "between 0 and 1"),
        ([0.5], [-0.1], [1.0], "between 0 and 1"),
        ([0.5], [0.5, 0.5], [1.0], "between 0 and 1"),
        ([0.5], [0.5], [0.5], "must be 0 or 1"),
        ([0.5], [0.5], [1.0, 0.0], "labels must be"),
    ],
)
def test_what_is_no_score_is_not_counted(
    scores: Any, bases: Any, labels: Any, message: str
) -> None:
    quality = OutcomeQuality()
    with pytest.raises(ValueError, match=message):
        quality.add(np.array(scores), np.array(bases), np.array(labels))
    assert quality.since().examples == 0


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 2 * MAX_ERROR])
def test_an_error_that_would_spoil_the_mean_for_ever_is_not_counted(score: float) -> None:
    quality = ValueQuality()
    with pytest.raises(ValueError, match="within 1e\\+100 of labels"):
        quality.add(np.array([score]), np.zeros(1), np.zeros(1))
    assert quality.since().examples == 0


def outcomes(**changed: Any) -> OutcomeFigures:
    return OutcomeFigures(500, 250, 0.4, 0.5, 0.7, 0.6, (), 0.0)._replace(**changed)


@pytest.mark.parametrize(
    ("changed", "better"),
    [
        ({}, True),
        ({"log_loss": 0.5}, False),
        ({"log_loss": 0.6}, False),
        ({"examples": 499}, False),
        ({"positives": 19}, False),
        ({"positives": 20}, True),
        ({"positives": 481}, False),
    ],
)
def test_a_model_is_better_with_enough_examples_and_less_loss(changed: Any, better: bool) -> None:
    assert better_than_base(outcomes(**changed)) is better


@pytest.mark.parametrize(
    ("figures", "better"),
    [
        (ValueFigures(500, 1, 2, 1, 3), True),
        (ValueFigures(500, 1, 3, 1, 3), False),
        (ValueFigures(499, 1, 2, 1, 3), False),
    ],
)
def test_a_regression_is_better_with_a_smaller_rmse(figures: ValueFigures, better: bool) -> None:
    assert better_than_mean(figures) is better


def test_shuffled_labels_are_not_learned_and_not_called_better() -> None:
    rng = np.random.default_rng(23)
    rows = rng.standard_normal((20_000, 8)).astype(np.float32)
    labels = (rng.random(20_000) < 0.3).astype(float)
    base = create(ModelSpec("base_rate"), names(8)).fold(rows, labels, interleaved(20_000))
    quality = OutcomeQuality()
    model = create(ModelSpec("logistic_sgd"), names(8))

    quality.add(model.fold(rows, labels, interleaved(20_000)), base, labels)

    figures = quality.window()
    assert figures.examples == 10_000
    assert figures.roc_auc == pytest.approx(0.5, abs=0.02)
    assert not better_than_base(figures)
    assert figures.base_log_loss == pytest.approx(0.611, abs=0.01)


def test_a_calibrated_table_has_scores_that_are_rates() -> None:
    rng = np.random.default_rng(24)
    scores = rng.random(10_000)
    labels = (rng.random(10_000) < scores).astype(float)
    quality = OutcomeQuality()
    quality.add(scores, np.full(10_000, 0.5), labels)

    figures = quality.window()

    assert figures.calibration_error < 0.02
    assert [one.examples > 800 for one in figures.calibration] == [True] * 10
    assert better_than_base(figures)
