"""The questions of the benchmark have the figures of the SQL that was written for them by hand."""

import random
from typing import Any, Final

import pytest

from benchmarks.query_cases import AFTER, CASES, FROM, TO, Case
from tests.oracles.events import Event
from tests.services.query.queries.asking import Asker, ms

EVENTS: Final = ("home", "search", "product", "cart", "address", "pay", "purchase", "return")
BEGIN: Final = ms("2026-09-01T00:00:00+00:00")
END: Final = ms("2026-11-05T00:00:00+00:00")
NOW: Final = ms("2026-12-31T00:00:00+00:00")
HALF_HOUR_MS: Final = 1_800_000


@pytest.fixture(scope="module")
def project(asker: Asker) -> str:
    """Visits of 60 persons, each of a few events minutes apart; no two of a person at one time."""
    rng = random.Random(23)
    acts = []
    for number in range(400):
        person, at = f"p{rng.randrange(60)}", rng.randrange(BEGIN, END)
        for _ in range(rng.randrange(1, 8)):
            properties: dict[str, Any] = {
                "plan": rng.choice(["free", "pro", "team"]),
                "price": rng.randrange(100) + 0.5,
            }
            if rng.random() < 0.1:
                properties["$set"] = {"tier": rng.choice("abc")}
            acts.append(Event(person, rng.choice(EVENTS), at + number, properties))
            at += rng.randrange(1, 2 * HALF_HOUR_MS)
    rng.shuffle(acts)  # as late events come
    return asker.write(acts)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_query_has_the_figure_of_sql_written_by_hand(
    asker: Asker, project: str, case: Case
) -> None:
    of = f"project_id = '{project}'"
    within = f"{of} AND timestamp >= '{FROM}' AND timestamp < '{AFTER}'"
    sql = case.sql.format(events="{db}.events", of=of, within=within)
    answer = asker.ask(case.kind, project, {"from": FROM, "to": TO, **case.body}, NOW)
    figure = case.figure(answer)
    assert figure == case.figure_of_sql(asker.sql(sql))
    assert figure
