"""Answer requests that are refused as a whole, in the form that all services share."""

import math
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import msgspec

from schemas.errors import AvilaError, BackOff
from services.errors import CHALLENGE, ErrorBody, ErrorDetail, describe, status_of
from services.ingest.body import TooSlow
from services.ingest.cors import list_methods
from services.ingest.encodings import UnsupportedMedia
from services.ingest.formats import Answer
from services.ingest.limits import TooLarge

# Statuses of errors that only this service raises.
_STATUSES: Final[dict[type[AvilaError], HTTPStatus]] = {
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    UnsupportedMedia: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}

DEFECT: Final = Answer(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    msgspec.json.encode(ErrorBody(ErrorDetail("defect", "an internal error; it has been logged"))),
)


def refuse(error: AvilaError) -> Answer:
    """Return the answer to a request that failed with `error`."""
    return Answer(
        status=_STATUSES.get(type(error)) or status_of(error),
        body=msgspec.json.encode(ErrorBody(describe(error))),
        retry_after_s=error.retry_after if isinstance(error, BackOff) else 0,
        # The rest of the body is not read.
        close=isinstance(error, TooLarge | TooSlow),
    )


def wrong_method(accepted: Iterable[str]) -> Answer:
    """Return the answer to a request with a method that is not in `accepted`."""
    allow = list_methods(accepted)
    return Answer(
        HTTPStatus.METHOD_NOT_ALLOWED,
        msgspec.json.encode(
            ErrorBody(ErrorDetail("method_not_allowed", f"{allow} is accepted here"))
        ),
        allow=allow,
    )


def headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Return the headers of `answer`."""
    lines = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
    ]
    if answer.retry_after_s:
        lines.append((b"retry-after", str(max(1, math.ceil(answer.retry_after_s))).encode()))
    if answer.allow:
        lines.append((b"allow", answer.allow.encode()))
    if answer.status == HTTPStatus.UNAUTHORIZED:
        lines.append((b"www-authenticate", CHALLENGE.encode()))
    if answer.close:
        lines.append((b"connection", b"close"))
    return lines
