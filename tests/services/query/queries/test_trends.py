"""Trends asked of ClickHouse have the figures of their definition."""

import datetime
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.oracles.events import Event
from tests.oracles.trends import OTHER, Trend, before, compared, interval_of, intervals, trends
from tests.oracles.values import name_of_shown
from tests.services.query.queries.asking import Asker, ms

patient = hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

# Lisbon's clocks go back on 25 October 2026, São Paulo's and Kolkata's do not; New York's on
# 1 November.
BEGIN, END = ms("2026-10-20T00:00:00+00:00"), ms("2026-11-05T00:00:00+00:00")
HOUR_MS = 3_600_000
ZONES = ["UTC", "Europe/Lisbon", "America/New_York", "Asia/Kolkata"]
PLANS = ["pro", "free", None, 1, 1.0, True, "1", "other", [1, 2], 2**63 + 5, {"a": 1}]
AMOUNTS = [1, 2.5, -3, 0, None, "12.5", "-1e2", "text", "0x1", True, [1], 2**53]

events = st.builds(
    Event,
    person=st.sampled_from("abcd"),
    event=st.sampled_from(["view", "buy", "open"]),
    at=st.integers(BEGIN, END - 1),
    properties=st.fixed_dictionaries(
        {"plan": st.sampled_from(PLANS), "amount": st.sampled_from(AMOUNTS)}
    ),
)
measures: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from(["events", "persons", "events_per_person"]).map(lambda one: {"measure": one}),
    st.builds(
        lambda measure, text: {"measure": measure, "property": "amount", "text_numbers": text},
        st.sampled_from(["sum", "average", "minimum", "maximum"]),
        st.booleans(),
    ),
    st.sampled_from([0.1, 7, 50, 99.9]).map(
        lambda one: {"measure": "percentile", "property": "amount", "percentile": one}
    ),
)
series = st.builds(
    lambda selection, measure: selection | measure,
    st.sampled_from(
        [
            {},
            {"event": "view"},
            {"event": "buy"},
            {"event": "buy", "where": [{"property": "plan", "op": "not_equals", "value": "free"}]},
        ]
    ),
    measures,
)
bodies = st.fixed_dictionaries(
    {
        "series": st.lists(series, min_size=2, max_size=3),
        "formulas": st.sampled_from([[], [{"formula": "A / B"}, {"formula": "A - B"}]]),
        "breakdown": st.sampled_from(
            [[], [{"property": "plan"}], [{"property": "plan"}, {"property": "amount"}]]
        ),
        "top": st.integers(1, 4),
        "interval": st.sampled_from(["hour", "day", "week", "month"]),
        "timezone": st.sampled_from(ZONES),
        "week_start": st.sampled_from(["monday", "sunday"]),
        "compare": st.booleans(),
    }
)


def shown(answered: list[dict[str, Any]]) -> dict[tuple[str, tuple[str, ...]], Trend]:
    """The trends of an answer as the oracle has them."""
    found = {}
    for one in answered:
        names = tuple(name_of_shown(json.dumps(value)) for value in one["breakdown"])
        found[one["series"], OTHER if one["other"] else names] = Trend(one["values"], one["total"])
    return found


def assert_alike(answered: dict[Any, Trend], wanted: dict[Any, Trend]) -> None:
    """All that the oracle has is there; what else is there has nothing measured."""
    for key, trend in wanted.items():
        assert answered[key].values == pytest.approx(trend.values, nan_ok=False), key
        assert answered[key].total == pytest.approx(trend.total), key
    for key in answered.keys() - wanted.keys():
        assert not any(answered[key].values), key


@given(
    acts=st.lists(events, max_size=30),
    body=bodies,
    span=st.tuples(st.integers(BEGIN, END), st.integers(1, 6 * 24 * HOUR_MS)),
)
@patient
def test_clickhouse_counts_what_the_query_says(
    asker: Asker, acts: list[Event], body: dict[str, Any], span: tuple[int, int]
) -> None:
    first, last = span[0], span[0] + span[1]
    now = END + 7 * 24 * HOUR_MS
    asked = body | {"from": iso(first), "to": iso(last)}
    answered = asker.ask("trends", asker.write(acts), asked, now)
    begins = intervals(first, last, body)
    ends = [*begins[1:], interval_end(begins[-1], body)]
    spans = [(max(b, first), min(e, last)) for b, e in zip(begins, ends, strict=True)]
    assert [ms(one["begin"]) for one in answered["intervals"]] == begins
    assert [ms(one["end"]) for one in answered["intervals"]] == ends
    assert_alike(shown(answered["trends"]), trends(body, acts, spans))
    if body["compare"]:
        earlier = before(begins[0], len(begins), body)
        previous = []
        for (b, e), begin, end, old, following in zip(
            spans, begins, ends, earlier, [*earlier[1:], begins[0]], strict=True
        ):
            until = following if e == end else min(old + e - begin, following)
            from_ = min(old + b - begin, following)
            previous.append((from_, max(from_, until)))
        assert [ms(one["begin"]) for one in answered["previous"]["intervals"]] == earlier
        assert_alike(shown(answered["previous"]["trends"]), compared(body, acts, spans, previous))


def iso(at: int) -> str:
    """An instant as requests have it."""
    seconds, rest = divmod(at, 1_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def interval_end(begin: int, body: dict[str, Any]) -> int:
    """When the next interval begins."""
    at = begin
    while interval_of(at, body["interval"], body["timezone"], body["week_start"]) == begin:
        at += 900_000
    return interval_of(at, body["interval"], body["timezone"], body["week_start"])
