"""Makes models: new ones, and those of a record."""

import msgspec
import numpy as np

from pipelines.models.arrays import Arrays
from pipelines.models.base_rate import BaseRate
from pipelines.models.calibration import CalibratedModel, CalibratedScorer, restored
from pipelines.models.linear import LINEAR_KINDS, LinearModel
from pipelines.models.model import Model, Scorer
from pipelines.models.river_models import RIVER_KINDS, RiverModel
from pipelines.models.tree_export import TreeScorer
from schemas.errors import InvalidRequest
from schemas.model_spec import MAX_FEATURES, ModelSpec


def create(spec: ModelSpec, features: tuple[str, ...]) -> Model:
    """Return a model that has learned nothing.

    Trees and naive Bayes import River, which takes seconds the first time.

    Raises:
        InvalidRequest: the spec is invalid, or the features are none, too many or not different.
    """
    spec.check("model")
    _check_features(features)
    if spec.calibrated:
        inner = create(_uncalibrated(spec), features)
        return CalibratedModel(spec, inner, np.array([1.0, 0.0]))
    return _class_of(spec)(spec, features)


def restore(spec: ModelSpec, features: tuple[str, ...], arrays: Arrays) -> Model:
    """Return the model whose `arrays` these are: it goes on as if it had never stopped.

    Raises:
        InvalidRequest: as `create`.
        InvalidRecord: the arrays are not the state of such a model, or the model is `rebuilt`.
    """
    spec.check("model")
    _check_features(features)
    if spec.calibrated:
        plain = _uncalibrated(spec)
        inner, line = restored(spec, arrays, lambda inside: restore(plain, features, inside))
        return CalibratedModel(spec, inner, line)
    return _class_of(spec).from_arrays(spec, features, arrays)


def open_scorer(spec: ModelSpec, features: tuple[str, ...], arrays: Arrays) -> Scorer:
    """Return what scores as the model did whose `arrays` these are. Works for every kind.

    Raises:
        InvalidRequest: as `create`.
        InvalidRecord: the arrays are not the state of such a model.
    """
    if not spec.rebuilt:
        return restore(spec, features, arrays)
    spec.check("model")
    _check_features(features)
    if spec.calibrated:
        plain = _uncalibrated(spec)
        inner, line = restored(spec, arrays, lambda inside: TreeScorer(plain, features, inside))
        return CalibratedScorer(spec, inner, line)
    return TreeScorer(spec, features, arrays)


def _class_of(spec: ModelSpec) -> type[LinearModel | RiverModel | BaseRate]:
    if spec.kind in LINEAR_KINDS:
        return LinearModel
    return RiverModel if spec.kind in RIVER_KINDS else BaseRate


def _uncalibrated(spec: ModelSpec) -> ModelSpec:
    return msgspec.structs.replace(spec, calibrated=False)


def _check_features(features: tuple[str, ...]) -> None:
    if not 1 <= len(features) <= MAX_FEATURES or len(set(features)) != len(features):
        raise InvalidRequest(f"must be 1 to {MAX_FEATURES} different names", "features")
