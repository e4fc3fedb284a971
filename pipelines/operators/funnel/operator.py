"""Funnels as an operator: how far persons get through steps.

Plain ordered funnels have a fold of their own, which needs less memory and time than that of
funnels with options (`pipelines.operators.funnel.chain_rules`). What a funnel does not use costs it
nothing.
"""

from collections.abc import Sequence

from pipelines.engine.operator import Alike, Kind, Look
from pipelines.operators.funnel.aggregates import FunnelFigures
from pipelines.operators.funnel.chain_aggregates import ChainFigures
from pipelines.operators.funnel.chain_state import ChainState, rules_of
from pipelines.operators.funnel.publisher import KIND, FunnelResults
from pipelines.operators.sequence.kernel import Shape
from pipelines.operators.sequence.state import FunnelState
from schemas.definitions import FunnelDefinition, decode
from schemas.operators.cohort import Occasion


def looks(definition: FunnelDefinition) -> Sequence[Look]:
    """What a funnel asks of events: its steps, its exclusions, and in a strict one, anything."""
    funnel = definition.funnel
    anything = [Occasion()] if funnel.order == "strict" else []
    return [*funnel.steps, *funnel.exclusions, *anything]


def reads(definition: FunnelDefinition) -> Sequence[Alike]:
    """What a funnel holds constant, and then what its figures are broken down by."""
    funnel = definition.funnel
    held = [Alike(tuple(funnel.hold_constant))] if funnel.hold_constant else []
    broken_down = [Alike((funnel.breakdown.property,))] if funnel.breakdown else []
    return [*held, *broken_down]


def _state(definition: FunnelDefinition, lateness_ms: int) -> FunnelState | ChainState:
    funnel = definition.funnel
    if funnel.plain:
        return FunnelState(Shape(len(funnel.steps), 1_000 * funnel.window_s, lateness_ms))
    return ChainState(rules_of(funnel, lateness_ms))


def _figures(definition: FunnelDefinition) -> FunnelFigures:
    funnel = definition.funnel
    if funnel.plain:
        return FunnelFigures(len(funnel.steps))
    return ChainFigures(len(funnel.steps), entries=funnel.entries)


FUNNELS = Kind(KIND, decode, looks, _state, _figures, FunnelResults, reads)
