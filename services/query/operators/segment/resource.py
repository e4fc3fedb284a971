"""The segments over HTTP: what they are, who is in them, and how many."""

import asyncio
import datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import is_id
from schemas.errors import Conflict, InvalidRequest
from schemas.operators.segment import (
    SEGMENT,
    Segment,
    SegmentDefinition,
    conditions,
    decode_segment,
)
from services.commands import Write
from services.query.clickhouse.conditions import check_names
from services.query.http.params import (
    Source,
    json_answer,
    now_ms,
    read_day,
    read_page,
    read_source,
)
from services.query.operators.context import Context
from services.query.operators.resource import DefinitionResource, ResourceSpec
from services.query.operators.segment.members import SEGMENT_MEMBERS, Members
from services.query.operators.segment.references import References
from services.query.operators.segment.response import (
    MAX_OVERLAPPED,
    OverlapResponse,
    SegmentCounts,
    SegmentMembersResponse,
    SegmentOverlapResponse,
    SegmentResponse,
    assemble,
    show,
)
from services.query.operators.segment.sql import Clocks, members_statement, sets_of, sizes_statement
from services.query.operators.segment.view import (
    SEGMENT_SIZES,
    SegmentResultsView,
    SegmentSizeRecord,
)
from services.query.views.catalog import Key
from services.query.views.progress import LIVE, StatusResponse


class SegmentListResponse(msgspec.Struct, frozen=True):
    """Some of a project's segments, by id; `next` is the next page's `after`, null at the end."""

    segments: list[SegmentResponse]
    next: str | None


def _read(body: bytes) -> Segment:
    segment = decode_segment(body)
    for where, path in conditions(segment.rule, "rule"):
        check_names(where, path)
    return segment


def _define(parts: dict[str, Any], segment: Segment) -> SegmentDefinition:
    return SegmentDefinition(**parts, segment=segment, rule=segment.rule)


_SPEC: Final = ResourceSpec(SEGMENT, _read, _define, show, SegmentListResponse)


class Segments(DefinitionResource[Segment, SegmentDefinition, SegmentSizeRecord]):
    """The endpoints under `/api/projects/{project}/segments`.

    On its topic a segment has no references, so changing it also writes, with the same commit, all
    segments that refer to it.
    """

    def __init__(self, context: Context) -> None:
        self._sizes = SegmentResultsView(context.partitions)
        super().__init__(_SPEC, SEGMENT_SIZES, self._sizes, context)
        self._members = Members()
        self._members_view = context.follow(SEGMENT_MEMBERS, self._members.apply)
        self._events = context.events

    # ── commands ─────────────────────────────────────────────────────────────────────────────────

    def _write(self, definition: SegmentDefinition) -> Write[SegmentDefinition]:
        """The segment, and those that refer to it, if what they refer to is different now."""
        references = self._references(definition.project_id, definition)
        rule = references.resolved(definition.id)
        written = msgspec.structs.replace(definition, rule=rule)
        return super()._write(written)._replace(also=self._users_anew(written, references))

    def _users_anew(
        self, definition: SegmentDefinition, references: References
    ) -> list[Write[SegmentDefinition]]:
        anew = []
        for name in references.all_users(definition.id):
            key = Key(definition.project_id, name)
            user = self.definitions.get(key)
            try:
                rule = references.resolved(name)
            except InvalidRequest as error:
                raise Conflict(f"segment {name} refers to it: {error.reason}") from None
            if rule != user.rule:
                changed = msgspec.structs.replace(
                    user,
                    rule=rule,
                    version=self.definitions.next_version(key),
                    updated_at=max(definition.updated_at, user.updated_at),
                )
                anew.append(super()._write(changed))
        return anew

    def _check_unused(self, definition: SegmentDefinition) -> None:
        users = self._references(definition.project_id).users(definition.id)
        if users:
            raise Conflict(f"segment {definition.id} is referred to by {', '.join(users)}")

    def _references(self, project_id: str, new: SegmentDefinition | None = None) -> References:
        rules = {one.id: one.segment.rule for one in self.definitions.of(project_id)}
        if new is not None:
            rules[new.id] = new.segment.rule
        return References(rules)

    # ── questions ────────────────────────────────────────────────────────────────────────────────

    async def results(self, request: Request) -> Response:
        """Show how many are in a segment, and were, day by day."""
        source = read_source(request)
        first = read_day(request, "from", datetime.date.min)
        last = read_day(request, "to", datetime.date.max)
        definition = self.find(request)
        if source == "stream":
            self.results_view.require()
            counted = self._sizes.figures(definition)
        else:
            counted = await self._count(definition)
        return json_answer(assemble(definition, source, counted, first, last))

    async def members(self, request: Request) -> Response:
        """Show a page of the persons in a segment."""
        source = read_source(request)
        after, limit = read_page(request)
        definition = self.find(request)
        if source == "stream":
            self._members_view.require()
            crowd = self._members.of(definition)
            found = await asyncio.to_thread(crowd.page, after, limit + 1)
        else:
            clocks = self._clocks(definition)
            answer = await self._events.ask(
                definition.project_id,
                lambda database: members_statement(database, definition, clocks, after, limit + 1),
            )
            found = list(answer.only)
        page, more = found[:limit], len(found) > limit
        return json_answer(
            SegmentMembersResponse(
                id=definition.id,
                version=definition.version,
                source=source,
                state=self._status(source, definition).state,
                persons=page,
                next=page[-1] if more else None,
            )
        )

    async def overlap(self, request: Request) -> Response:
        """Show how many persons a segment has in common with one or two others."""
        source = read_source(request)
        definitions = [self.find(request)]
        project = definitions[0].project_id
        for name in request.query_params.get("with", "").split(","):
            other = self.definitions.find(Key(project, name)) if is_id(name) else None
            if other is None:
                raise InvalidRequest(f"there is no segment {name or 'without an id'}", "with")
            definitions.append(other)
        names = [definition.id for definition in definitions]
        if len(names) > MAX_OVERLAPPED or len(set(names)) < len(names):
            raise InvalidRequest("accepted are one or two other segments, as in `a,b`", "with")
        if source == "stream":
            self._members_view.require()
            by_name = dict(zip(names, definitions, strict=True))
            counts = [
                self._members.in_all([by_name[name] for name in some]) for some in sets_of(names)
            ]
        else:
            clocks = self._clocks(*definitions)
            answer = await self._events.ask(
                project, lambda database: sizes_statement(database, definitions, clocks)
            )
            counts = [int(column[0]) for column in answer.columns]
        statuses = [self._status(source, definition) for definition in definitions]
        least = next((one for one in statuses if one.state != "live"), LIVE)
        overlaps = [
            OverlapResponse(list(some), count)
            for some, count in zip(sets_of(names), counts, strict=True)
        ]
        return json_answer(SegmentOverlapResponse(source, least.state, overlaps))

    async def _count(self, definition: SegmentDefinition) -> SegmentCounts:
        clocks = self._clocks(definition)
        answer = await self._events.ask(
            definition.project_id,
            lambda database: sizes_statement(database, [definition], clocks),
        )
        return SegmentCounts(
            persons=int(answer.only[0]),
            days={},
            late_dropped=0,
            updated_at=now_ms(),
            positions=answer.positions,
        )

    def _clocks(self, *definitions: SegmentDefinition) -> Clocks:
        """What time it is on the stream, for ClickHouse to be asked as of then."""
        now = now_ms()
        clocks: dict[int, int] = {}
        for definition in definitions:
            for partition, clock in self._sizes.clocks(definition, now).items():
                clocks[partition] = max(clock, clocks.get(partition, clock))
        return Clocks(now, clocks)

    def _status(self, source: Source, definition: SegmentDefinition) -> StatusResponse:
        if source == "store":
            return LIVE
        self.results_view.require()
        return self._sizes.status(definition)
