"""Measures what an alert asks for, by the REST API: the figures are those that everybody sees."""

import datetime
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from schemas.alerts import (
    Alert,
    AlertDefinition,
    FunnelMeasure,
    MetricMeasure,
    PredictionMeasure,
    QueryMeasure,
    SegmentMeasure,
)
from schemas.time.buckets import Buckets
from services.alerts.decide import Observation

_WEEK_S: Final = 7 * 86_400
_EMPTY_IS_0: Final = {"events", "persons", "sum"}  # measures of a metric
_HOUR_MS: Final = 3_600_000
_COUNTED: Final = {"live", "behind"}


class NotMeasured(Exception):
    """The query service has not answered, or has refused; the text says why."""


class Ask(Protocol):
    """Asks the REST API about a project."""

    async def __call__(
        self, project: str, path: str, body: dict[str, Any] | None = None, **parameters: str
    ) -> dict[str, Any]:
        """Return the answer to GET, or with a body to POST; raises `NotMeasured`."""


class Measured(NamedTuple):
    """What was measured, and until when (s since 1970) all events are in; None if unknown."""

    seen: Observation
    complete_until_s: float | None


async def measure(
    ask: Ask, definition: AlertDefinition, at_s: int, total: float | None
) -> Measured:
    """Measure for a step that begins at a time (s): what happened before it.

    `total` is the running count after the step before, of figures that count since then.

    Raises:
        NotMeasured: it cannot be measured; says why.
    """
    alert, project = definition.alert, definition.project_id
    match alert.measure:
        case QueryMeasure() as asked:
            return await _query(ask, project, alert, asked, at_s)
        case MetricMeasure(metric=name):
            return await _metric(ask, project, alert, name, at_s)
        case FunnelMeasure() as asked:
            return await _funnel(ask, project, alert, asked, at_s)
        case SegmentMeasure() as asked:
            return await _segment(ask, project, asked, total)
        case PredictionMeasure(prediction=name):
            answer = await ask(project, f"predictions/{quote(name)}/results")
            _require_live(answer)
            return Measured(_since(float(answer["drifts"]), total), None)


async def _query(ask: Ask, project: str, alert: Alert, asked: QueryMeasure, at_s: int) -> Measured:
    async def figure(until_s: int) -> tuple[float | None, dict[str, Any]]:
        body = {
            **{name: msgspec.json.decode(raw) for name, raw in asked.query.items()},
            "from": _text(until_s - asked.window_s),
            "to": _text(until_s),
        }
        answer = await ask(project, "query/trends", body)
        trends = answer["trends"]
        formulas = body.get("formulas") or ()
        found = trends[len(body["series"])]["total"] if formulas else trends[0]["total"]
        return (None if found is None else float(found)), answer

    now, answer = await figure(at_s)
    baseline = None
    if alert.compare != "none":
        before_s = asked.window_s if alert.compare == "previous" else _WEEK_S
        baseline, _ = await figure(at_s - before_s)
    sample = None
    if alert.min_sample:
        body = {
            "series": [
                {
                    name: value
                    for name, value in msgspec.json.decode(asked.query["series"])[0].items()
                    if name in {"event", "where"}
                }
            ],
            "from": _text(at_s - asked.window_s),
            "to": _text(at_s),
        }
        body |= {
            name: msgspec.json.decode(asked.query[name])
            for name in ("where", "timezone")
            if name in asked.query
        }
        counted = await ask(project, "query/trends", body)
        sample = float(counted["trends"][0]["total"] or 0)
    return Measured(Observation(now, baseline, sample), _complete(answer))


async def _metric(ask: Ask, project: str, alert: Alert, name: str, at_s: int) -> Measured:
    answer = await ask(project, f"metrics/{quote(name)}/results")
    _require_live(answer)
    metric = answer["metric"]
    length = metric["interval"] or metric["bucket_s"]
    calendar = Buckets(length, metric["timezone"], metric["week_start"])
    buckets = {_seconds(one["begin"]): one for one in answer["buckets"]}
    kept = answer["kept_since"]
    first = None if kept is None else _seconds(kept)

    def figure(begin_s: float) -> float | None:
        found = buckets.get(begin_s)
        if found is not None:
            value = found["value"]
            return None if value is None else float(value)
        # Buckets in which nothing was measured are left out.
        empty = first is not None and begin_s >= first and metric["measure"] in _EMPTY_IS_0
        return 0.0 if empty else None

    number = calendar.number(1_000 * at_s) - 1  # the last bucket that has ended
    begin = calendar.begin(number) / 1_000
    baseline = None
    if alert.compare == "previous":
        baseline = figure(calendar.begin(number - 1) / 1_000)
    elif alert.compare != "none":
        # A week in which clocks are changed is an hour shorter or longer.
        into_ms = _HOUR_MS if calendar.most_ms > _HOUR_MS else 0
        before = calendar.number(calendar.begin(number) - 1_000 * _WEEK_S + into_ms)
        baseline = figure(calendar.begin(before) / 1_000)
    events = (buckets.get(begin) or {}).get("events")
    sample = None if events is None else float(events)
    return Measured(Observation(figure(begin), baseline, sample), _complete(answer))


async def _funnel(
    ask: Ask, project: str, alert: Alert, asked: FunnelMeasure, at_s: int
) -> Measured:
    path = f"funnels/{quote(asked.funnel)}/compare"

    async def spans(until_s: int) -> dict[str, Any]:
        moment = until_s - asked.age_s - asked.window_s
        own = {"span_s": str(asked.window_s), "age_s": str(asked.age_s)}
        return await ask(project, path, None, at=_text(moment), **own)

    answer = await spans(at_s)
    place = len(answer["steps"]) - 1 if asked.step is None else asked.step - 1
    if place >= len(answer["steps"]):
        raise NotMeasured(f"the funnel {asked.funnel} has no step {asked.step}")
    now, baseline = answer["after"], None
    sample = float(now["reached"][0])
    if alert.compare == "previous":
        baseline = answer["before"]["conversion"][place]
        sample = min(sample, float(answer["before"]["reached"][0]))
    elif alert.compare == "week":
        before = (await spans(at_s - _WEEK_S))["after"]
        baseline = before["conversion"][place]
        sample = min(sample, float(before["reached"][0]))
    return Measured(Observation(now["conversion"][place], baseline, sample), _complete(answer))


async def _segment(ask: Ask, project: str, asked: SegmentMeasure, total: float | None) -> Measured:
    answer = await ask(project, f"segments/{quote(asked.segment)}/results")
    _require_live(answer)
    size = float(answer["persons"])
    if asked.figure == "size":
        return Measured(Observation(size, sample=size), None)
    entered = float(sum(day["entered"] for day in answer["days"]))
    return Measured(_since(entered, total), None)


def _since(count: float, total: float | None) -> Observation:
    """Return what was counted since `total`; nothing the first time, or after a recount."""
    if total is None or count < total:
        return Observation(None, total=count)
    return Observation(count - total, total=count)


def _require_live(answer: dict[str, Any]) -> None:
    state = answer.get("state", "live")
    if state not in _COUNTED:
        raise NotMeasured(f"what it is about is {state}")


def _complete(answer: dict[str, Any]) -> float | None:
    until = answer.get("complete_until")
    return None if until is None else _seconds(until)


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def _text(at_s: int) -> str:
    at = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
