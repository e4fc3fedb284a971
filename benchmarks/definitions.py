"""Definitions of all kinds over the events of benchmarks, as many as are asked for."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import msgspec

from benchmarks.bench import EVENTS, parts_of
from schemas.definitions import Definition
from schemas.operators.cohort import Cohort, CohortDefinition
from schemas.operators.funnel import Funnel, FunnelDefinition
from schemas.operators.metric import Metric, MetricDefinition
from schemas.operators.segment import Rule, Segment, SegmentDefinition

_COHORT_PERIODS = ("day", "week", "month")
_EXPENSIVE = {"property": "price", "op": "gte", "value": 20}


def sixty() -> dict[str, Sequence[Definition]]:
    """Return 20 funnels, 20 segments, 10 cohorts and 10 metrics, by operator."""
    return {
        "funnel": list(islice(funnels(EVENTS), 20)),
        "segment": list(islice(segments(EVENTS), 20)),
        "cohort": list(islice(cohorts(EVENTS), 10)),
        "metric": list(islice(metrics(EVENTS), 10)),
    }


def funnels(names: Sequence[str]) -> Iterator[FunnelDefinition]:
    """Yield funnels of 4 to 8 steps, every fourth with a breakdown and a condition."""
    for number in range(10**6):
        count = 4 + number % 5
        steps: list[dict[str, Any]] = [
            {"event": names[(number + step) % len(names)]} for step in range(count)
        ]
        funnel: dict[str, Any] = {"steps": steps, "window_s": 3_600}
        if number % 4 == 3:
            steps[1]["where"] = [_EXPENSIVE]
            funnel["breakdown"] = {"property": "plan", "attribution": "first"}
        yield FunnelDefinition(**parts_of("funnel", number), funnel=msgspec.convert(funnel, Funnel))


def segments(names: Sequence[str]) -> Iterator[SegmentDefinition]:
    """Yield segments by how often, when, in which order and with which properties persons acted."""
    for number, name in zip(range(10**6), cycle(names), strict=False):
        topic_view = names[(number + 1) % len(names)]
        rules: list[Mapping[str, Any]] = [
            {"performed": {"event": name, "at_least": 3, "within_s": 604_800}},
            {"last_seen": {"event": name, "within_s": 86_400}},
            {
                "and": [
                    {"performed": {"event": name}},
                    {"not": {"performed": {"event": topic_view}}},
                ]
            },
            {"sequence": {"steps": [{"event": name}, {"event": topic_view}], "window_s": 3_600}},
            {"performed": {"event": name, "at_least": 2, "where": [_EXPENSIVE]}},
        ]
        rule = msgspec.convert(rules[number % len(rules)], Rule)
        parts = parts_of("segment", number)
        yield SegmentDefinition(**parts, segment=Segment(rule=rule), rule=rule)


def cohorts(names: Sequence[str]) -> Iterator[CohortDefinition]:
    """Yield cohorts that persons return to by an event of one name, or by any."""
    for number, name in zip(range(10**6), cycle(names), strict=False):
        cohort = {
            "start": {"event": name},
            "return": {} if number % 2 else {"event": names[(number + 1) % len(names)]},
            "period": _COHORT_PERIODS[number % len(_COHORT_PERIODS)],
        }
        yield CohortDefinition(**parts_of("cohort", number), cohort=msgspec.convert(cohort, Cohort))


def metrics(names: Sequence[str]) -> Iterator[MetricDefinition]:
    """Yield metrics, one of each measure in turn."""
    kinds: list[Mapping[str, Any]] = [
        {"measure": "events", "by_event": True, "bucket_s": 1},
        {"measure": "persons", "bucket_s": 60},
        {"measure": "persons", "bucket_s": 86_400},
        {"measure": "sum", "property": "price", "filter": {"event": names[-2]}},
        {"measure": "percentiles", "property": "price", "filter": {"event": names[0]}},
        {"measure": "top", "property": "plan", "filter": {"event": names[1]}},
        {"measure": "events", "filter": {"event": names[2]}},
        {"measure": "average", "property": "price", "filter": {"event": names[3]}},
        {"measure": "top", "property": "path", "filter": {"event": names[4]}},
        {"measure": "events", "filter": {"event": names[5], "where": [_EXPENSIVE]}},
    ]
    for number, metric in enumerate(cycle(kinds)):
        yield MetricDefinition(**parts_of("metric", number), metric=msgspec.convert(metric, Metric))
