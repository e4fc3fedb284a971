"""The operators on the query side, each in a package of its own.

Adding one adds an entry to `OPERATORS`, which everything iterates that serves all of them.
"""

from typing import Final

from services.query.operators.cohort.operator import COHORT
from services.query.operators.contract import AnyOperator
from services.query.operators.funnel.operator import FUNNEL
from services.query.operators.metric.operator import METRIC
from services.query.operators.prediction.operator import PREDICTION
from services.query.operators.segment.operator import SEGMENT

__all__ = ["OPERATORS"]

OPERATORS: Final[tuple[AnyOperator, ...]] = (FUNNEL, COHORT, SEGMENT, METRIC, PREDICTION)
