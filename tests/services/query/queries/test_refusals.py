"""What cannot be asked is refused, with the field and what is accepted."""

import json
from typing import Any

import httpx
import pytest

TRENDS = "/api/projects/shop/query/trends"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"series": []}, "series"),
        ({"series": [{}] * 11}, "series"),
        ({"series": [{"measure": "sum"}]}, "series[0].property"),
        ({"series": [{"measure": "median"}]}, "series[0].measure"),
        ({"series": [{"property": "p"}]}, "series[0].property"),
        ({"series": [{"measure": "percentile", "property": "p"}]}, "series[0].percentile"),
        ({"series": [{"where": [{"property": "p", "op": "gt"}]}]}, "series[0].where[0].value"),
        ({"series": [{"where": [{}]}]}, "series[0].where[0]"),
        ({"where": [{"and": [{"segment": "a", "person": {}}]}]}, "where[0].and[0]"),
        ({"where": [{"person": {"property": "p", "op": "in"}}]}, "where[0].person.value"),
        ({"where": [{"segment": "a b"}]}, "where[0].segment"),
        ({"formulas": [{"formula": "A / C"}]}, "formulas[0].formula"),
        ({"formulas": [{"formula": "__import__('os')"}]}, "formulas[0].formula"),
        ({"formulas": [{"formula": "A ** 9 ** 9"}]}, "formulas[0].formula"),
        ({"formulas": [{"formula": "(" * 100 + "A" + ")" * 99}]}, "formulas[0].formula"),
        ({"formulas": [{"formula": "1e400 * A"}]}, "formulas[0].formula"),
        ({"formulas": [{"formula": "A # what for"}]}, "formulas[0].formula"),
        ({"formulas": [{"formula": "A +\n1"}]}, "formulas[0].formula"),
        ({"formulas": [{"formula": "\uff21"}]}, "formulas[0].formula"),
        ({"formulas": [{"formula": "1_000 * A"}]}, "formulas[0].formula"),
        ({"breakdown": [{"property": "a", "segment": "b"}]}, "breakdown[0]"),
        ({"breakdown": [{"property": "a"}] * 4}, "breakdown"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2500-01-01"}, "from"),
        ({"from": "2026-11-30", "to": "2026-11-01"}, "to"),
        ({"from": "2020-01-01", "to": "2026-11-01", "interval": "minute"}, "interval"),
        ({"from": "2026-11-01", "last": 3}, "last"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_its_field(
    query: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    whole = {"series": [{}, {}]} | body if body else body
    answer = await query.post(TRENDS, content=json.dumps(whole))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"].get("field", "") == field
