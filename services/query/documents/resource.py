"""The endpoints of definitions that no worker counts: create, replace, read, list and delete.

What a kind has of its own is in its `DocumentSpec`. Each kind is bounded in a project, and changes
are decided on all earlier ones, as those of operators are.
"""

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import ID_FORMAT, Definition, definition_key, is_id
from schemas.errors import Conflict, InvalidRequest, NotFound
from services.commands import Commands, Write
from services.query.http.params import (
    ANY,
    Expected,
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
from services.query.views.catalog import D, Definitions
from services.query.views.changes import Change, Key, tombstone_headers
from services.topic_view import TopicView

B = TypeVar("B", bound=msgspec.Struct)


class DocumentSpec(NamedTuple, Generic[B, D]):
    """What a kind of document has of its own.

    `read` reads a body from a request, and raises `InvalidRequest` for what is not accepted.
    `define` adds id, version and times to it; `body` returns it from a definition. `counts_alike`
    says whether a changed body keeps its version. `show` and `page` make the responses of one
    document, and of several with the id where the next page begins.
    """

    kind: str
    plural: str
    read: Callable[[bytes], B]
    define: Callable[[dict[str, Any], B], D]
    body: Callable[[D], B]
    counts_alike: Callable[[B, B], bool]
    encode: Callable[[D], bytes]
    show: Callable[[D], msgspec.Struct]
    page: Callable[[list[Any], str | None], msgspec.Struct]


def shown_fields(definition: Definition, body: msgspec.Struct) -> dict[str, Any]:
    """Return a document as it is shown: the fields of its body, its id, numbers and times."""
    return {
        "id": definition.id,
        "revision": definition.revision,
        "version": definition.version,
        "created_at": definition.created_at,
        "updated_at": definition.updated_at,
        **{name: getattr(body, name) for name in body.__struct_fields__},
    }


class Documents(Generic[B, D]):
    """The endpoints under `/api/projects/{project}/<plural>` of one kind.

    `definitions` are those that others read, too, and that somebody else applies changes to;
    without them, the kind has its own.

    Attributes:
        definitions: those of this kind, as they are now.
        max_per_project: how many a project may have.
    """

    max_per_project: int

    def __init__(
        self,
        spec: DocumentSpec[B, D],
        view: TopicView[Any],
        commands: Commands,
        definitions: Definitions[D] | None = None,
    ) -> None:
        self.definitions = Definitions[D](spec.kind) if definitions is None else definitions
        self._spec = spec
        self._view = view
        self._commands = commands

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in changes of definitions, in the topic's order."""
        self.definitions.apply(changes)

    def find(self, request: Request) -> D:
        """Return the document that the address names.

        Raises:
            NotFound: there is none.
            Unavailable: it is not known yet.
        """
        key = key_of(request)
        self._view.require()
        return self.definitions.get(key)

    async def list(self, request: Request) -> Response:
        """Show a page of the project's, by id."""
        project = project_of(request)
        after, limit = read_page(request)
        self._view.require()
        return self._page(self.definitions.page(project, after, limit + 1), limit)

    async def read(self, request: Request) -> Response:
        """Show one."""
        return self._respond(self.find(request))

    async def create(self, request: Request) -> Response:
        """Create one under the id given, or under a new one."""
        spec, project = self._spec, project_of(request)
        fields = await read_fields(request)
        name = take(fields, "id", str)
        if name is not None and not is_id(name):
            raise InvalidRequest(f"accepted are {ID_FORMAT}", "id")
        body = self._read(project, fields)
        self._view.require()
        key = Key(project, name or secrets.token_hex(8))

        def decide() -> Write[D]:
            if self.definitions.find(key) or self.definitions.unreadable(key):
                raise Conflict(f"project {project} has a {spec.kind} {key.id} already")
            self._require_room(project)
            now, numbers = now_ms(), self.definitions.numbers(key).next()
            return self._write(spec.define(parts(key, numbers, now, now), body), None)

        definition = await self._commands.change(decide)
        headers = {"Location": f"/api/projects/{project}/{spec.plural}/{key.id}"}
        return self._respond(definition, 201, headers)

    async def replace(self, request: Request) -> Response:
        """Change one."""
        key, expected, body = await self._read_changed(request)

        def decide() -> Write[D]:
            before = None if self.definitions.unreadable(key) else self.definitions.get(key)
            expected.check(key.id, self.definitions.numbers(key))
            return self._succeed(key, before, body)

        return self._respond(await self._commands.change(decide))

    async def put(self, request: Request) -> Response:
        """Create one under the id of the address, or change it."""
        key, expected, body = await self._read_changed(request)

        def decide() -> Write[tuple[D, bool]]:
            before = self.definitions.find(key)
            if before is not None or self.definitions.unreadable(key) is not None:
                expected.check(key.id, self.definitions.numbers(key))
            elif expected != ANY:
                raise NotFound(f"project {key.project_id} has no {self._spec.kind} {key.id}")
            else:
                self._require_room(key.project_id)
            self._check_others(key, body)
            write = self._succeed(key, before, body)
            return Write(*write[:3], (write.result, before is None), write.also)

        definition, is_new = await self._commands.change(decide)
        return self._respond(definition, 201 if is_new else 200)

    async def delete(self, request: Request) -> Response:
        """Delete one."""
        key = key_of(request)
        expected = read_expected(request, {})
        self._view.require()

        def decide() -> Write[None]:
            if self.definitions.unreadable(key) is None:
                self.definitions.get(key)
            numbers = self.definitions.numbers(key)
            expected.check(key.id, numbers)
            record = definition_key(key.project_id, self._spec.kind, key.id)
            return Write(record, None, tombstone_headers(numbers), None, self._deleted_with(key))

        await self._commands.change(decide)
        return Response(status_code=204)

    async def _read_changed(self, request: Request) -> tuple[Key, Expected, B]:
        """Return what a request to change a document asks for; one may be sent as it is shown."""
        key = key_of(request)
        fields = await read_fields(request)
        expected = read_expected(request, fields)
        if take(fields, "id", str) not in {None, key.id}:
            raise InvalidRequest(f"the {self._spec.kind} of this address is {key.id}", "id")
        self._drop_shown(fields)
        body = self._read(key.project_id, fields)
        self._view.require()
        return key, expected, body

    def _require_room(self, project: str) -> None:
        """Raise `Conflict` if the project has as many documents as it may have."""
        if len(self.definitions.of(project)) >= self.max_per_project:
            raise Conflict(
                f"project {project} has {self.max_per_project} {self._spec.plural}, which is the "
                "maximum: delete one first"
            )

    def _succeed(self, key: Key, before: D | None, body: B) -> Write[D]:
        """Return what writes a document that follows `before`, or nothing that can be read."""
        created, now = now_ms(), now_ms()
        after = self.definitions.numbers(key).next()
        if before is not None:
            created, now = before.created_at, max(now, before.updated_at)
            if self._spec.counts_alike(self._spec.body(before), body):
                after = after._replace(version=before.version)
        return self._write(self._spec.define(parts(key, after, created, now), body), before)

    def _check_others(self, key: Key, body: B) -> None:
        """Raise `Conflict` for a body that the project's other documents do not allow."""

    def _deleted_with(
        self,
        key: Key,  # noqa: ARG002 (some kinds have records of their own)
    ) -> Sequence[Write[Any]]:
        """Return the writes that delete what ends with a document."""
        return ()

    def _read(self, project: str, fields: dict[str, msgspec.Raw]) -> B:
        """Return the body that some fields give; raises `InvalidRequest`."""
        completed = self._completed(project, fields)
        body = self._spec.read(msgspec.json.encode(completed))
        self._check(project, body)
        return body

    def _completed(
        self,
        project: str,  # noqa: ARG002 (some kinds take the project's settings)
        fields: dict[str, msgspec.Raw],
    ) -> dict[str, Any]:
        """Add what a request leaves out."""
        return fields

    def _check(self, project: str, body: B) -> None:
        """Raise `InvalidRequest` for a body that this deployment or project cannot take."""

    def _drop_shown(self, fields: dict[str, msgspec.Raw]) -> None:
        """Remove what a document is shown with and a change must not set."""
        for name in ("created_at", "updated_at"):
            fields.pop(name, None)

    def _write(
        self,
        definition: D,
        before: D | None,  # noqa: ARG002 (some kinds keep what was set before)
    ) -> Write[D]:
        """Return what a new or changed document writes; raises what refuses it."""
        return Write(definition.key, self._spec.encode(definition), {}, definition)

    def _page(self, found: Sequence[D], limit: int) -> Response:
        page, more = found[:limit], len(found) > limit
        shown = [self._spec.show(one) for one in page]
        return encode_response(self._spec.page(shown, page[-1].id if more else None))

    def _respond(
        self, definition: D, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        tagged = {"ETag": f'"{definition.revision}"', **(headers or {})}
        return encode_response(self._spec.show(definition), status, tagged)
