"""The funnels over HTTP: commands that change them, and queries for their figures."""

import datetime
import secrets
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import (
    MAX_FUNNELS_PER_PROJECT,
    Funnel,
    FunnelDefinition,
    decode_funnel,
    encode,
    is_id,
)
from schemas.errors import Conflict, InvalidRequest
from services.commands import Commands, Write
from services.following import Following
from services.query.condition_sql import check_names
from services.query.definitions import ENDED_VERSION, Definitions, Key
from services.query.figures import FunnelAnswer, FunnelResults, assemble, show
from services.query.funnel_store import FunnelStore
from services.query.requests import (
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
from services.query.results import Results


class FunnelPage(msgspec.Struct, frozen=True):
    """Some of a project's funnels, by id; `next` is the next page's `after`, null at the end."""

    funnels: list[FunnelAnswer]
    next: str | None


class Funnels:
    """The endpoints under `/api/projects/{project}/funnels`."""

    def __init__(
        self,
        definitions: Definitions[FunnelDefinition],
        definitions_view: Following[Any],
        results: Results,
        results_view: Following[Any],
        commands: Commands,
        store: FunnelStore,
    ) -> None:
        self._definitions = definitions
        self._definitions_view = definitions_view
        self._results = results
        self._results_view = results_view
        self._commands = commands
        self._store = store

    async def create(self, request: Request) -> Response:
        """Make a funnel under the id given, or under a new one."""
        project = project_of(request)
        fields = await read_fields(request)
        name = take(fields, "id", str)
        if name is not None and not is_id(name):
            raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "id")
        funnel = _read_funnel(fields)
        self._definitions_view.require()
        key = Key(project, name or secrets.token_hex(8))

        def decide() -> Write[FunnelDefinition]:
            if self._definitions.find(key):
                raise Conflict(f"project {project} has a funnel {key.id} already")
            if len(self._definitions.of(project)) >= MAX_FUNNELS_PER_PROJECT:
                raise Conflict(
                    f"project {project} has {MAX_FUNNELS_PER_PROJECT} funnels, which is the most "
                    "there may be: delete one first"
                )
            now = now_ms()
            version = self._definitions.next_version(key)
            return _write(FunnelDefinition(**parts(key, version, now, now), funnel=funnel))

        definition = await self._commands.change(decide)
        headers = {"Location": f"/api/projects/{project}/funnels/{key.id}"}
        return _answer(definition, 201, headers)

    async def list(self, request: Request) -> Response:
        """Show a page of the project's funnels."""
        project = project_of(request)
        after = request.query_params.get("after", "")
        limit = read_limit(request.query_params.get("limit", str(DEFAULT_PAGE)))
        self._definitions_view.require()
        found = self._definitions.page(project, after, limit + 1)
        page, more = found[:limit], len(found) > limit
        return json_answer(FunnelPage([show(item) for item in page], page[-1].id if more else None))

    async def read(self, request: Request) -> Response:
        """Show a funnel."""
        key = key_of(request)
        self._definitions_view.require()
        return _answer(self._definitions.get(key))

    async def replace(self, request: Request) -> Response:
        """Give a funnel a new definition, which is counted anew from the beginning."""
        key = key_of(request)
        fields = await read_fields(request)
        expected = read_expected(request, take(fields, "version", int))
        if take(fields, "id", str) not in {None, key.id}:
            raise InvalidRequest(f"the funnel of this address is {key.id}", "id")
        # What a funnel is shown with may be sent back.
        fields.pop("created_at", None)
        fields.pop("updated_at", None)
        funnel = _read_funnel(fields)
        self._definitions_view.require()

        def decide() -> Write[FunnelDefinition]:
            before = self._definitions.get(key)
            check_version(before, expected)
            created, now = before.created_at, max(now_ms(), before.updated_at)
            version = self._definitions.next_version(key)
            return _write(FunnelDefinition(**parts(key, version, created, now), funnel=funnel))

        return _answer(await self._commands.change(decide))

    async def delete(self, request: Request) -> Response:
        """Delete a funnel; its figures go with it."""
        key = key_of(request)
        expected = read_expected(request, None)
        self._definitions_view.require()

        def decide() -> Write[None]:
            before = self._definitions.get(key)
            check_version(before, expected)
            headers = {ENDED_VERSION: str(before.version).encode()}
            return Write(before.key, None, headers, None)

        await self._commands.change(decide)
        return Response(status_code=204)

    async def results(self, request: Request) -> Response:
        """Show a funnel's figures, as the stream has them or counted anew in ClickHouse."""
        key = key_of(request)
        source = request.query_params.get("source", "stream")
        first = _read_day(request, "from", datetime.date.min)
        last = _read_day(request, "to", datetime.date.max)
        self._definitions_view.require()
        definition = self._definitions.get(key)
        answer: FunnelResults
        if source == "stream":
            self._results_view.require()
            answer = assemble(definition, "stream", self._results.figures(definition), first, last)
        elif source == "store":
            counted = await self._store.count(definition, first, last, now_ms())
            answer = assemble(definition, "store", counted, first, last)
        else:
            raise InvalidRequest("accepted are `stream` and `store`", "source")
        return json_answer(answer)


def _read_funnel(fields: dict[str, msgspec.Raw]) -> Funnel:
    funnel = decode_funnel(msgspec.json.encode(fields))
    check_names(funnel)
    return funnel


def _read_day(request: Request, name: str, otherwise: datetime.date) -> datetime.date:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        raise InvalidRequest("accepted is a day as YYYY-MM-DD", name) from None


def _write(definition: FunnelDefinition) -> Write[FunnelDefinition]:
    return Write(definition.key, encode(definition), {}, definition)


def _answer(
    definition: FunnelDefinition, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return json_answer(
        show(definition), status, {"ETag": f'"{definition.version}"', **(headers or {})}
    )
