"""Models as pipelines of River, which go on learning from where the model was.

A file of a model is its record in Avro's single-object encoding: numbers and names, no pickle. What
`open_model` returns scores and learns as the model would have, to the last bit, if it is given each
feature in every example, in the order of `features`, as `dict`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.models.calibration import CalibratedModel
from pipelines.models.columns import ADAGRAD
from pipelines.models.linear import LinearModel
from pipelines.models.model import Model
from pipelines.models.river_models import RiverModel
from pipelines.models.stored import model_of
from schemas.errors import InvalidRequest
from schemas.model_record import ModelRecord, decode, encode

if TYPE_CHECKING:
    from river.base import Estimator

    from pipelines.models.river_calibration import PlattCalibration

_CLIP_GRADIENT: Final = 1e12


def save_model(record: ModelRecord, path: Path) -> None:
    """Write a record to a file, which `open_model` opens.

    Raises:
        InvalidRecord: it would not be read again.
    """
    path.write_bytes(encode(record))


def open_model(path: Path) -> "Estimator":
    """Return the model of a file as a pipeline of River. Imports River, which takes seconds.

    Raises:
        InvalidRecord: the file is not a model, or it is a tree or a forest, whose record says how
            it scores but not what it has to know to go on learning.
        InvalidRequest: it is a base rate, of which River has no model.
    """
    return to_river(model_of(decode(path.read_bytes())))


def to_river(model: Model) -> "Estimator":
    """Return a pipeline of River that scores and learns as the model, from where it is.

    A `RiverModel` is River's already, and its own estimator is returned, not a copy: use the one
    or the other from then on.

    Raises:
        InvalidRequest: it is a base rate, of which River has no model.
    """
    if isinstance(model, LinearModel):
        return _linear(model)
    if isinstance(model, RiverModel):
        return model.estimator
    if isinstance(model, CalibratedModel):
        return _calibrated(model)
    raise InvalidRequest(f"River has no model that is a {model.spec.kind}", "model")


def _linear(model: LinearModel) -> "Estimator":
    # Two seconds to import: see `pipelines.models`.
    from river import linear_model, optim, preprocessing  # noqa: PLC0415

    columns, rule = model.columns, model.rule
    names: tuple[Any, ...] = model.features
    scaler = preprocessing.StandardScaler()
    linear: Any
    optimizer: optim.base.Optimizer
    if rule.optimizer == ADAGRAD:
        optimizer = optim.AdaGrad(rule.learning_rate, rule.epsilon)
    else:
        optimizer = optim.SGD(rule.learning_rate)
    kind = (
        linear_model.LogisticRegression
        if model.spec.predicts_outcome
        else linear_model.LinearRegression
    )
    linear = kind(optimizer, intercept_lr=rule.intercept_rate, clip_gradient=_CLIP_GRADIENT)
    # Before the first example, River knows no feature.
    if model.version:
        optimizer.n_iterations = model.version
        linear.intercept = float(columns.intercept[0])
        scaler.counts.update(dict.fromkeys(names, model.version))
        scaler.means.update(zip(names, columns.means.tolist(), strict=True))
        scaler.vars.update(zip(names, columns.variances.tolist(), strict=True))
        for name, weight in zip(names, columns.weights.tolist(), strict=True):
            linear._weights[name] = weight  # noqa: SLF001 # River has no setter
        if isinstance(optimizer, optim.AdaGrad):
            optimizer.g2.update(zip(names, columns.squares.tolist(), strict=True))
    pipeline: Estimator = scaler | linear
    return pipeline


def _calibrated(model: CalibratedModel) -> "PlattCalibration":
    # Imports River, which takes two seconds: see `pipelines.models`.
    from pipelines.models.river_calibration import PlattCalibration  # noqa: PLC0415

    inner: Any = to_river(model.inner)
    return PlattCalibration(inner, float(model.line[0]), float(model.line[1]))
