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
from services.errors import error_response


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("wrong", "steps"), 400),
        (InvalidRecord("unreadable", "why"), 400),
        (Unauthorized("who"), 401),
        (Forbidden("not you"), 403),
        (NotFound("what"), 404),
        (Conflict("exists"), 409),
        (BackOff("busy", 2.5), 503),
        (OverLimit("enough", 2.5), 429),
        (Unavailable("away"), 503),
        (Misconfigured("port"), 500),
        (AvilaError("some other"), 500),
    ],
)
def test_an_error_has_a_status_and_a_body_that_names_it(error: AvilaError, status: int) -> None:
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
