"""Which models a prediction can have, and what each takes.

Models of an outcome score its probability; models of a value score the value.
"""

import math
from typing import Final, Literal, TypeAlias

import msgspec

from schemas.errors import InvalidRequest

OutcomeKind: TypeAlias = Literal[
    "base_rate",
    "decayed_base_rate",
    "logistic_sgd",
    "logistic_adagrad",
    "hoeffding_tree",
    "adaptive_random_forest",
    "gaussian_naive_bayes",
]
ValueKind: TypeAlias = Literal["running_mean", "decayed_mean", "linear_regression"]
ModelKind: TypeAlias = OutcomeKind | ValueKind

OUTCOME_KINDS: Final[tuple[OutcomeKind, ...]] = (
    "base_rate",
    "decayed_base_rate",
    "logistic_sgd",
    "logistic_adagrad",
    "hoeffding_tree",
    "adaptive_random_forest",
    "gaussian_naive_bayes",
)
VALUE_KINDS: Final[tuple[ValueKind, ...]] = ("running_mean", "decayed_mean", "linear_regression")

# The kinds that have a learning rate, and what it is if none is given.
LEARNING_RATES: Final[dict[ModelKind, float]] = {
    "logistic_sgd": 0.003,
    "logistic_adagrad": 0.1,
    "linear_regression": 0.01,
}
# A record holds what these score with, but not what they learn with: they are restored by
# learning everything again.
REBUILT_KINDS: Final[tuple[ModelKind, ...]] = ("hoeffding_tree", "adaptive_random_forest")
# Assumes that features are independent and normally distributed. Few are, so its probabilities are
# far too sure: it is there to be compared, and readers are told so.
NAIVE_KINDS: Final[tuple[ModelKind, ...]] = ("gaussian_naive_bayes",)
# What the others are compared with.
BASE_KINDS: Final[tuple[ModelKind, ...]] = (
    "base_rate",
    "decayed_base_rate",
    "running_mean",
    "decayed_mean",
)

# Dense columns of a row. A hashed category has 2^b of them: 64 for the largest b, which is 6.
MAX_FEATURES: Final = 256


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What determines a model, besides what it learns: two of one spec are equal to the last bit.

    `learning_rate` is None for the default of the kind. `calibrated` passes the scores of a model
    of an outcome through a Platt calibration, which learns along.
    """

    kind: ModelKind
    learning_rate: float | None = None
    calibrated: bool = False

    @property
    def name(self) -> str:
        """What the model is called beside others of the same prediction."""
        rate = f"_{self.rate!r}" if self.kind in LEARNING_RATES else ""
        return f"{self.kind}{rate}{'_calibrated' if self.calibrated else ''}"

    @property
    def rate(self) -> float:
        """The learning rate; 0 for a kind that has none."""
        if self.learning_rate is not None:
            return float(self.learning_rate)
        return LEARNING_RATES.get(self.kind, 0.0)

    @property
    def predicts_outcome(self) -> bool:
        """Whether scores are probabilities, and not values."""
        return self.kind in OUTCOME_KINDS

    @property
    def rebuilt(self) -> bool:
        """Whether it is restored by learning everything again."""
        return self.kind in REBUILT_KINDS

    @property
    def is_compared(self) -> bool:
        """Whether a rule compares it with others, and may promote it.

        What base rates say is no score to serve. What trees have said is lost in a crash until they
        have learned everything again: the rule could not go on as if nothing had happened.
        """
        return not self.rebuilt and self.kind not in BASE_KINDS

    def check(self, field: str = "") -> None:
        """Check what the types do not; `field` is the path of the spec in a request.

        Raises:
            InvalidRequest: a learning rate for a kind without one, or not between 0 and 1, or a
                calibration of what needs none.
        """
        at = f"{field}." if field else ""
        if self.learning_rate is not None:
            if self.kind not in LEARNING_RATES:
                accepted = ", ".join(LEARNING_RATES)
                raise InvalidRequest(f"only {accepted} have one", f"{at}learning_rate")
            if not (math.isfinite(self.learning_rate) and 0 < self.learning_rate <= 1):
                raise InvalidRequest("must be more than 0 and at most 1", f"{at}learning_rate")
        if self.calibrated and (self.kind in BASE_KINDS or not self.predicts_outcome):
            raise InvalidRequest(
                "only a model of an outcome that is not a base rate can be calibrated",
                f"{at}calibrated",
            )
