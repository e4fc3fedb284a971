"""What may be an alert: each refusal names the field."""

from typing import Any

import msgspec
import pytest

from schemas.alerts import decode_alert
from schemas.errors import InvalidRequest

QUERY: dict[str, Any] = {
    "measure": {
        "type": "query",
        "query": {"series": [{"event": "purchase"}]},
        "window_s": 600,
    },
    "condition": {"op": "lt", "value": 1},
}


def test_a_query_without_a_range_is_accepted() -> None:
    assert decode_alert(msgspec.json.encode(QUERY)).every_s == 60


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"every_s": 0}, "every_s"),
        ({"every_s": 5}, "every_s"),
        ({"relative": True}, "relative"),
        ({"condition": {"op": "like", "value": 1}}, "condition.op"),
        ({"measure": {"type": "sql"}}, "measure.type"),
        ({"measure": QUERY["measure"] | {"window_s": 0}}, "measure.window_s"),
        ({"measure": QUERY["measure"] | {"query": {"series": []}}}, "measure.query.series"),
        (
            {"measure": QUERY["measure"] | {"query": {"series": [{}], "from": "2026"}}},
            "measure.query.from",
        ),
        ({"notify": ["a/b"]}, "notify[0]"),
        ({"measure": {"type": "segment", "segment": "s"}, "compare": "week"}, "compare"),
        ({"measure": {"type": "segment", "segment": "s"}, "wait_complete": True}, "wait_complete"),
        ({"colour": "red"}, ""),
    ],
)
def test_what_is_refused_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_alert(msgspec.json.encode(QUERY | changed))
    assert caught.value.field == field
