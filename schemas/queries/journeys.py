"""Queries about what persons do in a row: sessions and paths."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.definitions import EventName
from schemas.errors import InvalidRequest
from schemas.queries.lists import Cursor, Limit
from schemas.queries.query import Query, query_spec
from schemas.queries.trends import MAX_INTERVALS, Interval

MAX_GAP_S: Final = 86_400
MAX_STEPS: Final = 10

Gap = Annotated[int, Meta(ge=1, le=MAX_GAP_S)]
Outcome = Literal["reached", "dropped"]


class SessionsQuery(
    Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Sessions: events of a person that follow each other within `gap_s` seconds.

    Only events that pass `where` count. A session belongs to the interval in which it begins, and
    is counted if that is in the range; its events of up to a day after the range count, too.
    Without `from` the range has the last `last` intervals (30 by default). `top` is how many entry
    and exit events are shown.
    """

    gap_s: Gap = 1_800
    interval: Interval = "day"
    last: Annotated[int, Meta(ge=1, le=MAX_INTERVALS)] | None = None
    top: Annotated[int, Meta(ge=1, le=100)] = 10


class PathPersons(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which persons of a path are asked for: those with `event` at `step`.

    `dropped` are those whose path ends there.
    """

    step: Annotated[int, Meta(ge=-MAX_STEPS, le=MAX_STEPS)]
    event: EventName
    outcome: Outcome = "reached"
    limit: Limit = 50
    after: Cursor = ""


class PathsQuery(Query, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Which events follow which: one path a person, from the first event of a name in the range.

    Exactly one of `start`, `end` and `through` names it, for the `steps` events that follow it,
    those before it, or both; without any, a path begins with the person's first event. The events
    of a path follow each other within `gap_s` seconds, and pass `where`. Of each step, the `edges`
    with the most persons are shown, and the others as one.

    `persons` asks for those behind a figure, by id.
    """

    start: EventName | None = None
    end: EventName | None = None
    through: EventName | None = None
    steps: Annotated[int, Meta(ge=1, le=MAX_STEPS)] = 5
    gap_s: Gap = 1_800
    edges: Annotated[int, Meta(ge=1, le=200)] = 20
    persons: PathPersons | None = None

    def check(self) -> None:
        """Refuse what the types alone accept; raises `InvalidRequest`."""
        super().check()
        named = [one for one in (self.start, self.end, self.through) if one is not None]
        if len(named) > 1:
            raise InvalidRequest("only one of `start`, `end` and `through` is accepted")
        if self.from_ is None:
            raise InvalidRequest("must be set for paths", "from")

    @property
    def anchor(self) -> str | None:
        """The name of the event from which paths are followed; None for the first one."""
        return self.start or self.end or self.through

    @property
    def before(self) -> int:
        """How many steps before the anchor are followed."""
        return self.steps if self.end is not None or self.through is not None else 0

    @property
    def behind(self) -> int:
        """How many steps behind the anchor are followed."""
        return 0 if self.end is not None else self.steps


SESSIONS: Final = query_spec("sessions", SessionsQuery, "Sessions, their length and bounces")
PATHS: Final = query_spec("paths", PathsQuery, "Which events follow which")
