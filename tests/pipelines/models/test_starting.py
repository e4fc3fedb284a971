"""A worker that starts pays for no River, and compiles no kernel of models later."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core import event

import pipelines.models
from pipelines.columnar import jit
from pipelines.models.create import create, open_scorer, restore
from pipelines.models.export import to_river
from pipelines.models.quality import OutcomeQuality
from pipelines.models.rows import interleaved
from pipelines.models.value_quality import ValueQuality
from schemas.model_spec import OUTCOME_KINDS, VALUE_KINDS, ModelSpec
from tests.pipelines.models.as_river import names
from tests.workers import ROOT

MODULES = sorted(
    f"pipelines.models.{path.stem}"
    for path in Path(pipelines.models.__path__[0]).glob("*.py")
    if path.stem not in {"__init__", "river_calibration"}
)
# What a worker does that has base rates and linear models alone.
STARTED = """
import sys
import numpy as np
from pipelines.models.create import create
from schemas.model_spec import ModelSpec

for kind in ("logistic_sgd", "logistic_adagrad", "linear_regression", "base_rate"):
    model = create(ModelSpec(kind), ("a",))
    model.learn_many(np.zeros((1, 1), np.float32), np.zeros(1))
    model.predict_many(np.zeros((1, 1), np.float32))
assert "river" not in sys.modules
"""


def test_linear_models_import_no_river() -> None:
    imports = "".join(f"import {module}\n" for module in MODULES)
    subprocess.run([sys.executable, "-c", imports + STARTED], cwd=ROOT, check=True)


SPECS = [
    *(ModelSpec(kind) for kind in (*OUTCOME_KINDS, *VALUE_KINDS)),
    ModelSpec("logistic_sgd", calibrated=True),
    ModelSpec("hoeffding_tree", calibrated=True),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_no_kernel_is_compiled_after_the_registered_calls(spec: ModelSpec) -> None:
    for call in jit.examples():
        if call.__module__.startswith("pipelines.models"):
            call()
    rows, labels = np.ones((20, 3), np.float32), np.zeros(20)

    with event.install_recorder("numba:compile") as compiled:
        model = create(spec, names(3))
        scores = model.fold(rows, labels, interleaved(20))
        model.learn_many(rows[3:5], labels[3:5])
        model.predict_many(rows[::2])
        scorer = open_scorer(spec, names(3), model.arrays())
        scorer.predict_many(rows)
        if not spec.rebuilt:
            restore(spec, names(3), model.arrays()).learn_many(rows, labels)
        if spec.predicts_outcome:
            quality = OutcomeQuality(10)
            quality.add(scores, scores, labels)
            OutcomeQuality.from_arrays(quality.arrays(), 10).window()
        else:
            values = ValueQuality(10)
            values.add(scores, scores, labels)
            ValueQuality.from_arrays(values.arrays(), 10).window()
        if spec.calibrated and not spec.rebuilt:
            river: Any = to_river(model)
            river.predict_proba_one(dict.fromkeys(names(3), 1.0))

    assert [str(one.data) for _, one in compiled.buffer] == []
