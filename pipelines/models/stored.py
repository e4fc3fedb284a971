"""Models to records, and back: nothing is believed of a record that has not been checked."""

from typing import Final, TypeVar

from pipelines.models.arrays import Arrays
from pipelines.models.create import open_scorer, restore
from pipelines.models.model import Model, Scorer
from schemas.errors import InvalidRecord
from schemas.model_record import RIVER_VERSION, ModelRecord, named_part
from schemas.model_spec import ModelSpec

MODEL_PART: Final = "model"

_FOREIGN: Final = "foreign_model"

ScorerT = TypeVar("ScorerT", bound=Scorer)


def model_part(model: Scorer) -> Arrays:
    """Return the arrays of a model under the names that they have in a record."""
    return named_part(MODEL_PART, model.arrays())


def check_fits(
    record: ModelRecord,
    spec: ModelSpec,
    version: int,
    feature_schema: str,
    features: tuple[str, ...],
) -> None:
    """Check that a record is of the model that a definition asks for.

    Raises:
        InvalidRecord: it is of another version of the definition, another model, other features or
            another minor version of River; the text says which. Build the model again.
    """
    pairs = [
        ("version", record.version, version),
        ("model", record.spec.name, spec.name),
        ("feature_schema", record.feature_schema, feature_schema),
        ("features", record.features, features),
        ("river_version", _minor(record.river_version), _minor(RIVER_VERSION)),
    ]
    for name, found, expected in pairs:
        if found != expected:
            raise InvalidRecord(_FOREIGN, f"{name}: is {found!r}, and must be {expected!r}")


def model_of(record: ModelRecord) -> Model:
    """Return the model of a record: it goes on as if it had never stopped.

    Raises:
        InvalidRecord: the arrays are not the state of that model, it has not learned as many
            examples as the record says, or it can only be rebuilt.
    """
    return _checked(record, restore(record.spec, record.features, record.part(MODEL_PART)))


def scorer_of(record: ModelRecord) -> Scorer:
    """Return what scores as the model of a record did, of every kind.

    Raises:
        InvalidRecord: as `model_of`, but for models that can only be rebuilt.
    """
    return _checked(record, open_scorer(record.spec, record.features, record.part(MODEL_PART)))


def _checked(record: ModelRecord, scorer: ScorerT) -> ScorerT:
    if scorer.version != record.learned:
        raise InvalidRecord(
            "invalid_model", f"learned: is {record.learned}, and {scorer.version} in the arrays"
        )
    return scorer


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
