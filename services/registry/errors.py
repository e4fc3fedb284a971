"""Maps our errors to Confluent's: an HTTP status, an error code, and a message.

    {"error_code": 40401, "message": "Subject 'orders-value' not found."}

Clients compare the codes, some also the messages: both are exactly Confluent's.
"""

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import AvilaError, BackOff, Conflict, InvalidRequest, Unavailable
from services.errors import CHALLENGE, status_of

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"

INVALID_SCHEMA = 42201
INVALID_VERSION = 42202
INVALID_LEVEL = 42203
NOT_PERMITTED = 42205
INVALID_SUBJECT = 42208
TOO_LARGE = 42209
STORE = 50001


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every error response."""

    error_code: int
    message: str


class Refused(AvilaError):
    """A request that ends with Confluent's `error_code`; the first three digits are the status."""

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


def no_subject(subject: str) -> Refused:
    """Return the error for a subject that does not exist, or has no listed version."""
    return Refused(40401, f"Subject '{subject}' not found.")


def no_version(version: int | str) -> Refused:
    """Return the error for a version that the subject does not have."""
    return Refused(40402, f"Version {version} not found.")


def no_schema(schema_id: int | None = None) -> Refused:
    """Return the error for an unknown id, or for a schema that is not registered."""
    return Refused(
        40403, "Schema not found" if schema_id is None else f"Schema {schema_id} not found"
    )


def subject_deleted_already(subject: str) -> Refused:
    """Return the error for a second soft deletion of a subject."""
    return Refused(
        40404, f"Subject '{subject}' was soft deleted.Set permanent=true to delete permanently"
    )


def subject_not_deleted_first(subject: str) -> Refused:
    """Return the error for a permanent deletion that no soft deletion preceded."""
    return Refused(
        40405, f"Subject '{subject}' was not deleted first before being permanently deleted"
    )


def version_deleted_already(subject: str, version: int) -> Refused:
    """Return the error for a second soft deletion of a version."""
    return Refused(
        40406,
        f"Subject '{subject}' Version {version} was soft deleted."
        "Set permanent=true to delete permanently",
    )


def version_not_deleted_first(subject: str, version: int) -> Refused:
    """Return the error for a permanent deletion that no soft deletion preceded."""
    return Refused(
        40407,
        f"Subject '{subject}' Version {version} was not deleted first before being "
        "permanently deleted",
    )


def no_level(subject: str) -> Refused:
    """Return the error for a subject without a compatibility level of its own."""
    return Refused(
        40408, f"Subject '{subject}' does not have subject-level compatibility configured"
    )


async def answer_error(_: Request, error: Exception) -> Response:
    """Answer an `AvilaError` or an HTTP error; a Starlette exception handler."""
    if isinstance(error, HTTPException):
        body = ErrorBody(error.status_code, f"HTTP {error.status_code} {error.detail}")
        return _respond(error.status_code, body, dict(error.headers or {}))
    assert isinstance(error, AvilaError)
    code = _code(error)
    headers = {}
    if isinstance(error, BackOff):
        headers["Retry-After"] = "1"
    if code == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    return _respond(code // 100 if code > 999 else code, ErrorBody(code, str(error)), headers)


async def answer_defect(_: Request, __: Exception) -> Response:
    """Answer an unexpected exception; the server logs it with its traceback."""
    return _respond(500, ErrorBody(500, "internal error; see the service's log"))


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
