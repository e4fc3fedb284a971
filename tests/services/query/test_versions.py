"""A change that counts the same stays in place; any other leaves the previous version readable."""

import asyncio
import itertools
import time
from typing import Any

import httpx
import msgspec
import pytest

from schemas.definitions import NO_PREVIOUS
from schemas.operators.funnel import FunnelDefinition, decode
from schemas.settings import Settings
from services.replay import ReplayFilter, replay
from tests.conftest import PARTITIONS
from tests.kafka import Record, produce
from tests.services.query.conftest import DEADLINE_S, NOTHING, Worker, eventually, ready, serve
from tests.services.query.test_funnels import BUY, FUNNELS, create, funnel_records
from tests.services.query.test_results import DAY, RESULTS

ONE = f"{FUNNELS}/buy"
LONGER = BUY | {"window_s": 7_200}


def publish(worker: Worker, version: int, reached: list[int], **progress: Any) -> None:
    """Results of a version: live on all partitions, unless `progress` says otherwise."""
    live = {"live_since": 5} | progress
    wholes = [
        {"version": version, "partition": n, "reached": reached if n == 0 else [0, 0]} | live
        for n in range(PARTITIONS)
    ]
    day = {"version": version, "day": DAY, "reached": reached, "times": [NOTHING] * 2}
    worker.publish(*wholes, day)


def reached(shown: Any) -> list[int]:
    return [step["reached"] for step in shown["totals"]["steps"]]


async def shows(query: httpx.AsyncClient, version: int, state: str, numbers: list[int]) -> Any:
    """Wait until the results are those; return the answer."""

    def is_right(answer: httpx.Response) -> bool:
        now = answer.json()
        is_at = now["funnel"]["version"], now["state"], reached(now)
        return is_at == (version, state, numbers)

    return (await eventually(lambda: query.get(RESULTS), is_right)).json()


async def live_funnel(query: httpx.AsyncClient, worker: Worker) -> Any:
    """A funnel of which version 1 is live with 5 and 2 persons; its results."""
    await create(query, "buy")
    publish(worker, 1, [5, 2])
    return await shows(query, 1, "live", [5, 2])


async def put(query: httpx.AsyncClient, body: dict[str, Any]) -> Any:
    answer = await query.put(ONE, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def latest(settings: Settings) -> FunnelDefinition:
    value = funnel_records(settings)[-1].value()
    assert value is not None
    return decode(value)


async def promoted(settings: Settings) -> FunnelDefinition:
    """Wait until the record on the topic carries no previous version any more; that record."""
    deadline = time.monotonic() + DEADLINE_S
    while bytes((now := latest(settings)).previous) != bytes(NO_PREVIOUS):
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.05)
    return now


# ── in place ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_name_or_description_counts_nothing_anew(
    query: httpx.AsyncClient, worker: Worker, settings: Settings
) -> None:
    before = await live_funnel(query, worker)
    answer = await query.put(ONE, json=BUY | {"name": "Bought", "description": "Who buys."})
    shown = answer.json()
    assert (shown["revision"], shown["version"]) == (2, 1)
    assert (shown["name"], shown["description"]) == ("Bought", "Who buys.")
    assert answer.headers["etag"] == '"2"'
    after = (await query.get(RESULTS)).json()
    assert after == before | {"funnel": shown}
    record = latest(settings)
    assert (record.revision, record.version) == (2, 1)
    assert bytes(record.previous) == bytes(NO_PREVIOUS)


async def test_every_change_raises_the_revision_and_may_be_meant_for_one(
    query: httpx.AsyncClient,
) -> None:
    created = await create(query, "buy")
    assert (created["revision"], created["version"]) == (1, 1)
    await put(query, created | {"name": "Renamed"})
    for stale in (
        await query.put(ONE, json=created | {"name": "Too late"}),
        await query.put(ONE, json=BUY, headers={"If-Match": '"1"'}),
        await query.delete(ONE, headers={"If-Match": '"1"'}),
    ):
        assert stale.status_code == 409
        assert "is at revision 2, not 1" in stale.json()["error"]["message"]
    twice = await query.put(ONE, json=BUY | {"revision": 1}, headers={"If-Match": '"2"'})
    assert (twice.status_code, twice.json()["error"]["field"]) == (400, "revision")
    other = await query.put(ONE, json=BUY | {"version": 2})
    assert "is at version 1, not 2" in other.json()["error"]["message"]
    right = await query.put(ONE, json=LONGER, headers={"If-Match": '"2"'})
    assert (right.json()["revision"], right.json()["version"]) == (3, 2)


async def test_a_definition_made_after_a_deleted_one_has_numbers_of_its_own(
    query: httpx.AsyncClient,
) -> None:
    await create(query, "buy")
    await put(query, BUY | {"name": "Renamed"})
    await query.delete(ONE)
    again = await create(query, "buy")
    assert (again["revision"], again["version"]) == (3, 2)


async def test_what_is_only_asked_of_a_metrics_sketches_changes_in_place(
    query: httpx.AsyncClient,
) -> None:
    metrics = "/api/projects/shop/metrics"
    body = {"measure": "percentiles", "property": "p", "id": "ms"}
    await query.post(metrics, json=body)
    changed = (await query.put(f"{metrics}/ms", json=body | {"percentiles": [50, 99.9]})).json()
    assert (changed["revision"], changed["version"]) == (2, 1)
    changed = (await query.put(f"{metrics}/ms", json=body | {"bucket_s": 3_600})).json()
    assert (changed["revision"], changed["version"]) == (3, 2)


# ── a new version ────────────────────────────────────────────────────────────────────────────────


async def test_the_previous_version_is_shown_whole_until_the_new_one_is_live(
    query: httpx.AsyncClient, worker: Worker, settings: Settings
) -> None:
    before = await live_funnel(query, worker)
    changed = await put(query, LONGER)
    assert (changed["revision"], changed["version"]) == (2, 2)
    shown = await shows(query, 2, "backfilling", [0, 0])
    assert shown["previous"] == before
    assert latest(settings).version == 2
    assert decode(bytes(latest(settings).previous)).version == 1

    # The previous version counts on; the new one is live on some partitions only.
    worker.publish({"reached": [6, 2], "live_since": 5})
    worker.publish({"version": 2, "reached": [4, 3], "live_since": 9})
    shown = await shows(query, 2, "backfilling", [4, 3])
    await eventually(
        lambda: query.get(RESULTS), lambda now: reached(now.json()["previous"]) == [6, 2]
    )
    assert (await query.get(f"{ONE}/status")).json()["state"] == "backfilling"
    times = (await query.get(f"{ONE}/times")).json()
    assert (times["state"], times["previous"]["state"]) == ("backfilling", "live")

    publish(worker, 2, [7, 3])
    shown = await shows(query, 2, "live", [7, 3])
    assert shown["previous"] is None
    record = await promoted(settings)
    assert (record.version, record.revision) == (2, 2)
    assert (await query.get(ONE)).json() == changed


async def test_days_asked_for_are_those_of_both_versions(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await live_funnel(query, worker)
    await put(query, LONGER)
    none = (await query.get(RESULTS, params={"to": "2026-01-01"})).json()
    assert none["previous"]["days"] == []
    month = (await query.get(RESULTS, params={"period": "month"})).json()
    assert [day["day"] for day in month["previous"]["days"]] == ["2026-11-01"]


async def test_a_version_that_was_never_live_is_followed_by_what_counted_before_it(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await live_funnel(query, worker)
    await put(query, LONGER)
    publish(worker, 2, [1, 0], position=10, backfilling_to=100, live_since=None)
    await shows(query, 2, "backfilling", [1, 0])
    await put(query, LONGER | {"name": "Renamed"})
    await put(query, BUY | {"window_s": 60})
    shown = await shows(query, 3, "backfilling", [0, 0])
    assert (shown["previous"]["funnel"]["version"], reached(shown["previous"])) == (1, [5, 2])


async def test_of_a_first_version_that_was_never_live_nothing_is_kept(
    query: httpx.AsyncClient,
) -> None:
    await create(query, "buy")
    await put(query, LONGER)
    assert (await query.get(RESULTS)).json()["previous"] is None


async def test_a_new_version_that_fails_leaves_the_previous_one_readable(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await live_funnel(query, worker)
    await put(query, LONGER)
    failed = {"position": 10, "backfilling_to": 100, "live_since": None, "failed": "ValueError: x"}
    publish(worker, 2, [0, 0], **failed)
    shown = await shows(query, 2, "failed", [0, 0])
    assert reached(shown["previous"]) == [5, 2]


async def test_what_one_process_leaves_undone_the_next_one_does(
    settings: Settings, worker: Worker
) -> None:
    async with serve(settings) as query:
        await ready(query)
        await live_funnel(query, worker)
        await put(query, LONGER)
    publish(worker, 2, [7, 3])
    async with serve(settings) as one, serve(settings) as other:
        await ready(one)
        await ready(other)
        await promoted(settings)
        for query in (one, other):
            assert (await shows(query, 2, "live", [7, 3]))["previous"] is None
            await eventually(
                lambda query=query: query.get(ONE),  # type: ignore[misc]  # a bound loop variable
                lambda answer: answer.json()["revision"] == 2,
            )
        await put(one, LONGER | {"name": "Renamed"})
    revisions = [decode(record.value() or b"").revision for record in funnel_records(settings)]
    assert [*itertools.accumulate(revisions, max)] == revisions
    assert revisions[-1] == 3


async def test_a_replay_leaves_the_previous_version_readable(
    query: httpx.AsyncClient, worker: Worker, settings: Settings
) -> None:
    before = await live_funnel(query, worker)
    replaying = asyncio.create_task(
        asyncio.to_thread(replay, settings, ReplayFilter(kind="funnel"), quiet=True)
    )
    shown = await shows(query, 2, "backfilling", [0, 0])
    assert shown["previous"] == before
    assert shown["funnel"]["revision"] == 2
    publish(worker, 2, [5, 2])
    assert await replaying == 1
    assert (await shows(query, 2, "live", [5, 2]))["previous"] is None
    await promoted(settings)


# ── unreadable ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def unreadable(settings: Settings) -> None:
    """Write a funnel as a coming version of the product might."""
    record = msgspec.json.encode({"version": 3, "revision": 4, "funnel": {"graph": []}})
    name = settings.topics.definitions.name
    produce(settings.bootstrap, name, [Record(record, b"shop/funnel/buy")])


@pytest.mark.usefixtures("unreadable")
async def test_a_definition_that_cannot_be_read_has_failed_and_may_be_replaced(
    query: httpx.AsyncClient,
) -> None:
    status = (await query.get(f"{ONE}/status")).json()
    assert (status["state"], status["backfilled"]) == ("failed", 0)
    assert "cannot be read" in status["reason"]
    for refused in (await query.get(ONE), await query.get(RESULTS)):
        assert refused.status_code == 409
        assert "replace or delete it" in refused.json()["error"]["message"]
    assert (await query.post(FUNNELS, json=BUY | {"id": "buy"})).status_code == 409
    assert (await query.get(FUNNELS)).json()["funnels"] == []
    replaced = await put(query, BUY)
    assert (replaced["revision"], replaced["version"]) == (5, 4)


@pytest.mark.usefixtures("unreadable")
async def test_a_definition_that_cannot_be_read_may_be_deleted(
    query: httpx.AsyncClient,
) -> None:
    assert (await query.delete(ONE)).status_code == 204
    assert (await query.get(f"{ONE}/status")).status_code == 404
    again = await create(query, "buy")
    assert (again["revision"], again["version"]) == (5, 4)
