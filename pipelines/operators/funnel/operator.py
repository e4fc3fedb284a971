"""Funnels as an operator: how far persons get through steps.

Plain ordered funnels have a fold of their own, which needs less memory and time than that of
funnels with options (`pipelines.operators.funnel.chain_rules`). What a funnel does not use costs it
nothing.
"""

from collections.abc import Sequence

from pipelines.engine.operator import Operator
from pipelines.matching.selectors import ValueHash
from pipelines.operators.funnel.aggregates import FunnelAggregates
from pipelines.operators.funnel.chain_aggregates import ChainAggregates
from pipelines.operators.funnel.chain_state import ChainState, rules_of
from pipelines.operators.funnel.publisher import KIND, FunnelPublisher
from pipelines.operators.sequence.kernel import Shape
from pipelines.operators.sequence.state import FunnelState
from schemas.event_filter import EventFilter, EventSelector
from schemas.operators.funnel import FunnelDefinition, decode


def selectors(definition: FunnelDefinition) -> Sequence[EventSelector]:
    """What a funnel asks of events: its steps, its exclusions, and in a strict one, anything."""
    funnel = definition.funnel
    anything = [EventFilter()] if funnel.order == "strict" else []
    return [*funnel.steps, *funnel.exclusions, *anything]


def reads(definition: FunnelDefinition) -> Sequence[ValueHash]:
    """What a funnel holds constant, and then what its figures are broken down by."""
    funnel = definition.funnel
    held = [ValueHash(tuple(funnel.hold_constant))] if funnel.hold_constant else []
    broken_down = [ValueHash((funnel.breakdown.property,))] if funnel.breakdown else []
    return [*held, *broken_down]


def _state(definition: FunnelDefinition, lateness_ms: int) -> FunnelState | ChainState:
    funnel = definition.funnel
    if funnel.plain:
        return FunnelState(Shape(len(funnel.steps), 1_000 * funnel.window_s, lateness_ms))
    return ChainState(rules_of(funnel, lateness_ms))


def _figures(definition: FunnelDefinition) -> FunnelAggregates:
    funnel = definition.funnel
    if funnel.plain:
        return FunnelAggregates(len(funnel.steps))
    return ChainAggregates(len(funnel.steps), entries=funnel.entries)


FUNNEL = Operator(KIND, decode, selectors, _state, _figures, FunnelPublisher, reads)
