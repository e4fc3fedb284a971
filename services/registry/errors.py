"""The one map from errors to Confluent's: an HTTP status, its code, and a text for people.

    {"error_code": 40401, "message": "Subject 'orders-value' not found."}

Clients match on the codes, some on the texts: both are spelled as Confluent spells them.
"""

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import AvilaError, Conflict, InvalidRequest, Unavailable
from services.errors import status_of

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"

INVALID_SCHEMA = 42201
INVALID_VERSION = 42202
INVALID_LEVEL = 42203
NOT_PERMITTED = 42205
INVALID_SUBJECT = 42208
TOO_LARGE = 42209
STORE = 50001


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error_code: int
    message: str


class Refused(AvilaError):
    """Do what Confluent's `error_code` asks for; its first three digits are the HTTP status."""

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


def no_subject(subject: str) -> Refused:
    """There is no such subject, or none that is offered."""
    return Refused(40401, f"Subject '{subject}' not found.")


def no_version(version: int | str) -> Refused:
    """The subject has no such version."""
    return Refused(40402, f"Version {version} not found.")


def no_schema(schema_id: int | None = None) -> Refused:
    """There is no schema with the id, or the one given stands nowhere."""
    return Refused(
        40403, "Schema not found" if schema_id is None else f"Schema {schema_id} not found"
    )


def subject_deleted_already(subject: str) -> Refused:
    """What is left is to erase it."""
    return Refused(
        40404, f"Subject '{subject}' was soft deleted.Set permanent=true to delete permanently"
    )


def subject_not_deleted_first(subject: str) -> Refused:
    """Only what is deleted may be erased."""
    return Refused(
        40405, f"Subject '{subject}' was not deleted first before being permanently deleted"
    )


def version_deleted_already(subject: str, version: int) -> Refused:
    """What is left is to erase it."""
    return Refused(
        40406,
        f"Subject '{subject}' Version {version} was soft deleted."
        "Set permanent=true to delete permanently",
    )


def version_not_deleted_first(subject: str, version: int) -> Refused:
    """Only what is deleted may be erased."""
    return Refused(
        40407,
        f"Subject '{subject}' Version {version} was not deleted first before being "
        "permanently deleted",
    )


def no_level(subject: str) -> Refused:
    """The subject has no level of its own."""
    return Refused(
        40408, f"Subject '{subject}' does not have subject-level compatibility configured"
    )


async def answer_error(_: Request, error: Exception) -> Response:
    """Answer an `AvilaError` or an error of the HTTP layer: a Starlette exception handler."""
    if isinstance(error, HTTPException):
        body = ErrorBody(error.status_code, f"HTTP {error.status_code} {error.detail}")
        return _respond(error.status_code, body, dict(error.headers or {}))
    assert isinstance(error, AvilaError)
    code = _code(error)
    return _respond(code // 100 if code > 999 else code, ErrorBody(code, str(error)))


async def answer_defect(_: Request, __: Exception) -> Response:
    """Answer what nobody raised on purpose; the server logs it with its trace."""
    return _respond(500, ErrorBody(500, "an error of ours; it has been logged"))


def _code(error: AvilaError) -> int:
    match error:
        case Refused():
            return error.error_code
        case Conflict():
            return HTTPStatus.CONFLICT
        case InvalidRequest():
            return INVALID_SUBJECT if error.field == "subject" else INVALID_SCHEMA
        case Unavailable():
            return STORE
        case _:
            return status_of(error)


def _respond(status: int, body: ErrorBody, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type=CONTENT_TYPE)
