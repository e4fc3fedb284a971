"""Metrics over HTTP: what is accepted, and what is answered of what a worker has published."""

from typing import Any

import httpx
import msgspec
import pytest

from schemas.operators.metric import METRIC, decode
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import Record, produce, read_all
from tests.pipelines.test_metric_fold import CASE, feed, minutes, start
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
