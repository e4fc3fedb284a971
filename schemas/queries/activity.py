"""Queries about how persons come back: lifecycle and stickiness."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from schemas.definitions import EventName
from schemas.queries.query import Query, query_spec

MAX_PERIODS: Final = 366

Calendar = Literal["day", "week", "month"]


class ActivityQuery(
    Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """In which intervals persons have an event, of the name `event` if it is set.

    The intervals are all those that the range touches, and count as a whole. Without `from` they
    are the last `last` ones (30 by default), including the present one.
    """

    event: EventName | None = None
    interval: Calendar = "day"
    last: Annotated[int, Meta(ge=1, le=MAX_PERIODS)] | None = None


class LifecycleQuery(
    ActivityQuery, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """How many persons are new, return, come back to life or go dormant in each interval.

    The fields are those of `ActivityQuery`. A person who has an event in an interval is `new` in
    it, if it has the person's first event of all time; `returning`, if there is one in the interval
    before; else `resurrecting`. A person who has none, but one in the interval before, is
    `dormant`. Only events that pass `where` and have the name count.
    """


class StickinessQuery(
    ActivityQuery, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """How many persons have events in one interval of the range, in two, and so on.

    The fields are those of `ActivityQuery`.
    """


LIFECYCLE: Final = query_spec(
    "lifecycle", LifecycleQuery, "New, returning, resurrecting and dormant persons over time"
)
STICKINESS: Final = query_spec(
    "stickiness", StickinessQuery, "Persons by how many intervals they are active in"
)
