"""Predictions as an operator: which events a prediction selects, and what it reads of them."""

from typing import Final

from pipelines.engine.operator import Operator
from pipelines.matching.selectors import EventIdHash, PropertyRead, ValueHash
from pipelines.operators.prediction.instance import PredictionInstance
from pipelines.operators.prediction.publisher import PredictionPublisher
from pipelines.operators.prediction.state import PredictionChanges
from schemas.event_filter import EventFilter
from schemas.operators import prediction
from schemas.operators.prediction import Prediction, PredictionDefinition


def selectors_of(of: Prediction) -> tuple[EventFilter, ...]:
    """Return the filters in the order of the bits of an event's mask.

    First comes every event, for features count them all.
    """
    conditions = (condition.filter for condition in of.conditions)
    return (EventFilter(), of.goal, of.at, *of.events, *of.steps, *conditions)


def reads_of(of: Prediction) -> tuple[PropertyRead, ...]:
    """Return the properties to read, in the order in which `PredictionState` takes them."""
    numbers = (name for name in (of.value, of.amount, of.property) if name is not None)
    category = () if of.category is None else (ValueHash((of.category,)),)
    return (*numbers, *category, *((EventIdHash(),) if of.sample < 1 else ()))


PREDICTION: Final[Operator[PredictionDefinition, PredictionInstance, PredictionChanges]] = Operator(
    prediction.PREDICTION,
    lambda definition: selectors_of(definition.prediction),
    PredictionInstance,
    PredictionPublisher,
    lambda definition: reads_of(definition.prediction),
)
