"""What is asked for each measure, and which step is evaluated, by answers as REST gives them."""

import datetime
from typing import Any

import msgspec
import pytest

from schemas.alerts import Alert, AlertDefinition, AlertState
from schemas.time.buckets import Buckets
from services.alerts.decide import begin
from services.alerts.evaluator import observe
from services.alerts.observe import NotMeasured, measure

AT = 1_800_000_000
QUERY = {"type": "query", "query": {"series": [{"event": "buy"}]}, "window_s": 600}


def define(rule: dict[str, Any], **fields: Any) -> AlertDefinition:
    body = {"measure": rule, "condition": {"op": "gt", "value": 1}, **fields}
    return AlertDefinition(
        project_id="shop",
        id="a",
        version=1,
        created_at=1,
        updated_at=1,
        alert=msgspec.json.decode(msgspec.json.encode(body), type=Alert),
    )


def text(at_s: float) -> str:
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).isoformat().replace("+00:00", "Z")


class Answers:
    """Answers as the query service does, and remembers what it was asked."""

    def __init__(self, complete_s: float | None = None, **figures: Any) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.complete_s = complete_s
        self.figures = figures

    async def __call__(
        self, project: str, path: str, body: dict[str, Any] | None = None, **parameters: str
    ) -> dict[str, Any]:
        assert project == "shop"
        self.asked.append((path, parameters if body is None else body))
        complete = None if self.complete_s is None else text(self.complete_s)
        answer: dict[str, Any] = {"complete_until": complete, "state": "live"}
        if path == "query/trends":
            assert body is not None
            return answer | {"trends": [{"total": self.figures.get(body["to"], 0)}]}
        return answer | self.figures


async def test_a_query_is_asked_over_the_window_before_the_step_and_over_the_time_before() -> None:
    week = 7 * 86_400
    ask = Answers(AT, **{text(AT): 5, text(AT - week): 9})
    found = await measure(ask, define(QUERY, compare="week"), AT, None)
    assert (found.seen.figure, found.seen.baseline, found.complete_until_s) == (5, 9, AT)
    spans = [(body["from"], body["to"]) for _, body in ask.asked]
    assert spans == [(text(at - 600), text(at)) for at in (AT, AT - week)]


async def test_a_funnel_is_compared_at_equal_age() -> None:
    group = {"reached": [10, 4], "conversion": [1.0, 0.4]}
    before = {"reached": [8, 4], "conversion": [1.0, 0.5]}
    ask = Answers(AT, steps=["a", "b"], after=group, before=before)
    rule = {"type": "funnel", "funnel": "buy", "window_s": 300, "age_s": 60}
    found = await measure(ask, define(rule, compare="previous"), AT, None)
    assert found.seen[:3] == (0.4, 0.5, 8)
    asked = {"at": text(AT - 360), "span_s": "300", "age_s": "60"}
    assert ask.asked == [("funnels/buy/compare", asked)]


def shown(bucket_s: int | None, interval: str | None = None) -> dict[str, Any]:
    days = {"timezone": "Europe/Lisbon", "week_start": "monday"}
    return {"bucket_s": bucket_s, "interval": interval, "measure": "events", **days}


async def test_a_metric_of_weeks_is_read_in_its_last_whole_week() -> None:
    calendar = Buckets("week", "Europe/Lisbon")
    last = calendar.number(1_000 * AT) - 1
    begins = [calendar.begin(last + later) // 1_000 for later in (-1, 0, 1)]
    buckets = [
        {"begin": text(begin), "value": value, "events": value}
        for begin, value in zip(begins, (3, 7, 1), strict=True)
    ]
    rule = {"type": "metric", "metric": "orders"}
    for compare in ("previous", "week"):
        ask = Answers(AT, metric=shown(None, "week"), buckets=buckets, kept_since=text(begins[0]))
        found = await measure(ask, define(rule, compare=compare), AT, None)
        assert found.seen[:3] == (7, 3, 7)


async def test_a_metric_is_read_in_its_last_whole_bucket_and_an_empty_one_is_0() -> None:
    buckets = [
        {"begin": text(AT - 180), "value": 3, "events": 3},
        {"begin": text(AT - 60), "value": 7, "events": 7},
        {"begin": text(AT), "value": 1, "events": 1},
    ]
    ask = Answers(AT, metric=shown(60), buckets=buckets, kept_since=text(AT - 600))
    rule = {"type": "metric", "metric": "orders"}
    found = await measure(ask, define(rule, compare="previous"), AT + 30, None)
    assert found.seen[:3] == (7, 0, 7)


async def test_what_is_counted_since_the_step_before_has_no_figure_at_first() -> None:
    rule = {"type": "segment", "segment": "buyers", "figure": "entered"}
    ask = Answers(persons=4, days=[{"entered": 2}, {"entered": 3}])
    first = await measure(ask, define(rule), AT, None)
    assert (first.seen.figure, first.seen.total) == (None, 5)
    assert (await measure(ask, define(rule), AT, 3)).seen.figure == 2


async def test_a_result_that_is_not_live_is_not_measured() -> None:
    async def backfilling(*_: Any, **__: Any) -> dict[str, Any]:
        return {"state": "backfilling", "drifts": 1}

    rule = {"type": "prediction", "prediction": "p"}
    with pytest.raises(NotMeasured, match="backfilling"):
        await measure(backfilling, define(rule), AT, None)


async def test_a_step_that_waits_is_evaluated_once_it_is_complete() -> None:
    definition = define(QUERY, wait_complete=True, every_s=60)
    ask = Answers(AT - 90)
    step = AT // 60
    seen = await observe(ask, definition, begin(definition), step)
    assert seen is not None
    assert seen.step == step - 2
    state = AlertState(created_at=1, version=1, every_s=60, step=step - 2)
    assert await observe(ask, definition, state, step) is None


async def test_the_step_that_opened_an_incident_is_measured_again_once_it_is_complete() -> None:
    definition, step = define(QUERY, every_s=60), AT // 60
    state = AlertState(
        created_at=1, version=1, every_s=60, step=step - 1, phase="firing", opened=step - 5
    )
    opened_at = 60 * (step - 5)
    for complete_s, rechecked in ((opened_at - 1, None), (opened_at, 4.0)):
        ask = Answers(complete_s, **{text(opened_at): 4})
        seen = await observe(ask, definition, state, step)
        assert seen is not None
        again = seen.seen.rechecked
        assert (None if again is None else again.figure) == rechecked
