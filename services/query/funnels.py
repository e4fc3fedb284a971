"""The funnels over HTTP: commands that change them, and queries for their figures."""

import datetime
import secrets
import time
from typing import Any, Final

import msgspec
from starlette.exceptions import HTTPException
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
from schemas.errors import Conflict, InvalidRequest, NotFound
from services.commands import Commands, Write
from services.following import Following
from services.query.condition_sql import check_names
from services.query.definitions import ENDED_VERSION, Definitions, Key
from services.query.figures import FunnelAnswer, FunnelResults, assemble, show
from services.query.funnel_store import FunnelStore
from services.query.results import Results

MAX_BODY_BYTES: Final = 262_144
MAX_PAGE: Final = 200
DEFAULT_PAGE: Final = 50


class FunnelPage(msgspec.Struct, frozen=True):
    """Some of a project's funnels, by id; `next` is the next page's `after`, null at the end."""

    funnels: list[FunnelAnswer]
    next: str | None


class Funnels:
    """The endpoints under `/api/projects/{project}/funnels`."""

    def __init__(
        self,
        definitions: Definitions,
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
        project = _project(request)
        fields = await _read_fields(request)
        name = _take(fields, "id", str)
        if name is not None and not is_id(name):
            raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "id")
        funnel = _read_funnel(fields)
        self._definitions_view.require()
        key = Key(project, name or secrets.token_hex(8))

        def decide() -> Write[FunnelDefinition]:
            if self._definitions.find(key):
                raise Conflict(f"project {project} has a funnel {key.funnel_id} already")
            if self._definitions.count(project) >= MAX_FUNNELS_PER_PROJECT:
                raise Conflict(
                    f"project {project} has {MAX_FUNNELS_PER_PROJECT} funnels, which is the most "
                    "there may be: delete one first"
                )
            now = _now_ms()
            version = self._definitions.next_version(key)
            return _write(FunnelDefinition(**_parts(key, version, now, now), funnel=funnel))

        definition = await self._commands.change(decide)
        headers = {"Location": f"/api/projects/{project}/funnels/{key.funnel_id}"}
        return _answer(definition, 201, headers)

    async def list(self, request: Request) -> Response:
        """Show a page of the project's funnels."""
        project = _project(request)
        after = request.query_params.get("after", "")
        limit = _read_limit(request.query_params.get("limit", str(DEFAULT_PAGE)))
        self._definitions_view.require()
        found = self._definitions.page(project, after, limit + 1)
        page, more = found[:limit], len(found) > limit
        return _json(FunnelPage([show(item) for item in page], page[-1].id if more else None))

    async def read(self, request: Request) -> Response:
        """Show a funnel."""
        key = _key(request)
        self._definitions_view.require()
        return _answer(self._definitions.get(key))

    async def replace(self, request: Request) -> Response:
        """Give a funnel a new definition, which is counted anew from the beginning."""
        key = _key(request)
        fields = await _read_fields(request)
        expected = _read_expected(request, _take(fields, "version", int))
        if _take(fields, "id", str) not in {None, key.funnel_id}:
            raise InvalidRequest(f"the funnel of this address is {key.funnel_id}", "id")
        # What a funnel is shown with may be sent back.
        fields.pop("created_at", None)
        fields.pop("updated_at", None)
        funnel = _read_funnel(fields)
        self._definitions_view.require()

        def decide() -> Write[FunnelDefinition]:
            before = self._definitions.get(key)
            _check_version(before, expected)
            created, now = before.created_at, max(_now_ms(), before.updated_at)
            version = self._definitions.next_version(key)
            return _write(FunnelDefinition(**_parts(key, version, created, now), funnel=funnel))

        return _answer(await self._commands.change(decide))

    async def delete(self, request: Request) -> Response:
        """Delete a funnel; its figures go with it."""
        key = _key(request)
        expected = _read_expected(request, None)
        self._definitions_view.require()

        def decide() -> Write[None]:
            before = self._definitions.get(key)
            _check_version(before, expected)
            headers = {ENDED_VERSION: str(before.version).encode()}
            return Write(before.key, None, headers, None)

        await self._commands.change(decide)
        return Response(status_code=204)

    async def results(self, request: Request) -> Response:
        """Show a funnel's figures, as the stream has them or counted anew in ClickHouse."""
        key = _key(request)
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
            counted = await self._store.count(definition, first, last, _now_ms())
            answer = assemble(definition, "store", counted, first, last)
        else:
            raise InvalidRequest("accepted are `stream` and `store`", "source")
        return _json(answer)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _project(request: Request) -> str:
    project: str = request.path_params["project"]
    if not is_id(project):
        raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "project")
    return project


def _key(request: Request) -> Key:
    project, name = _project(request), request.path_params["id"]
    if not is_id(name):
        raise NotFound(f"project {project} has no funnel of that id")
    return Key(project, name)


async def _read_fields(request: Request) -> dict[str, msgspec.Raw]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise InvalidRequest("the body is not a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


def _take(fields: dict[str, msgspec.Raw], name: str, kind: type[Any]) -> Any:
    raw = fields.pop(name, None)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind | None)
    except msgspec.DecodeError as error:
        raise InvalidRequest(str(error), name) from None


def _read_funnel(fields: dict[str, msgspec.Raw]) -> Funnel:
    funnel = decode_funnel(msgspec.json.encode(fields))
    check_names(funnel)
    return funnel


def _read_expected(request: Request, version: int | None) -> int | None:
    """Read which version a change is meant for: the body's, or that of `If-Match`."""
    tag = request.headers.get("if-match", "*").strip()
    if tag == "*":
        return version
    number = tag.removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit()):
        raise InvalidRequest('accepted is the version in quotes, such as "3", or *', "If-Match")
    if version is not None and version != int(number):
        raise InvalidRequest("names another version than If-Match", "version")
    return int(number)


def _check_version(before: FunnelDefinition, expected: int | None) -> None:
    if expected is not None and expected != before.version:
        raise Conflict(
            f"funnel {before.id} is at version {before.version}, not {expected}: read it again"
        )


def _read_limit(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PAGE:
        return int(text)
    raise InvalidRequest(f"accepted are 1 to {MAX_PAGE}", "limit")


def _read_day(request: Request, name: str, otherwise: datetime.date) -> datetime.date:
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        raise InvalidRequest("accepted is a day as YYYY-MM-DD", name) from None


def _parts(key: Key, version: int, created_at: int, updated_at: int) -> dict[str, Any]:
    return {
        "project_id": key.project_id,
        "id": key.funnel_id,
        "version": version,
        "created_at": created_at,
        "updated_at": updated_at,
    }


def _write(definition: FunnelDefinition) -> Write[FunnelDefinition]:
    return Write(definition.key, encode(definition), {}, definition)


def _answer(
    definition: FunnelDefinition, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return _json(show(definition), status, {"ETag": f'"{definition.version}"', **(headers or {})})


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = msgspec.json.encode(value)
    return Response(body, status, headers, media_type="application/json")
