"""Definitions of one operator over HTTP: the commands that change them, and how they are shown.

What an operator has of its own is named by its `ResourceSpec`; addresses, versions, pages and
conflicts are the same for all.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import definition_key, is_id
from schemas.errors import Conflict, InvalidRequest
from schemas.operators import OperatorSpec
from schemas.operators.segment import Rule, SegmentDefinition
from services.commands import Write
from services.query.http.params import (
    encode_response,
    key_of,
    now_ms,
    parts,
    project_of,
    read_expected,
    read_fields,
    read_page,
    take,
)
from services.query.live.feed import LiveResults
from services.query.operators.context import Context
from services.query.operators.person_filters import refuse_person_filters
from services.query.promotion import promote
from services.query.versions import previous_of, succeed
from services.query.views.catalog import D, Definitions
from services.query.views.changes import Change, Key, tombstone_headers
from services.query.views.latest import A, LatestByKey
from services.query.views.progress import LIVE_STATES, StatusResponse, failed
from services.query.views.reader import ResultSource, Update

B = TypeVar("B")
P = TypeVar("P", bound=msgspec.Struct)


class ResourceSpec(NamedTuple, Generic[B, D]):
    """How the API reads and shows the definitions of an operator.

    `read` reads what is defined from a request's body, `define` adds id, version and times to it.
    `show` and `page` make the responses of one definition, and of several with the id where the
    next page begins.
    """

    operator: OperatorSpec
    read: Callable[[bytes], B]
    define: Callable[[dict[str, Any], B], D]
    show: Callable[[D], msgspec.Struct]
    page: Callable[[list[Any], str | None], msgspec.Struct]


class DefinitionResource(ABC, Generic[B, D, A]):
    """The endpoints `/api/projects/{project}/<plural>` and below of one operator.

    Attributes:
        name: the operator's.
        results_view: the view of the operator's aggregates.
        definitions: those of this operator, as they are now.
        live: the results that are sent as they change; None if the operator has none.
    """

    live: LiveResults[D] | None = None

    def __init__(
        self,
        spec: ResourceSpec[B, D],
        source: ResultSource[A],
        latest: LatestByKey[A],
        context: Context,
    ) -> None:
        self.name = spec.operator.name
        self._spec = spec
        self._latest = latest
        self.definitions = Definitions[D](spec.operator.name)
        self._segments = Definitions[SegmentDefinition](SegmentDefinition.KIND)
        self._view = context.definitions_view
        self.context = context
        self._commands = context.commands
        self._promotions = context.promotions
        self.results_view = context.follow(source, self._apply_results)

    # ── views ────────────────────────────────────────────────────────────────────────────────────

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in changes of definitions, in the topic's order."""
        self.definitions.apply(changes)
        self._segments.apply(changes)
        if self.live is not None:
            self.live.changed(change.key for change in changes if change.kind == self.name)
        self._wake_promotions()

    def _apply_results(self, updates: Sequence[Update[A]]) -> None:
        self._latest.apply(updates)
        if self.live is not None:
            records = (update.record for update in updates if update.record is not None)
            self.live.changed(Key(*record.version_key[:2]) for record in records)
        self._wake_promotions()

    def _wake_promotions(self) -> None:
        if self.definitions.replacing():
            self._promotions.wake()

    async def promote_live(self) -> None:
        """Make the new versions that are live on all partitions the only ones.

        Raises:
            Unavailable: not acknowledged in time; call again.
        """
        if self._view.trouble or self.results_view.trouble:
            return
        for definition in self.definitions.replacing():
            if self._latest.status(definition).state in LIVE_STATES:
                operator = self._spec.operator
                await promote(self._commands, operator, self.definitions, definition)

    def previous(self, definition: D) -> D | None:
        """Return the version that counts in place of `definition`; None if it counts itself."""
        if self._latest.status(definition).state in LIVE_STATES:
            return None
        return previous_of(self._spec.operator, definition)

    def with_previous(self, definition: D, respond: Callable[[D, P | None], P]) -> P:
        """Return the response for a definition, with that of its previous version inside it."""
        before = self.previous(definition)
        return respond(definition, None if before is None else respond(before, None))

    def find(self, request: Request) -> D:
        """Return the definition that the address names.

        Raises:
            NotFound: there is none.
            Unavailable: it is not known yet.
        """
        key = key_of(request)
        self._view.require()
        return self.definitions.get(key)

    # ── commands ─────────────────────────────────────────────────────────────────────────────────

    async def create(self, request: Request) -> Response:
        """Create one under the id given, or under a new one."""
        operator, project = self._spec.operator, project_of(request)
        fields = await read_fields(request)
        name = take(fields, "id", str)
        if name is not None and not is_id(name):
            raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "id")
        self._view.require()
        body = self._read(project, fields)
        key = Key(project, name or secrets.token_hex(8))

        def decide() -> Write[D]:
            if self.definitions.find(key) or self.definitions.unreadable(key):
                raise Conflict(f"project {project} has a {operator.name} {key.id} already")
            if len(self.definitions.of(project)) >= operator.max_per_project:
                raise Conflict(
                    f"project {project} has {operator.max_per_project} {operator.plural}, which is "
                    "the maximum: delete one first"
                )
            return self._write(self._new(key, body))

        definition = await self._commands.change(decide)
        headers = {"Location": f"/api/projects/{project}/{operator.plural}/{key.id}"}
        return self._respond(definition, 201, headers)

    async def replace(self, request: Request) -> Response:
        """Change one: in place if it counts the same, and else as a new version.

        A new version is counted from the first event on. Until it is live on all partitions, the
        one before it counts.
        """
        key = key_of(request)
        fields = await read_fields(request)
        expected = read_expected(request, fields)
        if take(fields, "id", str) not in {None, key.id}:
            raise InvalidRequest(f"the {self.name} of this address is {key.id}", "id")
        # A definition may be sent back as it is shown.
        fields.pop("created_at", None)
        fields.pop("updated_at", None)
        self._view.require()
        self.results_view.require()
        body = self._read(key.project_id, fields)

        def decide() -> Write[D]:
            if self.definitions.unreadable(key):
                expected.check(key.id, self.definitions.numbers(key))
                return self._write(self._new(key, body))
            before = self.definitions.get(key)
            numbers = self.definitions.numbers(key)
            expected.check(key.id, numbers)
            created, now = before.created_at, max(now_ms(), before.updated_at)
            after = self._spec.define(parts(key, numbers, created, now), body)
            return self._write(self._succeed(before, self._resolved(after)))

        return self._respond(await self._commands.change(decide))

    async def delete(self, request: Request) -> Response:
        """Delete one, with its results."""
        key = key_of(request)
        expected = read_expected(request, {})
        self._view.require()

        def decide() -> Write[None]:
            if not self.definitions.unreadable(key):
                self._check_unused(self.definitions.get(key))
            numbers = self.definitions.numbers(key)
            expected.check(key.id, numbers)
            record = definition_key(key.project_id, self.name, key.id)
            return Write(record, None, tombstone_headers(numbers), None)

        await self._commands.change(decide)
        return Response(status_code=204)

    def _read(self, project: str, fields: dict[str, msgspec.Raw]) -> B:
        """Read what is defined from the fields of a request."""
        body = msgspec.json.encode(self._completed(project, fields))

        def rule_of(segment: str) -> Rule | None:
            found = self._segments.find(Key(project, segment))
            return None if found is None else found.rule

        try:
            return self._spec.read(body)
        except InvalidRequest:
            refuse_person_filters(body, rule_of)
            raise

    def _new(self, key: Key, body: B) -> D:
        """Return a definition that follows nothing, or something that is unreadable."""
        now, numbers = now_ms(), self.definitions.numbers(key).next()
        return self._resolved(self._spec.define(parts(key, numbers, now, now), body))

    def _succeed(self, before: D, after: D) -> D:
        was_live = self._latest.was_live(before)
        return succeed(self._spec.operator, before, after, was_live=was_live)

    def _completed(
        self,
        project: str,  # noqa: ARG002 (some operators take the project's settings)
        fields: dict[str, msgspec.Raw],
    ) -> dict[str, Any]:
        """Add what a definition leaves out and its project has set."""
        return fields

    def _check_unused(self, definition: D) -> None:
        """Raise `Conflict` if a definition must not be deleted."""

    def _resolved(self, definition: D) -> D:
        """Put what other definitions say in the place of references to them."""
        return definition

    def _write(self, definition: D) -> Write[D]:
        """Return what a new or changed definition writes; raises what refuses it."""
        return Write(definition.key, self._spec.operator.encode(definition), {}, definition)

    # ── questions ────────────────────────────────────────────────────────────────────────────────

    async def list(self, request: Request) -> Response:
        """Show a page of the project's."""
        project = project_of(request)
        after, limit = read_page(request)
        self._view.require()
        found = self.definitions.page(project, after, limit + 1)
        page, more = found[:limit], len(found) > limit
        shown = [self._spec.show(item) for item in page]
        return encode_response(self._spec.page(shown, page[-1].id if more else None))

    async def read(self, request: Request) -> Response:
        """Show one."""
        return self._respond(self.find(request))

    def status_of(self, definition: D) -> StatusResponse:
        """Return how far the results of a definition are.

        Raises:
            BackOff, Unavailable: this is not known now.
        """
        self.results_view.require()
        return self._latest.status(definition)

    async def status(self, request: Request) -> Response:
        """Show how far one is."""
        key = key_of(request)
        self._view.require()
        unreadable = self.definitions.unreadable(key)
        if unreadable is not None:
            reason = f"the definition cannot be read: {unreadable.reason}"
            return encode_response(failed(reason))
        return encode_response(self.status_of(self.definitions.get(key)))

    @abstractmethod
    async def results(self, request: Request) -> Response:
        """Show the results of one."""

    def _respond(
        self, definition: D, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        tagged = {"ETag": f'"{definition.revision}"', **(headers or {})}
        return encode_response(self._spec.show(definition), status, tagged)
