"""What anybody may write in place of a definition is refused in one way."""

from collections.abc import Callable
from functools import partial

import msgspec
import pytest

from schemas import keys, plans
from schemas.errors import InvalidRequest
from schemas.operators import funnel as definitions

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


STEPS = [{"event": "a"}, {"event": "b"}, {"event": "c"}]
EXCLUDED = {"event": "x"}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"order": "loose"}, "order"),
        ({"steps": [{"event": "a", "optional": True}, {"event": "b"}]}, "steps[0].optional"),
        (
            {"order": "any", "steps": [{"event": "a"}, {"event": "b", "optional": True}]},
            "steps[1].optional",
        ),
        ({"exclusions": [EXCLUDED | {"after": 3}]}, "exclusions[0].after"),
        ({"exclusions": [EXCLUDED, EXCLUDED | {"before": 4}]}, "exclusions[1].after"),
        ({"exclusions": [EXCLUDED | {"after": 2, "before": 2}]}, "exclusions[0].after"),
        ({"exclusions": [EXCLUDED | {"where": [{}]}]}, "exclusions[0].where[0]"),
        ({"exclusions": [EXCLUDED] * 9}, "exclusions"),
        ({"steps": [EXCLUDED] * 31, "exclusions": [EXCLUDED] * 2}, "exclusions"),
        ({"steps": [EXCLUDED] * 32, "order": "strict"}, "exclusions"),
        ({"hold_constant": ["a", "a"]}, "hold_constant"),
        ({"hold_constant": ["a", "b", "c", "d", "e"]}, "hold_constant"),
        ({"breakdown": {"property": "p", "attribution": 4}}, "breakdown.attribution"),
        ({"breakdown": {"property": "p", "attribution": "all"}}, "breakdown.attribution"),
    ],
)
def test_an_option_that_means_nothing_is_refused_by_its_name(
    options: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        definitions.decode_funnel(msgspec.json.encode({"steps": STEPS} | options))
    assert refused.value.field == field


def test_a_funnel_without_options_is_plain_and_stands_on_its_topic_as_it_always_did() -> None:
    plain = definitions.decode_funnel(msgspec.json.encode({"steps": STEPS, "window_s": 60}))
    assert plain.plain
    assert msgspec.json.decode(msgspec.json.encode(plain)) == {"steps": STEPS, "window_s": 60}


@pytest.mark.parametrize(
    "options",
    [
        {"order": "strict"},
        {"order": "any"},
        {"once": True},
        {"entries": True},
        {"hold_constant": ["p"]},
        {"exclusions": [EXCLUDED]},
        {"breakdown": {"property": "p"}},
        {"steps": [*STEPS, {"event": "d", "optional": True}]},
    ],
)
def test_a_funnel_with_any_option_is_not_plain(options: dict[str, object]) -> None:
    body = msgspec.json.encode({"steps": STEPS} | options)
    assert not definitions.decode_funnel(body).plain
