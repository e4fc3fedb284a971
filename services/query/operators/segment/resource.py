"""The endpoints of segments: definitions, sizes, members and overlap."""

import asyncio
import datetime
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import is_id
from schemas.errors import BackOff, Conflict, InvalidRequest
from schemas.event_filter import EventSelector
from schemas.operators.prediction import PredictionDefinition
from schemas.operators.segment import (
    SEGMENT,
    Segment,
    SegmentDefinition,
    decode_segment,
)
from services.commands import Write
from services.query.http.params import (
    encode_response,
    now_ms,
    project_of,
    read_day,
    read_page,
    read_source,
)
from services.query.operators.context import Context
from services.query.operators.resource import ResourceSpec
from services.query.operators.segment.aggregates import SegmentAggregates
from services.query.operators.segment.asked import known_clock, refuse_scores
from services.query.operators.segment.live import live_segment
from services.query.operators.segment.members import SEGMENT_MEMBERS, Members
from services.query.operators.segment.references import References
from services.query.operators.segment.response import (
    MAX_OVERLAPPED,
    SegmentMembersResponse,
    SegmentOverlapResponse,
    SegmentResponse,
    SegmentResultsResponse,
    assemble,
    members_response,
    overlap_response,
    sets_of,
    show,
)
from services.query.operators.segment.selectors import selectors_of
from services.query.operators.segment.sql import members_statement, sizes_statement
from services.query.operators.segment.view import (
    SEGMENT_SIZES,
    SegmentResultsView,
    SegmentSizeRecord,
)
from services.query.tables.media import JSON, read_media_type
from services.query.tables.persons import answer_held_persons, answer_persons
from services.query.verify.resource import Moment, VerifiedResource
from services.query.verify.response import PersonDifference, added, missing
from services.query.versions import previous_of
from services.query.views.catalog import Definitions
from services.query.views.changes import Change, Key, has_previous
from services.query.views.crowd import Crowd
from services.query.views.progress import LIVE

# Members who are compared one by one, and how late those whose time is over may be published.
MAX_COMPARED: Final = 200_000
GRACE_MS: Final = 5_000
_BACKFILLING_RETRY_S: Final = 5


class SegmentListResponse(msgspec.Struct, frozen=True):
    """Some of a project's segments, by id; `next` is the next page's `after`, null at the end."""

    segments: list[SegmentResponse]
    next: str | None


def _define(parts: dict[str, Any], segment: Segment) -> SegmentDefinition:
    return SegmentDefinition(**parts, segment=segment, rule=segment.rule)


_SPEC: Final = ResourceSpec(SEGMENT, decode_segment, _define, show, SegmentListResponse)


class Segments(VerifiedResource[Segment, SegmentDefinition, SegmentSizeRecord]):
    """The endpoints under `/api/projects/{project}/segments`.

    On the topic, a segment's rule has no references. So changing a segment also writes, with the
    same commit, the segments that refer to it.
    """

    def __init__(self, context: Context) -> None:
        self._sizes = SegmentResultsView(context.partitions)
        self._predictions = Definitions[PredictionDefinition](PredictionDefinition.KIND)
        super().__init__(_SPEC, SEGMENT_SIZES, self._sizes, context)
        self._members = Members()
        self._members_view = context.follow(SEGMENT_MEMBERS, self._members.apply)
        self._events = context.events
        self._projects = context.projects
        self._clock_of = context.clock

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in changes of definitions, in the topic's order."""
        self._predictions.apply(changes)
        for change in changes:
            before = self.definitions.find(change.key) if change.kind == self.name else None
            if before is not None and isinstance(change.definition, SegmentDefinition):
                self._note_promotion(before, change.definition)
            super().apply([change])

    def _note_promotion(self, before: SegmentDefinition, after: SegmentDefinition) -> None:
        previous = previous_of(SEGMENT, before)
        if previous and before.version == after.version and not has_previous(after):
            self._members.take_over(after, previous.version)

    # ── commands ─────────────────────────────────────────────────────────────────────────────────

    def _completed(self, project: str, fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """Add the project's time zone to a segment that names none."""
        return self._projects.with_time_zone(project, fields)

    def _resolved(self, definition: SegmentDefinition) -> SegmentDefinition:
        references = self._references(definition.project_id, definition)
        return msgspec.structs.replace(definition, rule=references.resolved(definition.id))

    def _write(self, definition: SegmentDefinition) -> Write[SegmentDefinition]:
        """Return the write of the segment, and of those that refer to it and change with it."""
        return super()._write(definition)._replace(also=self._changed_users(definition))

    def _changed_users(self, definition: SegmentDefinition) -> list[Write[SegmentDefinition]]:
        references = self._references(definition.project_id, definition)
        writes = []
        for name in references.all_users(definition.id):
            user = self.definitions.get(Key(definition.project_id, name))
            try:
                rule = references.resolved(name)
            except InvalidRequest as error:
                raise Conflict(f"segment {name} refers to this one: {error.reason}") from None
            if rule != user.rule:
                updated_at = max(definition.updated_at, user.updated_at)
                changed = msgspec.structs.replace(user, rule=rule, updated_at=updated_at)
                writes.append(super()._write(self._succeed(user, changed)))
        return writes

    def _check_unused(self, definition: SegmentDefinition) -> None:
        users = self._references(definition.project_id).users(definition.id)
        if users:
            raise Conflict(f"segments refer to {definition.id}: {', '.join(users)}")

    def _references(self, project_id: str, new: SegmentDefinition | None = None) -> References:
        rules = {one.id: one.segment.rule for one in self.definitions.of(project_id)}
        if new is not None:
            rules[new.id] = new.segment.rule
        return References(rules, set(self._predictions.ids(project_id)))

    def live_state(self, definition: SegmentDefinition) -> bytes:
        """Return a `LiveSegment` in JSON."""
        return live_segment(definition, self.previous(definition), self._sizes)

    # ── questions ────────────────────────────────────────────────────────────────────────────────

    async def results(self, request: Request) -> Response:
        """Show how many persons are in a segment, and were, day by day."""
        source = read_source(request)
        first = read_day(request, "from", datetime.date.min)
        last = read_day(request, "to", datetime.date.max)
        definition = self.find(request)
        project = definition.project_id
        clock = self._clock_of(project, now_ms())
        if source == "store":
            refuse_scores([definition])
            prefix = await self.context.prefix(request, project)
            clock = known_clock(clock, prefix)
            counts = await self.count(definition, clock, prefix and prefix.positions)
            complete = self.context.complete_until(project, source, prefix=prefix)
            return encode_response(
                assemble(definition, source, counts, clock, first, last, None, complete)
            )
        self.results_view.require()

        def respond(
            one: SegmentDefinition, previous: SegmentResultsResponse | None
        ) -> SegmentResultsResponse:
            counts = self._sizes.aggregates(one)
            complete = self.context.complete_until(project, source, counts.status.state)
            return assemble(one, source, counts, clock, first, last, previous, complete)

        return encode_response(self.with_previous(definition, respond))

    async def members(self, request: Request) -> Response:
        """Show a page of the persons in a segment."""
        source = read_source(request)
        page = read_page(request)
        definition = self.find(request)
        project = definition.project_id
        clock = self._clock_of(project, now_ms())
        media_type = read_media_type(request)
        if source == "store":
            refuse_scores([definition])
            prefix = await self.context.prefix(request, project)
            asked = known_clock(clock, prefix)
            if media_type != JSON:
                return await answer_persons(
                    *(request, media_type, self._events, project),
                    lambda source: members_statement(source, definition, asked, page.after, None),
                    prefix and prefix.positions,
                )
            result = await self._events.query(
                project,
                lambda source: members_statement(
                    source, definition, asked, page.after, page.limit + 1
                ),
                prefix and prefix.positions,
            )
            complete = self.context.complete_until(project, source, prefix=prefix)
            return encode_response(
                members_response(
                    *(definition, source, "live", result.only, page, asked),
                    positions=result.positions,
                    complete_until=complete,
                )
            )
        self._require_views()
        if media_type != JSON:
            if self._sizes.status(definition).state != "live":
                because = "the segment is backfilling, so that members are missing: ask again later"
                raise BackOff(f"{because}, or with source=store", _BACKFILLING_RETRY_S)
            members = partial(self._members.of(definition).all, page.after)
            positions = self._sizes.positions(definition)
            return await answer_held_persons(request, media_type, members, positions)

        async def respond(
            one: SegmentDefinition, previous: SegmentMembersResponse | None
        ) -> SegmentMembersResponse:
            crowd = self._members.of(one)
            found = await asyncio.to_thread(crowd.page, page.after, page.limit + 1)
            state = self._sizes.status(one).state
            return members_response(
                *(one, source, state, found, page, clock, previous),
                positions=self._sizes.positions(one),
                complete_until=self.context.complete_until(project, source, state),
            )

        before = self.previous(definition)
        previous = None if before is None else await respond(before, None)
        return encode_response(await respond(definition, previous))

    async def overlap(self, request: Request) -> Response:
        """Show how many persons a segment has in common with one or two others."""
        source = read_source(request)
        definitions = [self.find(request), *self._others(request)]
        names = [definition.id for definition in definitions]
        if len(names) > MAX_OVERLAPPED or len(set(names)) < len(names):
            raise InvalidRequest("accepted are one or two other segments, as in `a,b`", "with")
        project = definitions[0].project_id
        clock = self._clock_of(project, now_ms())
        if source == "store":
            refuse_scores(definitions)
            prefix = await self.context.prefix(request, project)
            asked = known_clock(clock, prefix)
            result = await self._events.query(
                project,
                lambda source: sizes_statement(source, definitions, asked),
                prefix and prefix.positions,
            )
            counts = [int(column[0]) for column in result.columns]
            complete = self.context.complete_until(project, source, prefix=prefix)
            return encode_response(
                overlap_response(
                    *(source, "live", names, counts, asked),
                    positions=result.positions,
                    complete_until=complete,
                )
            )
        self._require_views()
        before = [self.previous(definition) or definition for definition in definitions]
        previous = None if before == definitions else self._overlap(before, clock)
        return encode_response(self._overlap(definitions, clock, previous))

    def _others(self, request: Request) -> Iterator[SegmentDefinition]:
        for name in request.query_params.get("with", "").split(","):
            key = Key(project_of(request), name)
            other = self.definitions.find(key) if is_id(name) else None
            if other is None:
                raise InvalidRequest(f"there is no segment {name!r}", "with")
            yield other

    def _overlap(
        self,
        definitions: Sequence[SegmentDefinition],
        clock: int | None,
        previous: SegmentOverlapResponse | None = None,
    ) -> SegmentOverlapResponse:
        """Count, on the stream, who is in all of some segments."""
        by_name = {definition.id: definition for definition in definitions}
        counts = [
            self._members.in_all([by_name[name] for name in some]) for some in sets_of([*by_name])
        ]
        statuses = [self._sizes.status(definition) for definition in definitions]
        least = next((one for one in statuses if one.state != "live"), LIVE)
        # Every event below the least position of a partition is in all of them.
        positions = [self._sizes.positions(definition) for definition in definitions]
        return overlap_response(
            *("stream", least.state, [*by_name], counts, clock, previous),
            positions={
                number: min(one[number] for one in positions)
                for number in positions[0]
                if all(number in one for one in positions)
            },
            complete_until=self.context.complete_until(
                definitions[0].project_id, "stream", least.state
            ),
        )

    # ClickHouse does not count who was in at the end of a day.
    not_compared = ("days",)

    def selectors(self, definition: SegmentDefinition) -> Sequence[EventSelector] | None:
        """Return what selects the events that a segment looks at; None if it looks at all."""
        return selectors_of(definition.rule)

    def on_stream(self, definition: SegmentDefinition, moment: Moment) -> SegmentResultsResponse:
        """Return the response with the stream's figures."""
        return assemble(definition, "stream", self._sizes.aggregates(definition), moment.clock)

    async def in_store(
        self, definition: SegmentDefinition, moment: Moment, positions: Mapping[int, int]
    ) -> SegmentResultsResponse:
        """Return the response with ClickHouse's figures of the events below some positions."""
        refuse_scores([definition], "")
        clock = known_clock(moment.clock)
        counts = await self.count(definition, clock, positions)
        return assemble(definition, "store", counts, clock)

    def persons_on_stream(self, definition: SegmentDefinition) -> Crowd | None:
        """Return the members, if they are known and not too many to be compared one by one."""
        if self._members_view.trouble or self._members.full:
            return None
        crowd = self._members.of(definition)
        return crowd if len(crowd.numbers) <= MAX_COMPARED else None

    async def differing_persons(
        self,
        definition: SegmentDefinition,
        moment: Moment,
        positions: Mapping[int, int],
        stream: Crowd,
    ) -> list[PersonDifference] | None:
        """Return who is in the segment on the stream or in ClickHouse only.

        Who has left or entered because time has passed may be published some seconds later.
        """
        clock = known_clock(moment.clock)
        stored = [
            await self._members_at(definition, at, positions) for at in (clock, clock - GRACE_MS)
        ]
        if any(len(some) > MAX_COMPARED for some in stored):
            return None
        members = {stream.names[number] for number in stream.numbers}
        return [
            *(missing(person) for person in sorted(members - stored[0] - stored[1])),
            *(added(person) for person in sorted((stored[0] & stored[1]) - members)),
        ]

    async def _members_at(
        self, definition: SegmentDefinition, clock: int, positions: Mapping[int, int]
    ) -> set[str]:
        result = await self._events.query(
            definition.project_id,
            lambda source: members_statement(source, definition, clock, "", MAX_COMPARED + 1),
            positions,
        )
        return set(map(str, result.only))

    async def count(
        self,
        definition: SegmentDefinition,
        clock: int,
        positions: Mapping[int, int] | None = None,
    ) -> SegmentAggregates:
        """Count a segment in ClickHouse, over the events below some positions."""
        result = await self._events.query(
            definition.project_id,
            lambda source: sizes_statement(source, [definition], clock),
            positions,
        )
        return SegmentAggregates(
            persons=int(result.only[0]),
            days={},
            late_dropped=0,
            updated_at=now_ms(),
            positions=result.positions,
        )

    def _require_views(self) -> None:
        self.results_view.require()
        self._members_view.require()
