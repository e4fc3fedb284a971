"""A funnel before and after a moment: equal to a count in plain Python, at equal age."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from schemas.settings import Settings
from services.query.operators.funnel.comparison import choose, p_value
from tests.services.query.conftest import ready, serve
from tests.warehouse import Event, Warehouse

AT: Final = 1_790_000_000_000
SECOND: Final = 1_000
AGE: Final = 100
SPAN: Final = 300
FUNNEL: Final = {"id": "buy", "window_s": 600, "steps": [{"event": "home"}, {"event": "cart"}]}
CHAINED: Final = FUNNEL | {"id": "chained", "exclusions": [{"event": "refund"}]}
NAMES: Final = ("home", "cart", "other")


@pytest.fixture
async def service(settings: Settings, warehouse: Warehouse) -> AsyncIterator[httpx.AsyncClient]:
    with_store = msgspec.structs.replace(
        settings,
        clickhouse_dsn=warehouse.settings.clickhouse_dsn,
        clickhouse_database=warehouse.settings.clickhouse_database,
    )
    async with serve(with_store) as client:
        await ready(client)
        yield client


async def compared(
    client: httpx.AsyncClient, project: str, funnel: str = "buy", **asked: Any
) -> dict[str, Any]:
    path = f"/api/projects/{project}/funnels/{funnel}/compare"
    answer = await client.get(path, params={"at": "2026-09-21T14:13:20Z"} | asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def counted(events: list[tuple[str, str, int]], begin: int, end: int) -> list[int]:
    """The persons who entered in a span (s after `AT`), and who had a cart within `AGE`."""
    entered, reached = set(), set()
    for person, name, at in events:
        if name == "home" and begin <= at < end:
            entered.add(person)
            carts = (t for p, n, t in events if (p, n) == (person, "cart"))
            if any(at <= cart <= at + AGE for cart in carts):
                reached.add(person)
    return [len(entered), len(reached)]


EVENTS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(NAMES), st.integers(-700, 700)),
    max_size=40,
    unique_by=lambda one: (one[0], one[2]),
)


async def test_both_groups_equal_a_count_at_equal_age(
    service: httpx.AsyncClient, warehouse: Warehouse
) -> None:
    asks = asyncio.get_running_loop()

    async def judge(events: list[tuple[str, str, int]]) -> None:
        project = f"p{uuid.uuid4().hex[:8]}"
        warehouse.write(Event(project, p, n, AT + t * SECOND) for p, n, t in events)
        for body in (FUNNEL, CHAINED):
            await service.post(f"/api/projects/{project}/funnels", json=body)
            found = await compared(service, project, str(body["id"]), span_s=SPAN, age_s=AGE)
            assert found["before"]["reached"] == counted(events, -SPAN, 0)
            assert found["after"]["reached"] == counted(events, 0, SPAN)

    @hypothesis.settings(max_examples=15)
    @given(events=EVENTS)
    def law(events: list[tuple[str, str, int]]) -> None:
        asyncio.run_coroutine_threadsafe(judge(events), asks).result()

    await asyncio.to_thread(law)


async def test_it_says_what_was_compared_and_by_how_much_it_changed(
    service: httpx.AsyncClient, warehouse: Warehouse
) -> None:
    events = []
    for number in range(40):
        entered = AT + (number - 20) * SECOND
        events.append(Event("shop", f"p{number}", "home", entered))
        if number < 20 or number % 4 == 0:
            events.append(Event("shop", f"p{number}", "cart", entered + 2 * SECOND))
    warehouse.write(events)
    await service.post("/api/projects/shop/funnels", json=FUNNEL)
    found = await compared(service, "shop", age_s=AGE, span_s=60)
    assert found["before"] == {
        "from": "2026-09-21T14:12:20Z",
        "to": "2026-09-21T14:13:20Z",
        "reached": [20, 20],
        "conversion": [1.0, 1.0],
        "median_ms": found["before"]["median_ms"],
    }
    assert found["before"]["median_ms"] == pytest.approx(2_000, rel=0.01)
    assert (found["after"]["reached"], found["change"]) == ([20, 5], [0.0, -0.75])
    assert found["p_value"] < 0.001
    assert (found["age_s"], found["span_s"], found["steps"]) == (AGE, 60, ["home", "cart"])


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"at": "2090-01-01"}, "at"),
        ({"at": ""}, "at"),
        ({"age_s": "601"}, "age_s"),
        ({"age_s": "0"}, "age_s"),
        ({"span_s": "99999999"}, "span_s"),
        ({"unknown": "1"}, "unknown"),
    ],
)
async def test_what_cannot_be_compared_is_refused_by_name(
    service: httpx.AsyncClient, asked: dict[str, str], field: str
) -> None:
    await service.post("/api/projects/shop/funnels", json=FUNNEL)
    path = "/api/projects/shop/funnels/buy/compare"
    answer = await service.get(path, params={"at": "2026-09-21"} | asked)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


@given(
    window_s=st.integers(1, 10_000),
    elapsed_s=st.integers(2, 10_000),
    span_s=st.none() | st.integers(1, 10_000),
    age_s=st.none() | st.integers(1, 10_000),
)
def test_everybody_who_is_compared_has_reached_the_age(
    window_s: int, elapsed_s: int, span_s: int | None, age_s: int | None
) -> None:
    now = AT + elapsed_s * SECOND
    try:
        chosen = choose(window_s, AT, now, span_s, age_s)
    except InvalidRequest:
        assert span_s is not None or age_s is not None
        return
    assert chosen.ends_ms <= now
    assert 1 <= chosen.age_s <= window_s
    assert chosen.span_s >= 1
    assert span_s in {None, chosen.span_s}
    assert age_s in {None, chosen.age_s}


def test_equal_shares_are_likely_and_different_ones_are_not() -> None:
    assert p_value([100, 50], [100, 50]) == 1.0
    assert p_value([1_000, 500], [1_000, 400]) == pytest.approx(7.2e-6, rel=0.05)
    assert p_value([0, 0], [10, 5]) is None
    assert p_value([10, 0], [10, 0]) is None
