"""Why a row has its score."""

from pipelines.models.arrays import Rows
from pipelines.models.calibration import CalibratedModel
from pipelines.models.linear import Contributions, LinearModel
from pipelines.models.model import Scorer


def contributions(scorer: Scorer, rows: Rows, count: int) -> Contributions | None:
    """Return for each row the `count` features that contribute most; None if it is not linear.

    Those of a calibrated model are those of the model inside, before the calibration.
    """
    inner = scorer.inner if isinstance(scorer, CalibratedModel) else scorer
    return inner.contributions(rows, count) if isinstance(inner, LinearModel) else None
