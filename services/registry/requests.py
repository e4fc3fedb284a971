"""What the endpoints share: access to the registry, request parsing, responses."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from schemas.avro.schema import Schema
from schemas.registry.log import Registry
from schemas.registry.subjects import Record, Subjects, Version
from services.registry import errors
from services.registry.errors import Refused

T = TypeVar("T")

# A schema of this size still fits into a record under the broker's default limit.
MAX_BODY_BYTES: Final = 1_000_000
LATEST: Final = "latest"
_LAST_VERSION: Final = 2**31 - 1


class AsyncRegistry:
    """The registry for coroutines; the blocking calls run on threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def view(self, look: Callable[[Subjects], T]) -> T:
        """Return what `look` reads from everything committed so far; see `Registry.view`."""
        return await asyncio.to_thread(self._registry.view, look)

    async def change(self, decide: Callable[[Subjects], tuple[T, list[Record]]]) -> T:
        """Write the records that `decide` returns; see `Registry.change`."""
        return await asyncio.to_thread(self._registry.change, decide)


class _SchemaBody(msgspec.Struct, rename="camel"):
    """A schema in a request. Fields that we do not support are read so that they can be refused."""

    schema: str | None = None
    schema_type: str | None = None
    references: list[Any] | None = None
    metadata: Any = None
    rule_set: Any = None
    id: int | None = None


async def read_body(request: Request, kind: type[T]) -> T:
    """Read the JSON body as a `kind`.

    Raises:
        Refused: the body is too large, not JSON, or not a `kind`.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Refused(errors.TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(422, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from None


async def read_schema(request: Request) -> Schema:
    """Read the schema of a request.

    Raises:
        Refused, InvalidRequest: it is not a schema, or of a type that is not supported.
    """
    body = await read_body(request, _SchemaBody)
    if body.schema_type not in {None, "", "AVRO"}:
        raise Refused(
            errors.INVALID_SCHEMA, f"{body.schema_type} schemas are not supported, only AVRO"
        )
    for name in ("references", "metadata", "rule_set"):
        if getattr(body, name):
            what = "ruleSet" if name == "rule_set" else name
            raise Refused(
                errors.INVALID_SCHEMA, f"{what} are not supported: send one self-contained schema"
            )
    if body.id is not None and body.id >= 0:
        raise Refused(errors.NOT_PERMITTED, "the registry assigns ids: leave `id` out")
    if not body.schema:
        raise Refused(errors.INVALID_SCHEMA, "Empty schema")
    return Schema(body.schema)


def flag(request: Request, *names: str) -> bool:
    """Return whether one of the query parameters is `true`, in any case."""
    return any(request.query_params.get(name, "").lower() == "true" for name in names)


def page(request: Request, items: Sequence[T]) -> Sequence[T]:
    """Return the page of `items` given by `offset` and `limit`; a negative limit means all."""
    offset, limit = (
        _number(request, name, default) for name, default in (("offset", 0), ("limit", -1))
    )
    return items[max(offset, 0) :][: limit if limit >= 0 else None]


def subject_of(request: Request) -> str:
    """Return the subject in the path."""
    subject: str = request.path_params["subject"]
    return subject


def version_of(request: Request) -> int | None:
    """Return the version number in the path; None for the latest.

    Raises:
        Refused: it is not a version number.
    """
    text = request.path_params["version"]
    if text in {LATEST, "-1"}:
        return None
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _LAST_VERSION:
        return int(text)
    raise Refused(
        errors.INVALID_VERSION,
        f"The specified version '{text}' is not a valid version id. Allowed values are between "
        '[1, 2^31-1] and the string "latest"',
    )


def find_version(subjects: Subjects, subject: str, number: int | None, *, deleted: bool) -> Version:
    """Return a version of a subject: the one with `number`, or the latest.

    With `deleted`, soft-deleted versions are found too.

    Raises:
        Refused: there is no such subject, or no such version of it.
    """
    versions = subjects.versions(subject, deleted=deleted)
    if not versions:
        raise errors.no_subject(subject)
    if number is None:
        return versions[-1]
    for version in versions:
        if version.version == number:
            return version
    raise errors.no_version(number)


def answer(value: object) -> Response:
    """Return a response with `value` as JSON."""
    return Response(msgspec.json.encode(value), media_type=errors.CONTENT_TYPE)


def text_answer(text: str) -> Response:
    """Return a response with the text of a schema."""
    return Response(text, media_type=errors.CONTENT_TYPE)


def version_body(version: Version) -> dict[str, Any]:
    """Return the JSON object for a version."""
    return {
        "subject": version.subject,
        "version": version.version,
        "id": version.id,
        **dict(version.other),
        "schema": version.schema,
    }


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise Refused(422, f"{name} is {text[:40]!r}; a whole number is accepted") from None
