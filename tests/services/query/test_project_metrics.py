"""Metrics over HTTP: what is accepted, and what is answered of what a worker has published."""

from typing import Any

import httpx
import msgspec
import pytest

from schemas.operators.metric import METRIC, ByProperty, decode
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import Record, produce, read_all
from tests.oracles.metric import Act
from tests.pipelines.test_metric_fold import CASE, NOON, feed, minutes, start
from tests.services.query.conftest import eventually
from tests.services.query.test_metric_figures import SCHEMA, encoded
from tests.services.query.test_openapi import check

METRICS = "/api/projects/shop/metrics"
SUM: dict[str, Any] = {"measure": "sum", "property": "p", "filter": {"event": "buy"}}


async def create(query: httpx.AsyncClient, name: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await query.post(METRICS, json=body | {"id": name})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_a_metric_is_made_shown_changed_and_deleted(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    shown = await create(query, "m", SUM)
    assert shown | SUM | {"id": "m", "version": 1, "bucket_s": 60} == shown
    assert (await query.get(METRICS)).json() == {"metrics": [shown], "next": None}
    changed = await query.put(f"{METRICS}/m", json=SUM | {"bucket_s": 10})
    assert (changed.json()["version"], changed.json()["bucket_s"]) == (2, 10)
    newest = read_all(settings.bootstrap, settings.topics.definitions.name)[-1]
    assert newest.key() == b"shop/metric/m"
    assert decode(newest.value() or b"").metric.bucket_s == 10
    assert (await query.delete(f"{METRICS}/m")).status_code == 204
    assert (await query.get(f"{METRICS}/m")).status_code == 404


async def test_what_it_is_shown_with_may_be_sent_back(query: httpx.AsyncClient) -> None:
    shown = await create(query, "m", SUM)
    again = await query.put(f"{METRICS}/m", json=shown)
    assert again.status_code == 200, again.text


async def test_a_property_that_clickhouse_cannot_be_asked_for_is_refused(
    query: httpx.AsyncClient,
) -> None:
    answer = await query.post(METRICS, json=SUM | {"property": "^`a"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "property")


@pytest.mark.parametrize(
    ("measure", "params", "field"),
    [
        ("sum", {"window_s": "90"}, "window_s"),
        ("sum", {"window_s": "7260"}, "window_s"),
        ("sum", {"window_s": "0"}, "window_s"),
        ("persons", {"window_s": "60"}, "window_s"),
        ("sum", {"limit": "1441"}, "limit"),
        ("sum", {"from": "yesterday"}, "from"),
        ("sum", {"to": "2026-11-22 10:00"}, "to"),
        ("sum", {"source": "nowhere"}, "source"),
    ],
)
async def test_a_parameter_that_is_not_accepted_is_named(
    query: httpx.AsyncClient, measure: str, params: dict[str, str], field: str
) -> None:
    await create(query, "m", {"measure": "persons"} if measure == "persons" else SUM)
    answer = await query.get(f"{METRICS}/m/results", params=params)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


async def test_what_the_worker_publishes_is_answered(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    await create(query, "m", SUM)
    topic = METRIC.aggregates.topic(settings.topics).name
    with Registry(settings.bootstrap) as registry:
        schema_id = registry.register(value_subject(topic), SCHEMA)
    for partition, values in enumerate([(1, 2, "3"), (4,)]):
        running = start(CASE, "sum")
        feed(running, minutes(*((0, value) for value in values)))
        records = encoded(running, partition, schema_id)
        produce(
            settings.bootstrap,
            topic,
            [Record(value, key, partition) for key, value in records.items()],
        )
    answer = await eventually(
        lambda: query.get(f"{METRICS}/m/results"),
        lambda answer: [figure["events"] for figure in answer.json()["buckets"]] == [4],
    )
    check("/api/projects/{project}/metrics/{id}/results", answer)
    (figure,) = answer.json()["buckets"]
    assert (figure["value"], figure["unmeasured"]) == (7, 1)
    assert msgspec.json.decode(answer.content)["now"]["events"] == 0
    early = await query.get(f"{METRICS}/m/results", params={"to": "2024-01-01"})
    assert early.json()["buckets"] == []


async def test_every_answer_is_as_described(query: httpx.AsyncClient) -> None:
    many, one = "/api/projects/{project}/metrics", "/api/projects/{project}/metrics/{id}"
    check(many, await query.post(METRICS, json=SUM | {"id": "m"}))
    check(many, await query.post(METRICS, json={}))
    check(many, await query.get(METRICS))
    check(one, await query.get(f"{METRICS}/m"))
    check(one, await query.put(f"{METRICS}/m", json={"measure": "persons", "bucket_s": 86_400}))
    check(f"{one}/results", await query.get(f"{METRICS}/m/results"))
    check(f"{one}/results", await query.get(f"{METRICS}/m/results", params={"limit": "0"}))
    check(f"{one}/results", await query.get(f"{METRICS}/m/results", params={"source": "store"}))


WEEKLY: dict[str, Any] = {"measure": "events", "interval": "week", "breakdown": {"property": "q"}}


async def test_weeks_and_days_are_those_of_the_project(query: httpx.AsyncClient) -> None:
    settings = {"timezone": "Europe/Lisbon", "week_start": "sunday"}
    assert (await query.put("/api/projects/shop/settings", json=settings)).status_code == 200
    shown = await create(query, "w", WEEKLY)
    assert shown | settings | WEEKLY | {"bucket_s": None} == shown
    own = await create(query, "own", WEEKLY | {"timezone": "UTC", "week_start": "monday"})
    assert (own["timezone"], own["week_start"]) == ("UTC", "monday")
    again = await query.put(f"{METRICS}/w", json=shown)
    assert (again.status_code, again.json()["version"]) == (200, 1)
    assert (await query.get(f"{METRICS}/w/results")).json()["window_s"] is None
    refused = await query.get(f"{METRICS}/w/results", params={"window_s": "604800"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "window_s")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"interval": "year"}, "interval"),
        ({"interval": "week", "bucket_s": 60}, "bucket_s"),
        ({"interval": "week", "week_start": "saturday"}, "week_start"),
        ({"breakdown": {"property": "q", "limit": 3}}, "breakdown"),
        ({"breakdown": {"property": "q"}, "by_event": True}, "breakdown"),
    ],
)
async def test_a_metric_by_value_or_week_that_makes_no_sense_is_refused(
    query: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await query.post(METRICS, json={"measure": "events", **body})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


async def test_figures_by_value_are_answered_with_the_most_frequent_value_first(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    body = {"measure": "sum", "property": "p", "breakdown": {"property": "q"}}
    await create(query, "m", body)
    topic = METRIC.aggregates.topic(settings.topics).name
    with Registry(settings.bootstrap) as registry:
        schema_id = registry.register(value_subject(topic), SCHEMA)
    acts = [
        [Act(0, NOON, "a", 1, "pro"), Act(1, NOON, "a", 2, "pro"), Act(2, NOON, "a", 4)],
        [Act(3, NOON, "a", 8, "free"), Act(4, NOON, "a", "none", "free"), Act(5, NOON, "a", 3, 1)],
    ]
    many = [Act(9, NOON, "a", 1, value) for value in range(100, 125)]
    for partition, own in enumerate([acts[0], [*acts[1], *many]]):
        running = start(CASE, "sum", breakdown=ByProperty("q"))
        feed(running, own)
        records = encoded(running, partition, schema_id)
        produce(
            settings.bootstrap,
            topic,
            [Record(value, key, partition) for key, value in records.items()],
        )
    answer = await eventually(
        lambda: query.get(f"{METRICS}/m/results"),
        lambda answer: [figure["events"] for figure in answer.json()["buckets"]] == [31],
    )
    check("/api/projects/{project}/metrics/{id}/results", answer)
    (bucket,) = answer.json()["buckets"]
    shown = [(one["value"], one["events"], one["figure"]) for one in bucket["breakdown"]]
    # Values of equal counts are in the order of their tokens: that of null is the least one.
    assert shown[:4] == [("free", 2, 8), ("pro", 2, 3), (None, 1, 4), (1, 1, 3)]
    other = bucket["breakdown"][-1]
    assert (len(shown), other["other"], other["value"], other["events"]) == (26, True, None, 4)
    assert "error" not in answer.json()
    assert sum(one["events"] for one in bucket["breakdown"]) == 31
