"""How far a definition is, as its partitions say."""

from typing import Any

import httpx

from tests.conftest import PARTITIONS
from tests.services.query.conftest import Worker, eventually
from tests.services.query.test_funnels import FUNNELS, create

STATUS = f"{FUNNELS}/buy/status"


def whole(partition: int, **said: Any) -> dict[str, Any]:
    return {"partition": partition, "reached": [0, 0]} | said


async def is_said(query: httpx.AsyncClient, text: str) -> dict[str, Any]:
    """Wait until the status is this for people; all of it."""
    answer = await eventually(lambda: query.get(STATUS), lambda now: now.json()["text"] == text)
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_definition_is_backfilling_until_it_is_live_since_an_offset(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy")
    assert (await is_said(query, "backfilling (0%)"))["state"] == "backfilling"

    worker.publish(*(whole(n, position=40, backfilling_to=100) for n in range(PARTITIONS)))
    assert (await is_said(query, "backfilling (40%)"))["backfilled"] == 0.4

    worker.publish(*(whole(n, position=120, live_since=100 + n) for n in range(PARTITIONS)))
    shown = await is_said(query, "live since offset 100 of 0, 101 of 1")
    assert shown["live_since"] == {"0": 100, "1": 101}
    assert (shown["state"], shown["backfilled"], shown["reason"]) == ("live", 1, None)


async def test_a_definition_is_behind_while_it_lacks_events_that_came_too_late(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy")
    since = 1_777_638_600_000
    worker.publish(
        whole(0, live_since=0, late_dropped=3, behind=2, behind_since=since),
        whole(1, live_since=3, behind=1, behind_since=since + 5_000),
    )
    shown = await is_said(query, "behind: 3 events came too late, and are about to be counted")
    assert (shown["state"], shown["behind"]) == ("behind", 3)
    assert shown["behind_since"] == "2026-05-01T12:30:00Z"
    assert (await query.get(f"{FUNNELS}/buy/results")).json()["state"] == "behind"


async def test_a_definition_that_a_worker_could_not_go_on_with_has_failed(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy")
    worker.publish(whole(0, live_since=0), whole(1, live_since=3, failed="ValueError: of that"))
    shown = await is_said(query, "failed: partition 1: ValueError: of that")
    assert (shown["state"], shown["reason"]) == ("failed", "partition 1: ValueError: of that")
    assert (await query.get(f"{FUNNELS}/buy/results")).json()["state"] == "failed"


async def test_what_is_not_defined_has_no_status(query: httpx.AsyncClient) -> None:
    assert (await query.get(STATUS)).status_code == 404
