"""One funnel in one partition.

A plain ordered funnel is a sequence, which needs less memory and time than a funnel with options
(`pipelines.operators.funnel.rules`): options that a funnel does not use cost it nothing.
"""

from typing import Self

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.days import days_in
from pipelines.engine.instance import OperatorInstance
from pipelines.operators.funnel.aggregates import FunnelAggregates
from pipelines.operators.funnel.attempt_aggregates import AttemptAggregates
from pipelines.operators.funnel.corrections import StepCorrections
from pipelines.operators.funnel.rules import rules_of
from pipelines.operators.funnel.state import FunnelState
from pipelines.operators.sequence import SequenceShape, SequenceState
from schemas.operators.funnel import FunnelDefinition


class FunnelInstance(OperatorInstance[FunnelDefinition, ValuedChanges]):
    """A funnel as one partition runs it."""

    state: SequenceState | FunnelState
    aggregates: FunnelAggregates

    def __init__(self, definition: FunnelDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        funnel = definition.funnel
        steps = len(funnel.steps)
        if funnel.plain:
            days = days_in(funnel.timezone)
            shape = SequenceShape(steps, 1_000 * funnel.window_s, lateness_ms, days)
            self.state = SequenceState(shape)
            self.aggregates = FunnelAggregates(steps)
        else:
            self.state = FunnelState(rules_of(funnel, lateness_ms))
            self.aggregates = AttemptAggregates(steps, entries=funnel.entries)

    def corrections(self, announced: Self, right: Self) -> StepCorrections:
        """Return what finds the differences in the steps of persons."""
        return StepCorrections(announced.state, right.state, self.recounted_to)
