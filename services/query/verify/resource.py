"""`GET …/{id}/verify`, for every operator whose figures ClickHouse counts, too."""

import asyncio
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final, Generic, NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InvalidRequest
from schemas.event_filter import EventSelector
from services.query.http.params import (
    encode_response,
    instant,
    now_ms,
    read_choice,
    read_clock,
)
from services.query.log.as_of import ACCEPTED, read_as_of
from services.query.operators.resource import B, DefinitionResource
from services.query.verify.audit import Audit, Audited, read_cursor
from services.query.verify.compare import FigureDifference, differences
from services.query.verify.diff import (
    MAX_EVENTS,
    WHICH,
    DiffResponse,
    changes,
    changing_events_statement,
    read_events,
    span_of,
)
from services.query.verify.response import (
    MAX_FIGURES,
    MAX_PERSONS,
    Cause,
    PersonDifference,
    VerificationResponse,
)
from services.query.views.catalog import D
from services.query.views.crowd import Crowd
from services.query.views.latest import A

# The stream's records of one moment may be read in two parts, so a difference must be seen again.
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.5
_STORED_TIMEOUT_S: Final = 10.0
_NOTHING: Final = Audited([], None)


class Moment(NamedTuple):
    """The time of day (ms), and the project's time then."""

    now: int
    clock: int | None


class Results(Protocol):
    """The response with an operator's results, which is compared as it is in JSON."""

    @property
    def late_dropped(self) -> int:
        """How many events came too late to be counted at once."""


class Found(NamedTuple):
    """What one comparison has found, over the events below `positions`."""

    moment: Moment
    positions: dict[int, int]
    late_dropped: int
    figures: list[FigureDifference]
    persons: list[PersonDifference]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.figures and not self.persons


class VerifiedResource(DefinitionResource[B, D, A], Generic[B, D, A]):
    """The endpoints of an operator with figures on the stream and in ClickHouse.

    Attributes:
        not_compared: fields of its results that the two do not both count exactly.
    """

    not_compared: tuple[str, ...] = ()

    @abstractmethod
    def on_stream(self, definition: D, moment: Moment) -> Results:
        """Return the response with the stream's figures, all that there are."""

    @abstractmethod
    async def in_store(
        self, definition: D, moment: Moment, positions: Mapping[int, int]
    ) -> Results:
        """Return the response with ClickHouse's figures of the events below some positions."""

    def persons_on_stream(self, definition: D) -> Crowd | None:  # noqa: ARG002 (of most: unknown)
        """Return who is counted on the stream; None if it does not say."""
        return None

    async def differing_persons(
        self, definition: D, moment: Moment, positions: Mapping[int, int], stream: Crowd
    ) -> list[PersonDifference] | None:
        """Return who is counted by one of the two only; None if that is too much to compare."""
        raise NotImplementedError

    async def verify(self, request: Request) -> Response:
        """Count a definition in ClickHouse at the stream's positions, and show what differs."""
        after = read_cursor(request.query_params.get("after"))
        definition = self.find(request)
        self.results_view.require()
        found = await self._compare(definition)
        for _ in range(_ATTEMPTS - 1):
            if found.equal:
                break
            await asyncio.sleep(_PAUSE_S)
            found = await self._compare(definition)
        audited = _NOTHING
        if not found.equal:
            audited = await Audit(self.context.events, self.context.event_codec).page(
                definition.project_id, found.positions, after
            )
        return encode_response(self._verification(definition, found, audited))

    @abstractmethod
    def selectors(self, definition: D) -> Sequence[EventSelector] | None:
        """Return what selects the events that a definition counts; None if it looks at all."""

    async def diff(self, request: Request) -> Response:
        """Show what changed between two answers, and by which events."""
        after = read_cursor(request.query_params.get("after"))
        which = read_choice(request, "events", WHICH)
        asked, clock = read_as_of(request, "to"), read_clock(request)
        earlier = read_as_of(request, "from")
        if earlier is None:
            raise InvalidRequest(f"is required; {ACCEPTED}", "from")
        definition = self.find(request)
        project, store = definition.project_id, self.context.events
        if asked is None:
            end = await store.positions(project)
        else:
            end = (await store.prefix(project, asked, "to")).positions
        begin = (await store.prefix(project, earlier, "from")).positions
        span = span_of(begin, end)
        clock = await store.newest_event(project, end) if clock is None else clock
        moment = Moment(now_ms() if clock is None else clock, clock)
        before = await self.in_store(definition, moment, span.begin)
        later = await self.in_store(definition, moment, span.end)
        figures = differences(before, later)
        found = await store.query(
            project,
            lambda source: changing_events_statement(
                source, project, self.selectors(definition), span.begin, which, after
            ),
            span.end,
        )
        events = list(read_events(found.columns, self.context.lateness_ms))
        more = events[MAX_EVENTS:]
        return encode_response(
            DiffResponse(
                id=definition.id,
                kind=self.name,
                version=definition.version,
                from_=dict(sorted(begin.items())),
                to=dict(sorted(end.items())),
                clock=None if clock is None else instant(clock),
                differing=len(figures),
                figures=changes(figures),
                events=events[:MAX_EVENTS],
                next=f"{more[0].partition}:{more[0].offset}" if more else None,
            )
        )

    async def _compare(self, definition: D) -> Found:
        """Read the stream's figures, and count the same once the store has their events."""
        project, now = definition.project_id, now_ms()
        moment = Moment(now, self.context.clock(project, now))
        positions = self._latest.positions(definition)
        stream, crowd = self.on_stream(definition, moment), self.persons_on_stream(definition)
        await self.context.events.await_stored(project, positions, _STORED_TIMEOUT_S)
        store = await self.in_store(definition, moment, positions)
        figures = differences(stream, store, self.not_compared)
        persons = None
        if crowd is not None:
            persons = await self.differing_persons(definition, moment, positions, crowd)
        if persons is not None and not persons:
            figures = []  # their number alone has changed while it was asked for
        return Found(moment, positions, stream.late_dropped, figures, persons or [])

    def _verification(self, definition: D, found: Found, audited: Audited) -> VerificationResponse:
        named = {one.person: one for one in found.persons}
        for one in audited.found:
            named.setdefault(one.person, PersonDifference(one.person, "event_differs", one.text))
        state = self._latest.status(definition).state
        cause: Cause | None = None
        if audited.found:
            cause = "store"
        elif not found.equal and audited.next is None:
            cause = "stream"
        return VerificationResponse(
            id=definition.id,
            kind=self.name,
            version=definition.version,
            state=state,
            equal=found.equal,
            clock=None if found.moment.clock is None else instant(found.moment.clock),
            positions=dict(sorted(found.positions.items())),
            complete_until=self.context.complete_until(definition.project_id, "stream", state),
            late_dropped=found.late_dropped,
            not_compared=list(self.not_compared),
            differing=len(found.figures),
            figures=found.figures[:MAX_FIGURES],
            cause=cause,
            persons=list(named.values())[:MAX_PERSONS],
            events=audited.found,
            next=None if audited.next is None else "{}:{}".format(*audited.next),
        )
