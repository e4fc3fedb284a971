import msgspec
import pytest

from schemas.errors import (
    AvilaError,
    BackOff,
    Conflict,
    InvalidRecord,
    InvalidRequest,
    Misconfigured,
    NotFound,
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
        (NotFound("what"), 404),
        (Conflict("exists"), 409),
        (BackOff("busy", 2.5), 503),
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


def test_an_error_of_a_new_kind_is_answered_as_its_ancestor() -> None:
    class Gone(NotFound):
        pass

    assert error_response(Gone("long ago")).status_code == 404
