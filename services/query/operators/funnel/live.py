"""A funnel's results as the live WebSocket sends them."""

import datetime
from functools import partial

import msgspec

from schemas.operators.funnel import FunnelDefinition
from services.query.operators.funnel.response import TotalsResponse, assemble
from services.query.operators.funnel.view import FunnelResultsView
from services.query.operators.live import encode_live
from services.query.views.progress import State


class LiveFunnel(msgspec.Struct, frozen=True, kw_only=True):
    """A funnel's results over all days; the fields are those of `FunnelResultsResponse`."""

    id: str
    version: int
    state: State
    backfilled: float
    totals: TotalsResponse
    late_dropped: int
    updated_at: datetime.datetime | None
    previous: "LiveFunnel | None" = None


def live_funnel(
    definition: FunnelDefinition, previous: FunnelDefinition | None, results: FunnelResultsView
) -> bytes:
    """Return a funnel's present results, and those of the version before, in JSON."""
    return encode_live(definition, previous, partial(_live, results))


def _live(
    results: FunnelResultsView, definition: FunnelDefinition, previous: LiveFunnel | None
) -> LiveFunnel:
    response = assemble(definition, "stream", results.totals(definition))
    return LiveFunnel(
        id=definition.id,
        version=definition.version,
        state=response.state,
        backfilled=response.backfilled,
        totals=response.totals,
        late_dropped=response.late_dropped,
        updated_at=response.updated_at,
        previous=previous,
    )
