"""What a funnel query asks for: the times, the chains, and what they are labelled with."""

from typing import Final, NamedTuple

import msgspec

from schemas.operators.funnel import Breakdown, FunnelDefinition
from schemas.queries.adhoc import FunnelQuery
from schemas.queries.trends import BreakdownBy
from schemas.time.calendar import find_zone, midnight
from services.query.clickhouse.tree import FirstTouch, Label
from services.query.operators.funnel.persons import previous
from services.query.queries.adhoc.days import ONE_DAY, parts_of, read_days
from services.query.queries.adhoc.labels import label_of

MAX_PLAIN_STEPS: Final = 8


class FunnelPlan(NamedTuple):
    """A funnel over the chains that begin from `begin` to `end` (ms), which is out.

    `until` is the time (ms) before which no event is missing: windows that reach it are open.
    """

    definition: FunnelDefinition
    label: Label | None
    begin: int
    end: int
    until: int

    @property
    def window_ms(self) -> int:
        """How long a chain may take."""
        return 1_000 * self.definition.funnel.window_s

    @property
    def span(self) -> tuple[int, int]:
        """The times (ms) of the events that can be in the chains, without the second."""
        return self.begin, self.end + self.window_ms

    @property
    def before(self) -> list[int]:
        """The step before each step that is not optional, from 1; 0 for the first."""
        steps = self.definition.funnel.steps
        return [0, *(previous(steps, number) for number in range(2, len(steps) + 1))]

    @property
    def labelled_at_entry(self) -> bool:
        """Whether a chain's first event has its label."""
        breakdown = self.definition.funnel.breakdown
        return breakdown is None or breakdown.attribution == "first"

    @property
    def is_plain(self) -> bool:
        """Whether the chains are those of a short `ordered` funnel without options.

        The statement for these grows with the square of the number of steps.
        """
        whole = msgspec.structs.replace(self.definition.funnel, breakdown=None)
        return whole.plain and self.labelled_at_entry and len(whole.steps) <= MAX_PLAIN_STEPS


def plan_funnel(project_id: str, query: FunnelQuery, until: int | None) -> FunnelPlan:
    """Return the plan of a query that no event before `until` (ms) is missing of."""
    first, last = read_days(query)
    zone = find_zone(query.timezone)
    by = query.by
    breakdown = label = None
    if by is not None:
        attribution = "first" if by.attribution == "first_touch" else by.attribution
        breakdown = Breakdown(by.property or by.person or "segment", attribution)
        label = _label(query)
    funnel = msgspec.structs.replace(
        query.funnel,
        timezone=query.timezone,
        week_start=query.week_start,
        breakdown=breakdown,
    )
    return FunnelPlan(
        FunnelDefinition(**parts_of(project_id), funnel=funnel),
        label,
        midnight(first, zone),
        midnight(last + ONE_DAY, zone),
        -(2**62) if until is None else until,
    )


def _label(query: FunnelQuery) -> Label | None:
    by = query.by
    if by is None:
        return None
    if by.property is not None and by.attribution == "first_touch":
        return FirstTouch(by.property)
    return label_of(BreakdownBy(by.property, by.person, by.at, by.segment))
