"""What anybody may write in place of a definition is refused in one way."""

from collections.abc import Callable
from functools import partial

import msgspec
import pytest

from schemas import definitions, keys, plans
from schemas.errors import InvalidRequest

BAD = [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b'{"project_id":"\xff"}', b"[]"]


@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value[:12]))
@pytest.mark.parametrize(
    "decode",
    [definitions.decode, plans.decode, *(partial(keys.decode, kind) for kind in keys._DECODERS)],
)
def test_a_record_that_is_no_definition_cannot_be_decoded(
    decode: Callable[[bytes], object], value: bytes
) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(value)


@pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body[:12]))
@pytest.mark.parametrize("decode", [definitions.decode_funnel, plans.decode_plan])
def test_a_body_that_is_no_definition_is_an_invalid_request(
    decode: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(InvalidRequest):
        decode(body)
