"""The operators, each with the spec on which the worker side and the query side agree.

To add an operator, add its spec to `OPERATORS`: topics, the command line, replay, decoders, REST
routes, gRPC, OpenAPI, live topics and laws iterate it. `ARCHITECTURE.md` says what else it takes.
"""

from typing import Final

from schemas.operators.cohort import COHORT
from schemas.operators.funnel import FUNNEL
from schemas.operators.metric import METRIC
from schemas.operators.prediction import PREDICTION
from schemas.operators.segment import SEGMENT
from schemas.operators.spec import OperatorSpec

__all__ = ["BY_NAME", "OPERATORS", "OperatorSpec"]

OPERATORS: Final[tuple[OperatorSpec, ...]] = (
    FUNNEL,
    COHORT,
    SEGMENT,
    METRIC,
    PREDICTION,
)
BY_NAME: Final = {spec.name: spec for spec in OPERATORS}
