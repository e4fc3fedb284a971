"""Definitions of one kind over HTTP: commands that change them, and what they are.

What a kind has of its own is named by its `ResourceSpec`; addresses, versions, pages and conflicts
are the same for all.
"""

import secrets
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import Definition, is_id
from schemas.errors import Conflict, InvalidRequest
from services.commands import Commands, Write
from services.query.http.params import (
    DEFAULT_PAGE,
    check_version,
    json_answer,
    key_of,
    now_ms,
    parts,
    project_of,
    read_expected,
    read_fields,
    read_limit,
    take,
)
from services.query.views.catalog import ENDED_VERSION, Definitions, Key
from services.query.views.latest import LatestByKey
from services.topic_view import TopicView

B = TypeVar("B")
D = TypeVar("D", bound=Definition)


class ResourceSpec(NamedTuple, Generic[B, D]):
    """A kind of definition, as the API changes and shows it."""

    name: str  # a funnel …
    most: int  # … of which a project has so many at most,
    read: Callable[[bytes], B]  # is read from a request's body,
    define: Callable[[dict[str, Any], B], D]  # has an id, a version and times besides,
    encode: Callable[[D], bytes]  # stands so on its topic,
    show: Callable[[D], msgspec.Struct]  # and is shown so.
    page: Callable[[list[Any], str | None], msgspec.Struct]  # several, and where the next begin


class DefinitionResource(Generic[B, D]):
    """The endpoints `/api/projects/{project}/…s` and `…s/{id}` of one kind."""

    def __init__(
        self,
        kind: ResourceSpec[B, D],
        definitions: Definitions[D],
        view: TopicView[Any],
        figures: LatestByKey[Any],
        figures_view: TopicView[Any],
        commands: Commands,
    ) -> None:
        self._kind = kind
        self._definitions = definitions
        self._view = view
        self._figures = figures
        self._figures_view = figures_view
        self._commands = commands

    def find(self, request: Request) -> D:
        """The definition that the address names.

        Raises:
            NotFound: there is none.
            Unavailable: it is not known yet.
        """
        key = key_of(request)
        self._view.require()
        return self._definitions.get(key)

    async def create(self, request: Request) -> Response:
        """Make one under the id given, or under a new one."""
        kind, project = self._kind, project_of(request)
        fields = await read_fields(request)
        name = take(fields, "id", str)
        if name is not None and not is_id(name):
            raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "id")
        self._view.require()
        body = kind.read(msgspec.json.encode(self._completed(project, fields)))
        key = Key(project, name or secrets.token_hex(8))

        def decide() -> Write[D]:
            if self._definitions.find(key):
                raise Conflict(f"project {project} has a {kind.name} {key.id} already")
            if len(self._definitions.of(project)) >= kind.most:
                raise Conflict(
                    f"project {project} has {kind.most} {kind.name}s, which is the most there may "
                    "be: delete one first"
                )
            now = now_ms()
            version = self._definitions.next_version(key)
            return self._write(kind.define(parts(key, version, now, now), body))

        definition = await self._commands.change(decide)
        headers = {"Location": f"/api/projects/{project}/{kind.name}s/{key.id}"}
        return self._answer(definition, 201, headers)

    async def list(self, request: Request) -> Response:
        """Show a page of the project's."""
        project = project_of(request)
        after = request.query_params.get("after", "")
        limit = read_limit(request.query_params.get("limit", str(DEFAULT_PAGE)))
        self._view.require()
        found = self._definitions.page(project, after, limit + 1)
        page, more = found[:limit], len(found) > limit
        shown = [self._kind.show(item) for item in page]
        return json_answer(self._kind.page(shown, page[-1].id if more else None))

    async def read(self, request: Request) -> Response:
        """Show one."""
        return self._answer(self.find(request))

    async def status(self, request: Request) -> Response:
        """Show how far one is."""
        definition = self.find(request)
        self._figures_view.require()
        return json_answer(self._figures.status(definition))

    async def replace(self, request: Request) -> Response:
        """Give one a new definition, which is counted anew from the beginning."""
        key = key_of(request)
        fields = await read_fields(request)
        expected = read_expected(request, take(fields, "version", int))
        if take(fields, "id", str) not in {None, key.id}:
            raise InvalidRequest(f"the {self._kind.name} of this address is {key.id}", "id")
        # What it is shown with may be sent back.
        fields.pop("created_at", None)
        fields.pop("updated_at", None)
        self._view.require()
        body = self._kind.read(msgspec.json.encode(self._completed(key.project_id, fields)))

        def decide() -> Write[D]:
            before = self._definitions.get(key)
            check_version(before, expected)
            created, now = before.created_at, max(now_ms(), before.updated_at)
            version = self._definitions.next_version(key)
            return self._write(self._kind.define(parts(key, version, created, now), body))

        return self._answer(await self._commands.change(decide))

    async def delete(self, request: Request) -> Response:
        """Delete one; its figures go with it."""
        key = key_of(request)
        expected = read_expected(request, None)
        self._view.require()

        def decide() -> Write[None]:
            before = self._definitions.get(key)
            check_version(before, expected)
            self._check_unused(before)
            headers = {ENDED_VERSION: str(before.version).encode()}
            return Write(before.key, None, headers, None)

        await self._commands.change(decide)
        return Response(status_code=204)

    def _completed(
        self,
        project: str,  # noqa: ARG002 (some kinds have settings of the project to go by)
        fields: dict[str, msgspec.Raw],
    ) -> dict[str, Any]:
        """What a definition is made of, where it leaves out what its project has settled."""
        return fields

    def _check_unused(self, definition: D) -> None:
        """Raise `Conflict` if a definition must not be deleted."""

    def _write(self, definition: D) -> Write[D]:
        """What is written when a definition is made or changed; raises what refuses it."""
        return Write(definition.key, self._kind.encode(definition), {}, definition)

    def _answer(
        self, definition: D, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        tagged = {"ETag": f'"{definition.version}"', **(headers or {})}
        return json_answer(self._kind.show(definition), status, tagged)
