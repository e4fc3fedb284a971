"""Queries of public datasets have the figures that were published of them, or plain Python's.

- The customers of CDNOW, a record shop. Fader and Hardie, Interfaces 31 (2001): 23,570 customers
  with 69,659 purchases. Fader, Hardie and Lee, Marketing Science 24 (2005): how many of a tenth of
  them (2,357) bought again how often, in the first 39 weeks; purchases of one day are one there.
- The clickstream of a web shop, as the package `retentioneering` ships it. No figures of it are
  published beside its number of events, so they are worked out here.
"""

import datetime
from collections import Counter
from itertools import pairwise
from typing import Any, Final

import pytest

from benchmarks.real_predictions import shop
from tests.oracles import journeys
from tests.oracles.events import Event
from tests.oracles.funnel_options import figures
from tests.services.query.queries.asking import Asker, ms
from tests.test_cdnow import MORE_OFTEN, REPEATED, UNTIL, Purchase, read

NOW: Final = ms("2026-12-31T00:00:00+00:00")
QUARTER: Final = {"from": "2025-01-01", "to": "2025-03-31"}
DAY_MS: Final = 86_400_000


def bought(purchases: list[Purchase]) -> list[Event]:
    return [
        Event(
            f"c{one.customer}",
            "buy",
            ms(f"{one.day}T12:00:00+00:00"),
            {"records": one.records, "dollars": one.dollars},
        )
        for one in purchases
    ]


@pytest.fixture(scope="module")
def everybody() -> list[Purchase]:
    return read("CDNOW_master.txt")


def test_all_customers_and_purchases_of_cdnow_are_counted_as_published(
    asker: Asker, everybody: list[Purchase]
) -> None:
    project = asker.write(bought(everybody))
    series = [{}, {"measure": "persons"}, {"measure": "sum", "property": "records"}]
    body = {"series": series, "interval": "month", "from": "2025-01-01", "to": "2026-06-30"}
    trends = asker.ask("trends", project, body, NOW)["trends"]
    records = sum(one.records for one in everybody)
    assert [one["total"] for one in trends] == [69_659, 23_570, records]
    months = Counter(one.day.replace(day=1) for one in everybody)
    assert trends[0]["values"] == [months[month] for month in sorted(months)]

    lifecycle = {"interval": "month", "from": "2025-01-01", "to": "2026-06-30"}
    new = asker.ask("lifecycle", project, lifecycle, NOW)["new"]
    assert (sum(new), sum(new[3:])) == (23_570, 0)

    active: dict[str, set[datetime.date]] = {}
    for one in everybody:
        active.setdefault(one.customer, set()).add(one.day.replace(day=1))
    cohort = {"start": {}, "period": "month", "periods": 15}
    grid = asker.ask("cohort", project, {"cohort": cohort, **QUARTER}, NOW)
    assert sum(row["persons"] for row in grid["rows"]) == 23_570
    for row in grid["rows"]:
        began = datetime.date.fromisoformat(row["begin"])
        own = [months for months in active.values() if min(months) == began]
        assert [cell["returned"] for cell in row["cells"]] == [
            sum(_later(began, column) in months for months in own) for column in range(15)
        ]
    recurring = {"cohort": cohort, "entry": "recurring", **QUARTER}
    rows = asker.ask("cohort", project, recurring, NOW)["rows"]
    wanted = Counter(month for months in active.values() for month in months)
    assert [row["persons"] for row in rows] == [
        wanted[datetime.date(2025, month, 1)] for month in (1, 2, 3)
    ]


def test_a_tenth_of_cdnow_bought_again_as_often_as_published(asker: Asker) -> None:
    purchases = [one for one in read("CDNOW_sample.txt") if one.day <= UNTIL]
    project = asker.write(bought(purchases))
    days = {"from": "2025-01-01", "to": UNTIL.isoformat()}
    sticky = asker.ask("stickiness", project, days, NOW)
    assert sticky["exactly"][: len(REPEATED)] == REPEATED
    assert sticky["at_least"][len(REPEATED)] == MORE_OFTEN

    # Whoever bought on two days, however far apart: the published 946 of 2,357.
    again = {"steps": [{"event": "buy"}, {"event": "buy"}], "window_s": 366 * 86_400}
    once = [
        Event(one.person, one.event, one.at)
        for one in {of[:3]: of for of in bought(purchases)}.values()
    ]
    funnel = {"funnel": again | {"once": True}, **days}
    answer = asker.ask("funnel", asker.write(once), funnel, NOW)
    assert answer["reached"] == [sum(REPEATED) + MORE_OFTEN, sum(REPEATED[1:]) + MORE_OFTEN]
    assert answer["conversion"][1] == pytest.approx(946 / 2_357)


def test_the_clickstream_of_a_shop_has_the_figures_of_plain_python(asker: Asker) -> None:
    acts = [Event(one.person, one.name, one.at) for one in shop()]
    assert len(acts) == 31_106
    begin, end = (
        datetime.datetime.fromtimestamp(at / 1_000, datetime.UTC).date()
        for at in (min(one.at for one in acts), max(one.at for one in acts))
    )
    days: dict[str, Any] = {"from": begin.isoformat(), "to": end.isoformat()}
    project = asker.write(acts)

    whole = {"series": [{}, {"measure": "persons"}], "interval": "month", **days}
    totals = [one["total"] for one in asker.ask("trends", project, whole, NOW)["trends"]]
    assert totals == [31_106, len({one.person for one in acts})]

    names = ("home", "product_view", "add_to_cart", "purchase")
    funnel: dict[str, Any] = {"steps": [{"event": name} for name in names], "window_s": 7 * 86_400}
    answer = asker.ask("funnel", project, {"funnel": funnel, **days}, NOW)
    reached: Counter[int] = Counter()
    for its in journeys.by_person(acts).values():
        found = figures(funnel, its)
        reached.update(step for step, persons in enumerate(found.reached) if persons)
    assert answer["reached"] == [reached[step] for step in range(len(names))]
    assert answer["open"] == [0, 0, 0, 0]
    assert answer["dropped"][1:] == [a - b for a, b in pairwise(answer["reached"])]

    sessions = asker.ask("sessions", project, {"interval": "month", **days}, NOW)["total"]
    first = ms(f"{begin}T00:00:00+00:00")
    split = journeys.sessions(acts, 1_800_000, first, ms(f"{end}T00:00:00+00:00") + DAY_MS)
    assert (sessions["sessions"], sessions["events"]) == (len(split), 31_106)
    assert sessions["bounces"] == sum(len(one.acts) == 1 for one in split)

    body: dict[str, Any] = {"start": "home", "steps": 3, "gap_s": 1_800, **days}
    paths = asker.ask("paths", project, body, NOW)
    last = ms(f"{end}T00:00:00+00:00") + DAY_MS
    steps = Counter((one.step, one.event) for one in journeys.paths(body, acts, first, last, NOW))
    assert {(one["step"], one["event"]): one["persons"] for one in paths["events"]} == steps


def _later(month: datetime.date, count: int) -> datetime.date:
    number = month.year * 12 + month.month - 1 + count
    return datetime.date(number // 12, number % 12 + 1, 1)
