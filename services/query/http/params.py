"""Reads the parts of requests that many endpoints have, and encodes responses."""

import datetime
import math
import time
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from schemas.definitions import decode_with, is_id
from schemas.errors import Conflict, InvalidRequest, NotFound
from schemas.time.rfc3339 import read_time
from services.query.views.changes import Key, Numbers

Source = Literal["stream", "store"]
SOURCES: Final[tuple[Source, ...]] = ("stream", "store")

C = TypeVar("C", bound=str)

MAX_BODY_BYTES: Final = 262_144
MAX_PAGE: Final = 200
DEFAULT_PAGE: Final = 50


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def project_of(request: Request) -> str:
    """Return the project that the path names; raises `InvalidRequest` for what is no id."""
    project: str = request.path_params["project"]
    if not is_id(project):
        raise InvalidRequest("accepted are 1 to 64 letters, digits and `._-`", "project")
    return project


def key_of(request: Request) -> Key:
    """Return the key of the definition that the path names."""
    project, name = project_of(request), request.path_params["id"]
    if not is_id(name):
        raise NotFound(f"project {project} has nothing of that id")
    return Key(project, name)


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def read_fields(request: Request) -> dict[str, msgspec.Raw]:
    """Read the body, a JSON object, without decoding its fields."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
    try:
        return decode_with(_fields, bytes(body))
    except msgspec.ValidationError:
        raise InvalidRequest("the body is not a JSON object") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


def take(fields: dict[str, msgspec.Raw], name: str, kind: type[Any]) -> Any:
    """Remove and decode one field; None if it is absent or null."""
    raw = fields.pop(name, None)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind | None)
    except msgspec.DecodeError as error:
        raise InvalidRequest(str(error), name) from None


class Expected(NamedTuple):
    """The state that a change is meant for; None where any will do."""

    revision: int | None
    version: int | None

    def check(self, name: str, present: Numbers) -> None:
        """Raise `Conflict` if a definition is in another state."""
        for what in ("revision", "version"):
            expected, is_at = getattr(self, what), getattr(present, what)
            if expected is not None and expected != is_at:
                raise Conflict(f"{name} is at {what} {is_at}, not {expected}: read it again")


def read_expected(request: Request, fields: dict[str, msgspec.Raw]) -> Expected:
    """Read the state that a change is meant for from `If-Match` and, removing it, from the body."""
    revision, version = take(fields, "revision", int), take(fields, "version", int)
    tag = request.headers.get("if-match", "*").strip()
    if tag == "*":
        return Expected(revision, version)
    number = tag.removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        raise InvalidRequest('accepted is the revision in quotes, such as "3", or *', "If-Match")
    if revision is not None and revision != int(number):
        raise InvalidRequest("is another revision than If-Match", "revision")
    return Expected(int(number), version)


ANY: Final = Expected(None, None)


class Page(NamedTuple):
    """A page of a list: up to `limit` items whose ids come after `after`."""

    after: str
    limit: int


def read_page(request: Request) -> Page:
    """Read which page of a list a request asks for."""
    limit = read_number(request, "limit", 1, MAX_PAGE, DEFAULT_PAGE)
    return Page(request.query_params.get("after", ""), limit)


def read_number(request: Request, name: str, least: int, most: int, default: int) -> int:
    """Read a whole number from the query parameters.

    Raises:
        InvalidRequest: it is none, or lies outside of `least` to `most`.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most:
        return int(text)
    raise InvalidRequest(f"accepted are {least} to {most}", name)


def read_decimal(request: Request, name: str) -> float | None:
    """Read a number, which may have a fraction, from the query parameters; None without it.

    Raises:
        InvalidRequest: it is none, or not finite.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        found = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InvalidRequest("accepted is a number such as 0.5 or -1e3", name)
    return found


def read_choice(request: Request, name: str, choices: tuple[C, ...]) -> C:
    """Read one of some words from the query parameters; the first is the default.

    Raises:
        InvalidRequest: it is none of them; says which are accepted.
    """
    text = request.query_params.get(name)
    if text is None:
        return choices[0]
    found = next((choice for choice in choices if choice == text), None)
    if found is None:
        raise InvalidRequest(f"accepted are {one_of(choices)}", name)
    return found


def one_of(choices: Sequence[str]) -> str:
    """Return the choices as text: `a`, `b` and `c`."""
    quoted = [f"`{choice}`" for choice in choices]
    return " and ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))


def read_source(request: Request) -> Source:
    """Read whether the stream or the store is to answer.

    With `as_of` it is the store.

    Raises:
        InvalidRequest: the stream is asked for a figure as of earlier positions.
    """
    source = read_choice(request, "source", SOURCES)
    if "as_of" not in request.query_params:
        if "clock" in request.query_params:
            raise InvalidRequest("is accepted with `as_of` only", "clock")
        return source
    if "source" in request.query_params and source == "stream":
        raise InvalidRequest("is answered from ClickHouse: accepted is `source=store`", "as_of")
    return "store"


def read_day(request: Request, name: str, otherwise: datetime.date) -> datetime.date:
    """Read a day from the query parameters."""
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007
    except ValueError:
        raise InvalidRequest("accepted is a day as YYYY-MM-DD", name) from None


def read_moment(request: Request, name: str) -> int | None:
    """Read a time (ms) from the query parameters; None without it.

    Raises:
        InvalidRequest: it is no time since 1970.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    at = read_time(text)
    if at is None or at < 0:
        raise InvalidRequest("accepted is a time, as 2026-11-22 or 2026-11-22T10:00:00Z", name)
    return at


def read_clock(request: Request) -> int | None:
    """Read the `clock` (ms) as of which to count; None without it.

    Raises:
        InvalidRequest: it is no time, or ahead of the time of day.
    """
    clock = read_moment(request, "clock")
    if clock is not None and clock > now_ms():
        raise InvalidRequest("accepted is a time that is not ahead of the time of day", "clock")
    return clock


def parts(key: Key, numbers: Numbers, created_at: int, updated_at: int) -> dict[str, Any]:
    """Return the fields that the definitions of all kinds have."""
    return {
        "project_id": key.project_id,
        "id": key.id,
        **numbers._asdict(),
        "created_at": created_at,
        "updated_at": updated_at,
    }


def instant(ms: int) -> datetime.datetime:
    """Return a time (ms) as responses have it."""
    return datetime.datetime.fromtimestamp(ms / 1_000, datetime.UTC)


def encode_response(
    value: object, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a response with `value` as JSON."""
    body = msgspec.json.encode(value)
    return Response(body, status, headers, media_type="application/json")
