"""A word that is none of those accepted is refused with those that are."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from schemas.choices import accepted_at
from schemas.errors import InvalidRequest
from schemas.operators.cohort import decode_cohort
from schemas.operators.funnel import Funnel, decode_funnel
from schemas.operators.metric import decode_metric
from schemas.operators.segment import decode_segment
from schemas.plans import decode_plan

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
