import grpc
import msgspec
import pytest

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
from services.errors import code_of, error_response


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequest("wrong", "steps"), 400, grpc.StatusCode.INVALID_ARGUMENT),
        (InvalidRecord("unreadable", "why"), 400, grpc.StatusCode.INVALID_ARGUMENT),
        (Unauthorized("who"), 401, grpc.StatusCode.UNAUTHENTICATED),
        (Forbidden("not you"), 403, grpc.StatusCode.PERMISSION_DENIED),
        (NotFound("what"), 404, grpc.StatusCode.NOT_FOUND),
        (Conflict("exists"), 409, grpc.StatusCode.ABORTED),
        (BackOff("busy", 2.5), 503, grpc.StatusCode.UNAVAILABLE),
        (OverLimit("enough", 2.5), 429, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable("away"), 503, grpc.StatusCode.UNAVAILABLE),
        (Misconfigured("port"), 500, grpc.StatusCode.INTERNAL),
        (AvilaError("some other"), 500, grpc.StatusCode.INTERNAL),
    ],
)
def test_an_error_has_statuses_and_a_body_that_names_it(
    error: AvilaError, status: int, code: grpc.StatusCode
) -> None:
    assert grpc.StatusCode[code_of(error)] is code
    answer = error_response(error)
    assert answer.status_code == status
    body = msgspec.json.decode(answer.body)["error"]
    assert body["code"] == error.code
    assert body["message"] == str(error)
    assert body.get("field", "") == getattr(error, "field", "")


def test_whoever_shall_come_again_is_told_when() -> None:
    assert error_response(BackOff("busy", 2.5)).headers["retry-after"] == "3"
    assert error_response(BackOff("busy", 0)).headers["retry-after"] == "1"


def test_whoever_is_not_known_is_told_with_what_to_come() -> None:
    assert error_response(Unauthorized("who")).headers["www-authenticate"] == "Bearer"
    assert "www-authenticate" not in error_response(Forbidden("not you")).headers


def test_an_error_of_a_new_kind_is_answered_as_its_ancestor() -> None:
    class Gone(NotFound):
        pass

    assert error_response(Gone("long ago")).status_code == 404
