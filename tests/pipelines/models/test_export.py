"""An exported model goes on learning in River in lockstep with the one on the stream."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.models.create import create
from pipelines.models.export import open_model, save_model, to_river
from pipelines.models.model import Model
from pipelines.models.rows import interleaved
from pipelines.models.stored import model_part
from schemas.errors import InvalidRecord, InvalidRequest
from schemas.model_record import ModelRecord
from schemas.model_spec import ModelSpec
from tests.pipelines.models.as_river import ADAGRAD, REGRESSION, SGD, names, run, same_bits, state

LINEAR = [SGD, ModelSpec("logistic_sgd", 0.01), ADAGRAD, REGRESSION]
CONTINUED = [
    *LINEAR,
    ModelSpec("gaussian_naive_bayes"),
    ModelSpec("logistic_sgd", calibrated=True),
    ModelSpec("logistic_adagrad", calibrated=True),
    ModelSpec("gaussian_naive_bayes", calibrated=True),
]
TREES = [ModelSpec("hoeffding_tree"), ModelSpec("adaptive_random_forest")]


def record_of(model: Model, **changed: Any) -> ModelRecord:
    record = ModelRecord(
        "shop", "buys", 3, model.spec, "0f" * 32, model.features, model.version,
        bytes(range(16)), 1_234, model_part(model),
    )  # fmt: skip
    return record._replace(**changed)


def examples(spec: ModelSpec, count: int) -> Any:
    rng = np.random.default_rng(11)
    rows = (rng.standard_normal((count, 24)) * rng.uniform(0.1, 50, 24) + 2).astype(np.float32)
    rows[:, 3] = 1.5
    rows[:, 4] = rng.random(count) < 0.02
    labels = rows[:, 0] + rng.standard_normal(count)
    return rows, (labels > 2).astype(float) if spec.predicts_outcome else labels


@pytest.mark.parametrize("spec", CONTINUED, ids=lambda spec: spec.name)
@pytest.mark.parametrize("learned", [0, 1, 700])
def test_a_file_opens_as_a_river_pipeline_in_lockstep_for_the_next_thousand(
    spec: ModelSpec, learned: int, tmp_path: Path
) -> None:
    rows, labels = examples(spec, learned + 1_000)
    model = create(spec, names(24))
    model.learn_many(rows[:learned], labels[:learned])
    path = tmp_path / "model.avro"

    save_model(record_of(model), path)
    river = open_model(path)

    order = interleaved(1_000)
    expected = run(river, spec, rows[learned:], labels[learned:], order.tolist())
    assert same_bits(model.fold(rows[learned:], labels[learned:], order), expected)
    if spec in LINEAR:
        arrays = model.arrays()
        ours = [*arrays["means"], *arrays["variances"], *arrays["weights"], *arrays["intercept"]]
        assert same_bits([*ours, *[model.version] * 24], state(river))


@pytest.mark.parametrize("spec", [*CONTINUED, *TREES], ids=lambda spec: spec.name)
def test_a_model_becomes_a_river_pipeline_without_a_file(spec: ModelSpec) -> None:
    rows, labels = examples(spec, 500)
    model, twin = create(spec, names(24)), create(spec, names(24))
    for one in model, twin:
        one.learn_many(rows[:300], labels[:300])

    river = to_river(model)

    order = interleaved(200)
    expected = run(river, spec, rows[300:], labels[300:], order.tolist())
    assert same_bits(twin.fold(rows[300:], labels[300:], order), expected)


@pytest.mark.parametrize("spec", TREES, ids=lambda spec: spec.name)
def test_a_file_of_a_tree_cannot_go_on_and_says_so(spec: ModelSpec, tmp_path: Path) -> None:
    rows, labels = examples(spec, 100)
    model = create(spec, names(24))
    model.learn_many(rows, labels)
    save_model(record_of(model), tmp_path / "model.avro")

    with pytest.raises(InvalidRecord, match="is restored by learning again"):
        open_model(tmp_path / "model.avro")


@pytest.mark.parametrize("kind", ["base_rate", "decayed_mean"])
def test_a_base_rate_is_no_model_of_river(kind: Any, tmp_path: Path) -> None:
    save_model(record_of(create(ModelSpec(kind), ("a",))), tmp_path / "model.avro")

    with pytest.raises(InvalidRequest, match=f"River has no model that is a {kind}"):
        open_model(tmp_path / "model.avro")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04\x95cos\nsystem\n(S'echo'\ntR.")

    with pytest.raises(InvalidRecord, match="does not begin as an Avro object does"):
        open_model(tmp_path / "model.pkl")
