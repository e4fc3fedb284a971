"""What requests and answers of all endpoints have in common."""

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

# What fits into a record of the topic by the broker's default, with room for its other fields.
MAX_BODY_BYTES: Final = 1_000_000
LATEST: Final = "latest"
_LAST_VERSION: Final = 2**31 - 1


class KeyAdmin:
    """The registry as coroutines see it: it is asked on threads, since its answers take time."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def view(self, look: Callable[[Subjects], T]) -> T:
        """What `look` finds in all that is committed by now."""
        return await asyncio.to_thread(self._registry.view, look)

    async def change(self, decide: Callable[[Subjects], tuple[T, list[Record]]]) -> T:
        """Write what `decide` wants, decided on all that is committed; see `Registry.change`."""
        return await asyncio.to_thread(self._registry.change, decide)


class _SchemaBody(msgspec.Struct, rename="camel"):
    """A schema as it is sent. What we would have to leave out is read so that it can be refused."""

    schema: str | None = None
    schema_type: str | None = None
    references: list[Any] | None = None
    metadata: Any = None
    rule_set: Any = None
    id: int | None = None


async def read_body(request: Request, kind: type[T]) -> T:
    """Read the JSON body as a `kind`.

    Raises:
        Refused: it is too large, not JSON, or something else.
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
    """Read the schema that a request brings.

    Raises:
        Refused, InvalidRequest: it is not one, or of a kind that is not taken here.
    """
    body = await read_body(request, _SchemaBody)
    if body.schema_type not in {None, "", "AVRO"}:
        raise Refused(errors.INVALID_SCHEMA, f"{body.schema_type} schemas are not taken, only AVRO")
    for name in ("references", "metadata", "rule_set"):
        if getattr(body, name):
            what = "ruleSet" if name == "rule_set" else name
            raise Refused(
                errors.INVALID_SCHEMA, f"{what} are not taken: send one schema that is whole"
            )
    if body.id is not None and body.id >= 0:
        raise Refused(errors.NOT_PERMITTED, "ids are given here, not taken: leave `id` out")
    if not body.schema:
        raise Refused(errors.INVALID_SCHEMA, "Empty schema")
    return Schema(body.schema)


def flag(request: Request, *names: str) -> bool:
    """Whether one of the parameters says `true`, in whatever letters."""
    return any(request.query_params.get(name, "").lower() == "true" for name in names)


def page(request: Request, items: Sequence[T]) -> Sequence[T]:
    """The items that `offset` and `limit` ask for; a limit below zero is none."""
    offset, limit = (
        _number(request, name, usual) for name, usual in (("offset", 0), ("limit", -1))
    )
    return items[max(offset, 0) :][: limit if limit >= 0 else None]


def subject_of(request: Request) -> str:
    """The subject that the address names."""
    subject: str = request.path_params["subject"]
    return subject


def version_of(request: Request) -> int | None:
    """The number of the version that the address names; None for the latest.

    Raises:
        Refused: it names none.
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


def pick(subjects: Subjects, subject: str, number: int | None, *, deleted: bool) -> Version:
    """One version of a subject, None for the latest; with `deleted`, also deleted ones.

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
    """Answer with `value` as JSON."""
    return Response(msgspec.json.encode(value), media_type=errors.CONTENT_TYPE)


def text_answer(text: str) -> Response:
    """Answer with a schema as it stands."""
    return Response(text, media_type=errors.CONTENT_TYPE)


def shown(version: Version) -> dict[str, Any]:
    """A version as it is answered."""
    return {
        "subject": version.subject,
        "version": version.version,
        "id": version.id,
        **dict(version.other),
        "schema": version.schema,
    }


def _number(request: Request, name: str, usual: int) -> int:
    text = request.query_params.get(name, str(usual))
    try:
        return int(text)
    except ValueError:
        raise Refused(422, f"{name} is {text[:40]!r}; a whole number is accepted") from None
