"""Funnels as an operator: how far persons get through steps that they take in order."""

from pipelines.funnel_figures import FunnelFigures
from pipelines.funnel_fold import Shape
from pipelines.funnel_results import KIND, FunnelResults
from pipelines.funnel_state import FunnelState
from pipelines.operators import Kind
from schemas.definitions import FunnelDefinition, Step, decode


def _looks(definition: FunnelDefinition) -> tuple[Step, ...]:
    return definition.funnel.steps


def _state(definition: FunnelDefinition, lateness_ms: int) -> FunnelState:
    funnel = definition.funnel
    return FunnelState(Shape(len(funnel.steps), 1_000 * funnel.window_s, lateness_ms))


def _figures(definition: FunnelDefinition) -> FunnelFigures:
    return FunnelFigures(len(definition.funnel.steps))


FUNNELS = Kind(KIND, decode, _looks, _state, _figures, FunnelResults)
