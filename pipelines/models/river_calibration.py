"""A Platt calibration of a classifier, as a model of River. Import it late: it imports River."""

from typing import Any

from river import base, linear_model, optim

from pipelines.models.calibration import RATE, log_odds

_ODDS = "log odds"


class PlattCalibration(base.Classifier):
    """Calibrates the probabilities of `classifier`; see `pipelines.models.calibration`.

    The calibrated log odds are `slope * log odds + intercept`; both learn along.
    """

    def __init__(
        self, classifier: base.Classifier, slope: float = 1.0, intercept: float = 0.0
    ) -> None:
        self.classifier = classifier
        self.slope = slope
        self.intercept = intercept
        self._line: Any = linear_model.LogisticRegression(
            optim.SGD(RATE), intercept_lr=RATE, intercept_init=intercept
        )
        self._line._weights[_ODDS] = slope  # noqa: SLF001 # River has no setter

    def learn_one(self, x: dict[Any, Any], y: Any, **kwargs: Any) -> None:
        """Learn the calibration of the score, then the classifier."""
        self._line.learn_one(self._odds(x), y)
        self.classifier.learn_one(x, y, **kwargs)

    def predict_proba_one(self, x: dict[Any, Any], **_: Any) -> dict[Any, float]:
        """Return the calibrated probabilities of False and True."""
        probabilities: dict[Any, float] = self._line.predict_proba_one(self._odds(x))
        return probabilities

    def _odds(self, x: dict[Any, Any]) -> dict[str, float]:
        return {_ODDS: log_odds(float(self.classifier.predict_proba_one(x).get(True, 0.0)))}
