"""A word that is none of those accepted is refused with those that are."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from schemas.choices import accepted_at, fields_at
from schemas.errors import InvalidRequest
from schemas.operators.cohort import decode_cohort
from schemas.operators.funnel import Funnel, decode_funnel
from schemas.operators.metric import decode_metric
from schemas.operators.segment import decode_segment
from schemas.plans import decode_plan
from schemas.queries.lists import EVENTS
from schemas.queries.trends import TRENDS

STEPS = [{"event": "a"}, {"event": "b"}]
LEAF = {"property": "p", "op": "like"}


@pytest.mark.parametrize(
    ("decode", "body", "field", "accepted"),
    [
        (decode_funnel, {"steps": STEPS, "order": "x"}, "order", "`any`, `ordered`, `strict`"),
        (
            decode_funnel,
            {"steps": [*STEPS, {"event": "c", "where": [{"not": LEAF}]}]},
            "steps[2].where[0].not.op",
            "`is_set`",
        ),
        (
            decode_funnel,
            {"steps": STEPS, "breakdown": {"property": "p", "attribution": "x"}},
            "breakdown.attribution",
            "`first`, `last`, 1 to 32",
        ),
        (decode_cohort, {"start": {"event": "a"}, "period": "x"}, "period", "`day`, `month`"),
        (decode_metric, {"measure": "x"}, "measure", "`events`"),
        (decode_metric, {"measure": "events", "bucket_s": 7}, "bucket_s", "`1`, `10`, `60`"),
        (decode_segment, {"rule": {"not": {"person": [LEAF]}}}, "rule.not.person[0].op", "`in`"),
        (decode_plan, {"event": "a", "schema": {}, "mode": "x"}, "mode", "`enforce`, `observe`"),
    ],
)
def test_the_choices_of_a_field_are_listed(
    decode: Callable[[bytes], Any], body: dict[str, Any], field: str, accepted: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(msgspec.json.encode(body))
    assert refused.value.field == field
    assert accepted in refused.value.reason


@pytest.mark.parametrize("path", ["", "name", "steps", "steps[0]", "nothing.like[0].it"])
def test_where_there_are_no_choices_none_are_listed(path: str) -> None:
    assert accepted_at(Funnel, path) == ""


@pytest.mark.parametrize(
    ("decode", "body", "field", "said"),
    [
        (TRENDS.decode, {}, "", "missing required field `series`"),
        (decode_funnel, {"steps": [{"where": []}, *STEPS]}, "steps[0]", "field `event`"),
        (TRENDS.decode, {"series": [{"evnt": "a"}]}, "series[0]", "accepted are `event`, `where`"),
        (EVENTS.decode, {"were": []}, "", "accepted are `where`, `from`"),
        (
            EVENTS.decode,
            {"where": [{"not": {"person": {"name": "a"}}}]},
            "where[0].not.person",
            "accepted are `property`, `op`",
        ),
        (EVENTS.decode, {"as_of": {"first": 1}}, "as_of", "a key is wrong: Expected `int`"),
    ],
)
def test_a_field_that_is_missing_or_unknown_is_named_with_those_that_there_are(
    decode: Callable[[bytes], Any], body: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(msgspec.json.encode(body))
    assert refused.value.field == field
    assert said in refused.value.reason


def test_a_body_that_is_nested_too_deeply_is_refused_by_that_reason() -> None:
    body = b'{"where": [' + b'{"not": ' * 5_000 + b"{}" + b"}" * 5_000 + b"]}"
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        EVENTS.decode(body)


@pytest.mark.parametrize("path", ["name", "steps[0].event", "nothing"])
def test_what_is_no_object_has_no_fields(path: str) -> None:
    assert fields_at(Funnel, path) == ""
