"""Funnels as an operator: how far persons get through steps."""

from collections.abc import Sequence
from typing import Final

from pipelines.engine.breakdown import ValuedChanges
from pipelines.engine.operator import Operator
from pipelines.matching.selectors import ValueHash
from pipelines.operators.funnel.instance import FunnelInstance
from pipelines.operators.funnel.publisher import FunnelPublisher
from schemas.event_filter import EventFilter, EventSelector
from schemas.operators import funnel
from schemas.operators.funnel import FunnelDefinition


def selectors(definition: FunnelDefinition) -> Sequence[EventSelector]:
    """Return a funnel's selectors: its steps, its exclusions, and any event if it is strict."""
    of = definition.funnel
    any_event = [EventFilter()] if of.order == "strict" else []
    return [*of.steps, *of.exclusions, *any_event]


def reads(definition: FunnelDefinition) -> Sequence[ValueHash]:
    """Return the properties that a funnel holds constant, and the one that it is broken down by."""
    of = definition.funnel
    held = [ValueHash(tuple(of.hold_constant), whole=True)] if of.hold_constant else []
    broken_down = [ValueHash((of.breakdown.property,))] if of.breakdown else []
    return [*held, *broken_down]


FUNNEL: Final[Operator[FunnelDefinition, FunnelInstance, ValuedChanges]] = Operator(
    funnel.FUNNEL, selectors, FunnelInstance, FunnelPublisher, reads
)
