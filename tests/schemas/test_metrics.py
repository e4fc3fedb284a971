"""What a metric may be."""

import json
from typing import Any

import pytest

from schemas.errors import InvalidRequest
from schemas.operators.metric import METRIC, MetricDefinition, asked_of, decode_metric

SUM = {"measure": "sum", "property": "price"}
NO_NUMBER = {"property": "n", "op": "gt", "value": "1"}


def read(body: dict[str, Any]) -> Any:
    return decode_metric(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        {"measure": "events"},
        {"measure": "events", "by_event": True, "limit": 100, "bucket_s": 1},
        {"measure": "persons", "bucket_s": 86_400, "timezone": "Asia/Kathmandu"},
        SUM | {"filter": {"event": "buy", "where": [{"property": "n", "op": "gt", "value": 1}]}},
        {"measure": "percentiles", "property": "ms", "percentiles": [0.1, 1.1, 50, 99.9]},
        {"measure": "top", "property": "path", "limit": 1},
        {"measure": "persons", "interval": "month", "breakdown": {"property": "plan"}},
        SUM | {"interval": "week", "week_start": "sunday", "breakdown": {"property": "plan"}},
        SUM | {"interval": None, "bucket_s": None},
    ],
)
def test_a_metric_that_makes_sense_is_accepted(body: dict[str, Any]) -> None:
    assert read(body).measure == body["measure"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"measure": "median", "property": "ms"}, "measure"),
        ({"measure": "sum"}, "property"),
        ({"measure": "top"}, "property"),
        ({"measure": "events", "property": "price"}, "property"),
        ({"measure": "persons", "property": "price"}, "property"),
        (SUM | {"by_event": True}, "by_event"),
        (SUM | {"percentiles": [50]}, "percentiles"),
        ({"measure": "percentiles", "property": "ms", "percentiles": [100]}, "percentiles[0]"),
        ({"measure": "percentiles", "property": "ms", "percentiles": [0.05]}, "percentiles"),
        ({"measure": "persons", "bucket_s": 600}, "bucket_s"),
        (SUM | {"bucket_s": 30}, "bucket_s"),
        (SUM | {"limit": 0}, "limit"),
        (SUM | {"interval": "day"}, "interval"),
        (SUM | {"interval": "week", "bucket_s": 86_400}, "bucket_s"),
        (SUM | {"breakdown": {"property": ""}}, "breakdown.property"),
        ({"measure": "top", "property": "p", "breakdown": {"property": "q"}}, "breakdown"),
        ({"measure": "percentiles", "property": "p", "breakdown": {"property": "q"}}, "breakdown"),
        (SUM | {"timezone": "Mars/Olympus"}, "timezone"),
        (
            SUM | {"filter": {"where": [{"property": "n", "op": "gt", "value": "1"}]}},
            "filter.where[0].value",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(body)
    assert refused.value.field == field


def defined(body: dict[str, Any]) -> MetricDefinition:
    return MetricDefinition(
        project_id="shop", id="m", version=1, created_at=0, updated_at=0, metric=read(body)
    )


@pytest.mark.parametrize(
    ("before", "after", "alike"),
    [
        (SUM, SUM | {"bucket_s": 60}, True),
        (SUM, SUM | {"week_start": "sunday"}, True),
        (SUM, SUM | {"limit": 3, "name": "Revenue"}, True),
        (SUM, SUM | {"bucket_s": 10}, False),
        (SUM | {"interval": "week"}, SUM | {"interval": "month"}, False),
        (SUM | {"interval": "week"}, SUM | {"interval": "week", "week_start": "sunday"}, False),
        (SUM, SUM | {"breakdown": {"property": "plan"}}, False),
    ],
)
def test_what_changes_the_figures_makes_a_new_version(
    before: dict[str, Any], after: dict[str, Any], alike: bool
) -> None:
    assert METRIC.counts_alike(defined(before), defined(after)) == alike


def test_percentiles_that_are_not_named_are_the_usual_ones() -> None:
    assert asked_of(read({"measure": "percentiles", "property": "ms"})) == (50, 90, 95, 99)
