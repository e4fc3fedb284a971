"""The operators, each a package of its own: the worker evaluates definitions of these, in parallel.

To add one, write its package (see `pipelines.engine.operator`) and add it here.
"""

from typing import Final

from pipelines.engine.operator import AnyOperator
from pipelines.operators.cohort.operator import COHORT
from pipelines.operators.funnel.operator import FUNNEL
from pipelines.operators.metric.operator import METRIC
from pipelines.operators.prediction.operator import PREDICTION
from pipelines.operators.segment.operator import SEGMENT

OPERATORS: Final[tuple[AnyOperator, ...]] = (FUNNEL, COHORT, SEGMENT, METRIC, PREDICTION)
