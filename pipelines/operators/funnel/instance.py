"""One funnel in one partition.

A plain ordered funnel has a state of its own, which needs less memory and time than that of a
funnel with options (`pipelines.operators.funnel.chain_rules`): what a funnel does not use costs it
nothing.
"""

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.instance import OperatorInstance
from pipelines.operators.funnel.aggregates import FunnelAggregates
from pipelines.operators.funnel.chain_aggregates import ChainAggregates
from pipelines.operators.funnel.chain_state import ChainState, rules_of
from pipelines.operators.sequence.kernel import Shape
from pipelines.operators.sequence.state import FunnelState
from schemas.operators.funnel import FunnelDefinition


class FunnelInstance(OperatorInstance[FunnelDefinition, ValuedChanges]):
    """A funnel as one partition runs it."""

    state: FunnelState | ChainState
    aggregates: FunnelAggregates

    def __init__(self, definition: FunnelDefinition, lateness_ms: int) -> None:
        super().__init__(definition)
        funnel = definition.funnel
        steps = len(funnel.steps)
        if funnel.plain:
            self.state = FunnelState(Shape(steps, 1_000 * funnel.window_s, lateness_ms))
            self.aggregates = FunnelAggregates(steps)
        else:
            self.state = ChainState(rules_of(funnel, lateness_ms))
            self.aggregates = ChainAggregates(steps, entries=funnel.entries)
