"""A funnel's figures as they are sent by themselves."""

import datetime

import msgspec

from schemas.operators.funnel import FunnelDefinition
from services.query.operators.funnel.response import TotalsResponse, assemble
from services.query.operators.funnel.view import FunnelResultsView
from services.query.views.progress import State


class LiveFunnel(msgspec.Struct, frozen=True, kw_only=True):
    """A funnel's figures over all days; what they mean stands at `FunnelResultsResponse`."""

    id: str
    version: int
    state: State
    backfilled: float
    totals: TotalsResponse
    late_dropped: int
    updated_at: datetime.datetime | None


def live_funnel(definition: FunnelDefinition, results: FunnelResultsView) -> bytes:
    """Return a funnel's figures as they are now, a `LiveFunnel` in JSON."""
    answer = assemble(definition, "stream", results.totals(definition))
    live = LiveFunnel(
        id=definition.id,
        version=definition.version,
        state=answer.state,
        backfilled=answer.backfilled,
        totals=answer.totals,
        late_dropped=answer.late_dropped,
        updated_at=answer.updated_at,
    )
    return msgspec.json.encode(live)
