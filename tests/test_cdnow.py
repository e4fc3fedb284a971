"""A public dataset with published figures: what the customers of CDNOW, a record shop, bought.

All 23,570 persons who first bought there in the first quarter of 1997, with their 69,659 purchases
until June 1998, and a tenth of them by itself. Both ship in the `lifetimes` package (MIT), from
https://www.brucehardie.com/datasets/. The figures are those of

- P. Fader, B. Hardie: Forecasting Repeat Sales at CDNOW: A Case Study. Interfaces 31 (2001): the
  numbers of customers and of purchases;
- P. Fader, B. Hardie, K. L. Lee: "Counting Your Customers" the Easy Way: An Alternative to the
  Pareto/NBD Model. Marketing Science 24 (2005): how many of the tenth bought again how often until
  the end of September 1997. Purchases of one day are one there.

Here all of it happens 28 years later, when the days of the week are the same: events from before
2000 are taken to come from clocks that were never set.
"""

import csv
import datetime
from collections.abc import Iterable, Iterator
from importlib.metadata import files
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from services.broker import Broker
from services.imports import Columns, Reading, import_events
from tests.conftest import HELD_PARTITIONS, deployment
from tests.events import (
    Results,
    await_equal,
    define_cohort,
    define_metric,
    define_segment,
    measured,
    retention,
    segmented,
)
from tests.workers import WorkerProcess

REPEATED = [1_411, 439, 214, 100, 62, 38, 29]  # not at all, once, …
MORE_OFTEN = 64
LATER_YEARS = 28
UNTIL = datetime.date(1997 + LATER_YEARS, 9, 30)
READING = Reading(Columns(), {"records": "number", "dollars": "number"})
MONTHS = 18


class Purchase(NamedTuple):
    """One purchase, as both files have it."""

    customer: str
    day: datetime.date
    records: int
    dollars: float


def read(name: str) -> list[Purchase]:
    """Read a dataset; that of the tenth has two numbers of a customer, of which the second is."""
    (path,) = (path for path in files("lifetimes") or () if path.name == name)
    lines = [line.split()[-4:] for line in Path(str(path.locate())).read_text().splitlines()]
    return [
        Purchase(customer, _later(day), int(n), float(dollars))
        for customer, day, n, dollars in lines
        if day.isdigit()
    ]


def _later(day: str) -> datetime.date:
    found = datetime.date.fromisoformat(day)
    return found.replace(year=found.year + LATER_YEARS)


def write(file: Path, purchases: Iterable[Purchase]) -> Path:
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["event", "distinct_id", "timestamp", "records", "dollars"])
        for one in purchases:
            rows.writerow(["buy", f"c{one.customer}", f"{one.day}T12:00:00Z", *one[2:]])
    return file


@pytest.fixture(scope="module")
def worker(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A worker to whom nothing is late, and who has all definitions from the beginning."""
    directory = tmp_path_factory.mktemp("cdnow")
    with deployment(broker, directory) as own:
        settings = replace(own, allowed_lateness_s=0)
        cohort = {"start": {"event": "buy"}, "return": {"event": "buy"}, "period": "month"}
        define_cohort(settings, "retention", cohort | {"periods": MONTHS}, "cdnow")
        year = {"measure": "sum", "property": "records", "bucket_s": 86_400}
        define_metric(settings, "records", year, "cdnow")
        for times in range(len(REPEATED)):
            rule = {"performed": {"event": "buy", "exactly": times + 1}}
            define_segment(settings, f"again-{times}", rule, "tenth")
        more = {"performed": {"event": "buy", "at_least": len(REPEATED) + 1}}
        define_segment(settings, "more", more, "tenth")
        with WorkerProcess(settings) as running:
            running.await_partitions(HELD_PARTITIONS)
            yield running


@pytest.fixture(scope="module")
def results(worker: WorkerProcess) -> Iterator[Results]:
    results = Results(worker.settings)
    yield results
    results.close()


def test_all_customers_are_in_the_cohorts_they_began_in(
    worker: WorkerProcess, results: Results, tmp_path: Path
) -> None:
    purchases = read("CDNOW_master.txt")
    assert len(purchases) == 69_659
    file = write(tmp_path / "all.csv", purchases)
    import_events(worker.settings, file, "cdnow", READING, quiet=True, ask_store=False)
    months: dict[str, set[datetime.date]] = {}
    for one in purchases:
        months.setdefault(one.customer, set()).add(one.day.replace(day=1))
    began = dict.fromkeys((datetime.date(1997 + LATER_YEARS, n, 1) for n in (1, 2, 3)), 0)
    second = dict(began)
    for bought in months.values():
        began[min(bought)] += 1
        second[min(bought)] += min(bought).replace(month=min(bought).month + 1) in bought
    assert sum(began.values()) == 23_570
    await_equal(
        (began, second),
        lambda: (
            (grid := retention(results, "retention", "cdnow")).persons,
            {month: returned[1] for month, returned in grid.returned.items()},
        ),
    )
    last_day = max(one.day for one in purchases)
    of_day = sum(one.records for one in purchases if one.day == last_day)

    def of_newest() -> float:
        found = measured(results, "records", "cdnow")
        return float(sum(part["sum"] for part in found[max(found)]))

    await_equal(of_day, of_newest)  # the last day changes no cohort, and may still be on its way


def test_a_tenth_of_them_bought_again_as_often_as_was_published(
    worker: WorkerProcess, results: Results, tmp_path: Path
) -> None:
    days = {(one.customer, one.day): one for one in read("CDNOW_sample.txt") if one.day <= UNTIL}
    file = write(tmp_path / "tenth.csv", days.values())
    import_events(worker.settings, file, "tenth", READING, quiet=True, ask_store=False)
    names = [*(f"again-{times}" for times in range(len(REPEATED))), "more"]
    await_equal(
        [(count, count) for count in [*REPEATED, MORE_OFTEN]],
        lambda: [
            (len(found.members), found.size)
            for found in (segmented(results, name, "tenth") for name in names)
        ],
    )
