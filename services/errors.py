"""Map errors to HTTP and gRPC statuses, and to the body of an answer.

    {"error": {"code": "invalid", "message": "steps[0].event: …", "field": "steps[0].event"}}

`code` is stable, for programs. `message` is English, for people.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import (
    AvilaError,
    BackOff,
    Conflict,
    Forbidden,
    InvalidRecord,
    InvalidRequest,
    Misconfigured,
    NotFound,
    OverLimit,
    Unauthorized,
    Unavailable,
)

_S = TypeVar("_S")

_STATUSES: Final[dict[type[AvilaError], HTTPStatus]] = {
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    InvalidRecord: HTTPStatus.BAD_REQUEST,
    Unauthorized: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    BackOff: HTTPStatus.SERVICE_UNAVAILABLE,
    OverLimit: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    Misconfigured: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# Names of gRPC statuses, because not all services load gRPC.
_CODES: Final[dict[type[AvilaError], str]] = {
    InvalidRequest: "INVALID_ARGUMENT",
    InvalidRecord: "INVALID_ARGUMENT",
    Unauthorized: "UNAUTHENTICATED",
    Forbidden: "PERMISSION_DENIED",
    NotFound: "NOT_FOUND",
    Conflict: "ABORTED",
    BackOff: "UNAVAILABLE",
    OverLimit: "RESOURCE_EXHAUSTED",
    Unavailable: "UNAVAILABLE",
    Misconfigured: "INTERNAL",
}

# The gRPC status that corresponds to an HTTP status. Errors that share one agree on the other.
_CODES_OF_STATUSES: Final[Mapping[int, str]] = {
    HTTPStatus.METHOD_NOT_ALLOWED: "UNIMPLEMENTED",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "INVALID_ARGUMENT",
    **{status: _CODES[error] for error, status in _STATUSES.items()},
}


# The challenge of a 401. Not `Basic`, for which browsers prompt their users.
CHALLENGE: Final = "Bearer"


class ErrorDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error; `field` is the path of the value that caused it."""

    code: str
    message: str
    field: str = ""


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every error answer."""

    error: ErrorDetail


def status_of(error: AvilaError) -> HTTPStatus:
    """Return the HTTP status of an error: that of its nearest ancestor with one."""
    return _nearest(error, _STATUSES, HTTPStatus.INTERNAL_SERVER_ERROR)


def code_of(error: AvilaError) -> str:
    """Return the name of the gRPC status of an error: that of its nearest ancestor with one."""
    return _nearest(error, _CODES, "INTERNAL")


def code_of_status(status: int) -> str:
    """Return the name of the gRPC status that corresponds to an HTTP status."""
    return _CODES_OF_STATUSES.get(status, "INTERNAL")


def _nearest(error: AvilaError, statuses: Mapping[type[AvilaError], _S], default: _S) -> _S:
    found = (statuses[kind] for kind in type(error).__mro__ if kind in statuses)
    return next(found, default)


def describe(error: AvilaError) -> ErrorDetail:
    """Return the code, message and field of an error."""
    field = error.field if isinstance(error, InvalidRequest) else ""
    return ErrorDetail(error.code, str(error), field)


def error_response(error: AvilaError) -> Response:
    """Return the answer to an error, with `Retry-After` for `BackOff` and a challenge for a 401."""
    status = status_of(error)
    headers = {}
    if isinstance(error, BackOff):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    return _respond(status, describe(error), headers)


async def answer_error(_: Request, error: Exception) -> Response:
    """Handle an `AvilaError` or an `HTTPException`: a Starlette exception handler."""
    if isinstance(error, AvilaError):
        return error_response(error)
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = ErrorDetail(status.name.lower(), error.detail)
    return _respond(status, detail, dict(error.headers or {}))


async def answer_defect(_: Request, __: Exception) -> Response:
    """Handle an unexpected exception; the server logs its trace."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return _respond(status, ErrorDetail("defect", "an internal error; it has been logged"), {})


def _respond(status: HTTPStatus, detail: ErrorDetail, headers: dict[str, str]) -> Response:
    body = msgspec.json.encode(ErrorBody(detail))
    return Response(body, status, headers, media_type="application/json")
