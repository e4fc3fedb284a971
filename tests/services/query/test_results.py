import httpx
import numpy as np
import pytest

from schemas.settings import Settings
from schemas.sketches.durations import sketch_of
from tests.conftest import PARTITIONS
from tests.kafka import Record
from tests.services.query.conftest import NOTHING, Worker, eventually, ready, serve
from tests.services.query.test_funnels import BUY, FUNNELS, create

RESULTS = f"{FUNNELS}/buy/results"
DAY = 20_779  # 2026-11-22


def sketch(*ms: int) -> dict[str, object]:
    made = sketch_of(np.array(ms, np.int64))
    return {
        "buckets": made.buckets.tolist(),
        "counts": made.counts.tolist(),
        "sum_ms": made.sum_ms,
    }


async def reaches(query: httpx.AsyncClient, reached: list[int]) -> dict[str, object]:
    """Wait until the totals are these; the newest answer."""
    answer = await eventually(
        lambda: query.get(RESULTS),
        lambda answer: [s["reached"] for s in answer.json()["totals"]["steps"]] == reached,
    )
    shown: dict[str, object] = answer.json()
    return shown


async def test_a_funnel_that_nobody_entered_has_figures_of_nought(
    query: httpx.AsyncClient,
) -> None:
    created = await create(query, "buy")
    shown = (await query.get(RESULTS)).json()
    nothing = {"reached": 0, "conversion": 0.0, "conversion_from_previous": 0.0, "entries": None}
    assert shown == {
        "funnel": created,
        "source": "stream",
        "state": "backfilling",
        "backfilled": 0,
        "totals": {
            "steps": [
                {"step": 1, "event": "home"} | nothing,
                {"step": 2, "event": "purchase"} | nothing,
            ],
            "breakdown": [],
        },
        "days": [],
        "late_dropped": 0,
        "updated_at": None,
        "positions": {},
        "complete_until": None,
        "previous": None,
    }


async def test_figures_of_partitions_add_up(query: httpx.AsyncClient, worker: Worker) -> None:
    await create(query, "buy")
    worker.publish(
        {"reached": [5, 2], "late_dropped": 1, "position": 40, "updated_at": 5_000},
        {"reached": [3, 2], "late_dropped": 2, "position": 70, "updated_at": 4_000, "partition": 1},
        {"day": DAY, "reached": [4, 2], "times": [sketch(0, 0, 0, 0), sketch(1_000, 3_000)]},
        {"day": DAY, "reached": [3, 1], "times": [sketch(0, 0, 0), sketch(2_000)], "partition": 1},
        {"day": DAY + 1, "reached": [1, 0], "times": [sketch(0), NOTHING]},
    )
    shown = await reaches(query, [8, 4])
    assert shown["totals"] == {
        "steps": [
            _step(1, "home", 8, 1.0, 1.0),
            _step(2, "purchase", 4, 0.5, 0.5),
        ],
        "breakdown": [],
    }
    at_once = {"mean_ms": 0, "median_ms": 0, "p90_ms": 0}
    never = {"mean_ms": None, "median_ms": None, "p90_ms": None}
    assert isinstance(shown["days"], list)
    times = shown["days"][0]["steps"][1]
    assert times["mean_ms"] == 2_000
    assert times["median_ms"] == pytest.approx(2_000, rel=0.01)
    assert times["p90_ms"] == pytest.approx(3_000, rel=0.01)
    timed = {name: times[name] for name in at_once}
    assert shown["days"] == [
        {
            "day": "2026-11-22",
            "steps": [
                _step(1, "home", 7, 1.0, 1.0) | at_once,
                _step(2, "purchase", 3, 3 / 7, 3 / 7) | timed,
            ],
            "breakdown": [],
        },
        {
            "day": "2026-11-23",
            "steps": [
                _step(1, "home", 1, 1.0, 1.0) | at_once,
                _step(2, "purchase", 0, 0.0, 0.0) | never,
            ],
            "breakdown": [],
        },
    ]
    assert shown["late_dropped"] == 3
    assert shown["updated_at"] == "1970-01-01T00:00:05Z"
    assert shown["positions"] == {"0": 40, "1": 70}


async def test_a_funnel_is_live_when_it_is_in_all_partitions(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy")
    worker.publish(
        *({"partition": n, "reached": [1, 0]} for n in range(PARTITIONS - 1)),
        {"partition": PARTITIONS - 1, "reached": [1, 0], "position": 50, "backfilling_to": 100},
    )
    shown = await reaches(query, [PARTITIONS, 0])
    share = (PARTITIONS - 0.5) / PARTITIONS
    assert (shown["state"], shown["backfilled"]) == ("backfilling", pytest.approx(share, rel=0.01))
    worker.publish({"partition": PARTITIONS - 1, "reached": [2, 0], "position": 100})
    shown = await reaches(query, [PARTITIONS + 1, 0])
    assert (shown["state"], shown["backfilled"]) == ("live", 1)


async def test_the_newest_record_counts_and_a_tombstone_removes(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy")
    worker.publish({"reached": [1, 0]}, {"day": DAY, "reached": [1, 0], "times": [NOTHING] * 2})
    worker.publish({"reached": [2, 1]})
    assert len((await reaches(query, [2, 1]))["days"]) == 1  # type: ignore[arg-type]
    worker.remove({"day": DAY}, {})
    assert (await reaches(query, [0, 0]))["days"] == []


async def test_only_the_current_version_counts(query: httpx.AsyncClient, worker: Worker) -> None:
    await create(query, "buy")
    worker.publish({"reached": [9, 9]}, {"reached": [2, 1], "version": 2})
    await reaches(query, [9, 9])
    await query.put(f"{FUNNELS}/buy", json=BUY | {"window_s": 60})
    await reaches(query, [2, 1])


async def test_days_are_shown_from_the_first_to_the_last_asked_for(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy")
    worker.publish(
        *({"day": DAY + i, "reached": [1, 0], "times": [NOTHING] * 2} for i in range(4)),
        {"reached": [4, 0]},
    )
    await reaches(query, [4, 0])
    answer = await query.get(RESULTS, params={"from": "2026-11-23", "to": "2026-11-24"})
    shown = answer.json()
    assert [day["day"] for day in shown["days"]] == ["2026-11-23", "2026-11-24"]
    assert shown["totals"]["steps"][0]["reached"] == 4


@pytest.mark.parametrize(
    ("params", "field"),
    [({"from": "x"}, "from"), ({"to": "2026-02-30"}, "to"), ({"source": "x"}, "source")],
)
async def test_a_wrong_parameter_is_refused_by_name(
    query: httpx.AsyncClient, params: dict[str, str], field: str
) -> None:
    await create(query, "buy")
    answer = await query.get(RESULTS, params=params)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


async def test_results_that_cannot_be_read_are_left_out(settings: Settings, worker: Worker) -> None:
    worker.write([Record(b"garbage", b"shop/buy/1/total/0", 0), Record(b"\0\0\0\0\x63", b"x", 0)])
    worker.publish({"reached": [3, 1]})
    async with serve(settings) as query:
        await ready(query)
        await create(query, "buy")
        await reaches(query, [3, 1])


async def test_a_restarted_service_shows_the_same(
    query: httpx.AsyncClient, settings: Settings, worker: Worker
) -> None:
    await create(query, "buy")
    worker.publish({"reached": [3, 1]}, {"day": DAY, "reached": [3, 1], "times": [NOTHING] * 2})
    shown = await reaches(query, [3, 1])
    async with serve(settings) as again:
        await ready(again)
        assert (await again.get(RESULTS)).json() == shown


async def test_a_store_that_is_away_is_named_and_the_stream_is_still_shown(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy")
    worker.publish({"reached": [3, 1]})
    answer = await query.get(RESULTS, params={"source": "store"})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "unavailable"
    assert "ClickHouse" in answer.json()["error"]["message"]
    await reaches(query, [3, 1])


def _step(number: int, event: str, reached: int, share: float, step: float) -> dict[str, object]:
    return {
        "step": number,
        "event": event,
        "reached": reached,
        "conversion": share,
        "conversion_from_previous": step,
        "entries": None,
    }


async def test_values_of_partitions_add_up_and_times_are_told_as_a_histogram(
    query: httpx.AsyncClient, worker: Worker
) -> None:
    await create(query, "buy", breakdown={"property": "plan"}, entries=True)

    def value(text: str | None, *reached: int) -> dict[str, object]:
        return {"value": text, "reached": list(reached), "entries": [2 * n for n in reached]}

    worker.publish(
        {
            "reached": [3, 2],
            "entries": [6, 4],
            "breakdown": [value('"pro"', 2, 1), value("null", 1, 1)],
        },
        {
            "reached": [2, 0],
            "entries": [2, 0],
            "breakdown": [value('"pro"', 1, 0), value(None, 1, 0)],
            "partition": 1,
        },
        {"day": DAY, "reached": [3, 2], "times": [NOTHING, sketch(1_000, 3_000)]},
        {"day": DAY + 1, "reached": [1, 1], "times": [NOTHING, sketch(2_000)]},
    )
    shown = await reaches(query, [5, 2])
    assert isinstance(shown["totals"], dict)
    assert [step["entries"] for step in shown["totals"]["steps"]] == [8, 4]
    assert [
        (one["value"], one["other"], [step["reached"] for step in one["steps"]])
        for one in shown["totals"]["breakdown"]
    ] == [("pro", False, [3, 1]), (None, False, [1, 1]), (None, True, [1, 0])]
    week = (await query.get(RESULTS, params={"period": "month"})).json()["days"]
    assert [(one["day"], one["steps"][1]["reached"]) for one in week] == [("2026-11-01", 3)]
    times = (await query.get(RESULTS.replace("results", "times"), params={"bins": 4})).json()
    assert (times["persons"], times["mean_ms"], times["step"]) == (3, 2_000, 2)
    assert sum(one["persons"] for one in times["bins"]) == 3
    for wrong in ({"bins": "0"}, {"step": "1"}, {"step": "3"}, {"source": "elsewhere"}):
        answer = await query.get(RESULTS.replace("results", "times"), params=wrong)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, next(iter(wrong)))
    for wrong in ({"outcome": "lost"}, {"outcome": "dropped", "step": "1"}, {"limit": "0"}):
        answer = await query.get(RESULTS.replace("results", "persons"), params=wrong)
        assert answer.status_code == 400
