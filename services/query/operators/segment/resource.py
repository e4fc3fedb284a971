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
    MAX_SEGMENTS_PER_PROJECT,
    Segment,
    SegmentDefinition,
    conditions,
    decode_segment,
    encode,
)
from services.commands import Commands, Write
from services.query.clickhouse.conditions import check_names
from services.query.clickhouse.queries import EventStore
from services.query.http.params import (
    DEFAULT_PAGE,
    Source,
    json_answer,
    now_ms,
    read_day,
    read_limit,
    read_source,
)
from services.query.http.resource import DefinitionResource, ResourceSpec
from services.query.operators.segment.members import Members
from services.query.operators.segment.references import References
from services.query.operators.segment.response import (
    Counted,
    Overlap,
    SegmentAnswer,
    SegmentMembers,
    SegmentOverlap,
    assemble,
    show,
)
from services.query.operators.segment.sql import Clocks, members_statement, sets_of, sizes_statement
from services.query.operators.segment.view import Results
from services.query.views.catalog import Definitions, Key
from services.query.views.latest import LIVE, Status
from services.topic_view import TopicView

MAX_OVERLAPPED: Final = 3


class SegmentPage(msgspec.Struct, frozen=True):
    """Some of a project's segments, by id; `next` is the next page's `after`, null at the end."""

    segments: list[SegmentAnswer]
    next: str | None


def _read(body: bytes) -> Segment:
    segment = decode_segment(body)
    for where, path in conditions(segment.rule, "rule"):
        check_names(where, path)
    return segment


def _define(parts: dict[str, Any], segment: Segment) -> SegmentDefinition:
    return SegmentDefinition(**parts, segment=segment, rule=segment.rule)


SEGMENT = ResourceSpec(
    "segment", MAX_SEGMENTS_PER_PROJECT, _read, _define, encode, show, SegmentPage
)


class Segments(DefinitionResource[Segment, SegmentDefinition]):
    """The endpoints under `/api/projects/{project}/segments`.

    A segment stands on its topic without references, so that of one that changes all that refer to
    it are written anew too, with the same commit.
    """

    def __init__(
        self,
        definitions: Definitions[SegmentDefinition],
        view: TopicView[Any],
        sizes: Results,
        sizes_view: TopicView[Any],
        members: Members,
        members_view: TopicView[Any],
        commands: Commands,
        store: EventStore,
    ) -> None:
        super().__init__(SEGMENT, definitions, view, sizes, sizes_view, commands)
        self._sizes = sizes
        self._sizes_view = sizes_view
        self._members = members
        self._members_view = members_view
        self._store = store

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
            user = self._definitions.get(key)
            try:
                rule = references.resolved(name)
            except InvalidRequest as error:
                raise Conflict(f"segment {name} refers to it: {error.reason}") from None
            if rule != user.rule:
                changed = msgspec.structs.replace(
                    user,
                    rule=rule,
                    version=self._definitions.next_version(key),
                    updated_at=max(definition.updated_at, user.updated_at),
                )
                anew.append(super()._write(changed))
        return anew

    def _check_unused(self, definition: SegmentDefinition) -> None:
        users = self._references(definition.project_id).users(definition.id)
        if users:
            raise Conflict(f"segment {definition.id} is referred to by {', '.join(users)}")

    def _references(self, project_id: str, new: SegmentDefinition | None = None) -> References:
        rules = {one.id: one.segment.rule for one in self._definitions.of(project_id)}
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
            self._sizes_view.require()
            counted = self._sizes.figures(definition)
        else:
            counted = await self._count(definition)
        return json_answer(assemble(definition, source, counted, first, last))

    async def members(self, request: Request) -> Response:
        """Show a page of the persons in a segment."""
        source = read_source(request)
        after = request.query_params.get("after", "")
        limit = read_limit(request.query_params.get("limit", str(DEFAULT_PAGE)))
        definition = self.find(request)
        if source == "stream":
            self._members_view.require()
            crowd = self._members.of(definition)
            found = await asyncio.to_thread(crowd.page, after, limit + 1)
        else:
            clocks = self._clocks(definition)
            answer = await self._store.ask(
                definition.project_id,
                lambda database: members_statement(database, definition, clocks, after, limit + 1),
            )
            found = list(answer.only)
        page, more = found[:limit], len(found) > limit
        return json_answer(
            SegmentMembers(
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
            other = self._definitions.find(Key(project, name)) if is_id(name) else None
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
            answer = await self._store.ask(
                project, lambda database: sizes_statement(database, definitions, clocks)
            )
            counts = [int(column[0]) for column in answer.columns]
        statuses = [self._status(source, definition) for definition in definitions]
        least = next((one for one in statuses if one.state != "live"), LIVE)
        overlaps = [
            Overlap(list(some), count) for some, count in zip(sets_of(names), counts, strict=True)
        ]
        return json_answer(SegmentOverlap(source, least.state, overlaps))

    async def _count(self, definition: SegmentDefinition) -> Counted:
        clocks = self._clocks(definition)
        answer = await self._store.ask(
            definition.project_id,
            lambda database: sizes_statement(database, [definition], clocks),
        )
        return Counted(
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

    def _status(self, source: Source, definition: SegmentDefinition) -> Status:
        if source == "store":
            return LIVE
        self._sizes_view.require()
        return self._sizes.status(definition)
