import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.operators.funnel import FUNNEL
from schemas.settings import QUERY_GRPC_PORT, QUERY_PORT, Settings
from services.errors import ErrorBody
from services.query.operators import OPERATORS
from tests.conftest import free_ports
from tests.credentials import TOKEN, bearer
from tests.kafka import delete_topics
from tests.services.query.conftest import Worker, eventually, ready, serve
from tests.services.query.test_funnels import BUY, FUNNELS, create
from tests.services.query.test_results import reaches
from tests.stores import StoreProcess

ROOT = Path(__file__).parents[3]


async def test_a_process_that_answers_is_alive(query: httpx.AsyncClient) -> None:
    answer = await query.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_it_is_ready_when_all_it_stands_on_is(
    settings: Settings, store: StoreProcess
) -> None:
    whole = msgspec.structs.replace(settings, clickhouse_dsn=store.dsn)
    async with serve(whole) as client:
        answer = await eventually(
            lambda: client.get("/readyz"), lambda answer: answer.status_code == 200
        )
        checks = answer.json()["checks"]
        views = {operator.aggregates.name for operator in OPERATORS} | {"definitions"}
        assert {f"view {view}" for view in views} | {"broker", "store"} <= checks.keys()
        assert answer.json() == {"status": "ready", "checks": dict.fromkeys(checks, "ok")}


async def test_a_store_that_is_away_makes_it_unready(query: httpx.AsyncClient) -> None:
    answer = await query.get("/readyz")
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert "ClickHouse does not answer" in checks.pop("store")
    assert set(checks.values()) == {"ok"}


async def test_a_broker_that_is_away_makes_it_unready_and_is_waited_for(settings: Settings) -> None:
    (port,) = free_ports(1)
    away = msgspec.structs.replace(settings, kafka_bootstrap=f"127.0.0.1:{port}")
    async with serve(away) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert "still reading" in answer.json()["checks"]["view funnels"]
        assert answer.json()["checks"]["broker"] != "ok"
        assert (await client.get("/healthz")).status_code == 200
        early = await client.get(FUNNELS)
        assert early.status_code == 503
        assert early.headers["retry-after"] == "1"


async def test_a_view_whose_thread_has_failed_says_so(settings: Settings) -> None:
    topic = FUNNEL.aggregates.topic(settings.topics).name
    delete_topics(settings.bootstrap, [topic])
    async with serve(settings) as client:
        answer = await eventually(
            lambda: client.get("/readyz"),
            lambda answer: topic in answer.json()["checks"]["view funnels"],
        )
        assert answer.status_code == 503
        await ready(client, "view definitions")
        await create(client, "buy")
        results = await client.get(f"{FUNNELS}/buy/results")
        assert results.status_code == 503
        assert "failed" in results.json()["error"]["message"]


@pytest.mark.usefixtures("settings")  # of which all metrics are
async def test_metrics_count_requests_by_route_and_records_by_view(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy")
    await query.get("/no/such/route")
    worker.publish({"reached": [1, 0]})
    await reaches(query, [1, 0])
    scraped = await query.get("/metrics")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(scraped.text)
        for sample in family.samples
        if "le" not in sample.labels
    }
    route = "/api/projects/{project}/funnels"
    assert samples["avila_query_request_seconds_count", route, "201", "POST"] == 1
    assert samples["avila_query_request_seconds_count", "404", "GET", "none"] == 1
    assert samples["avila_query_view_records_total", "definitions"] == 2  # and the token
    assert samples["avila_query_view_records_total", "funnels"] == 1
    assert samples["avila_query_view_ready", "funnels"] == 1
    assert samples["avila_query_view_lag_records", "funnels"] >= 0
    assert samples["avila_query_view_delay_seconds_count", "definitions"] >= 1


async def test_what_is_not_there_is_answered_in_the_same_form(query: httpx.AsyncClient) -> None:
    for answer, status in (
        (await query.get("/no/such/route"), 404),
        (await query.request("PATCH", FUNNELS), 405),
    ):
        assert answer.status_code == status
        msgspec.json.decode(answer.content, type=ErrorBody)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_until_it_is_told_to_end(settings: Settings, end: int) -> None:
    port, grpc_port = free_ports(2)
    ports = {QUERY_PORT: port, QUERY_GRPC_PORT: grpc_port}
    run = (
        "from schemas import settings; from services.query import run_query; "
        f"settings.Settings.port = lambda self, default: {ports}.get(default, default); "
        "run_query(settings.read_settings())"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AVILA_")}
    process = subprocess.Popen(
        [sys.executable, "-c", run],
        cwd=ROOT,
        env=kept
        | {
            "AVILA_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "AVILA_TOPIC_PREFIX": settings.topic_prefix,
        },
    )
    try:
        url = f"http://127.0.0.1:{port}"
        answer = _await(process, f"{url}{FUNNELS}")
        assert answer.json() == {"funnels": [], "next": None}
        made = httpx.post(f"{url}{FUNNELS}", json=BUY, headers=bearer(TOKEN), timeout=60)
        assert made.status_code == 201
        process.send_signal(end)
        assert process.wait(120) in {0, -end, 130}
    finally:
        process.kill()
        process.wait()


def _await(process: subprocess.Popen[bytes], url: str) -> httpx.Response:
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, "the process has ended"
        assert time.monotonic() < deadline, "the process does not answer"
        try:
            answer = httpx.get(url, headers=bearer(TOKEN), timeout=10)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 200:
            return answer
