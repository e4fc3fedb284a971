"""What predictions say of persons over REST: in order of their scores, and one by one."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from schemas.settings import Settings
from tests.services.query.conftest import Place, eventually
from tests.services.query.predictions import (
    BUYS,
    CHAMPION,
    ONE,
    PREDICTIONS,
    Publisher,
    bad,
    create,
    good,
    results,
)
from tests.services.query.test_openapi import check


@pytest.fixture
def publisher(place: Place) -> Publisher:
    return Publisher(place)


async def persons(client: httpx.AsyncClient, count: int, **params: Any) -> dict[str, Any]:
    """A page of persons once it has so many."""
    url = f"{PREDICTIONS}/buys/persons"
    answer = await eventually(
        lambda: client.get(url, params=params),
        lambda answer: len(answer.json()["persons"]) == count,
    )
    check(f"{ONE}/persons", answer)
    shown: dict[str, Any] = answer.json()
    return shown


async def person(client: httpx.AsyncClient, name: str, **params: Any) -> dict[str, Any]:
    answer = await client.get(f"{PREDICTIONS}/buys/persons/{name}", params=params)
    assert answer.status_code == 200, answer.text
    check(f"{ONE}/persons/{{person}}", answer)
    shown: dict[str, Any] = answer.json()
    return shown


def names(page: Mapping[str, Any]) -> list[str]:
    return [one["person"] for one in page["persons"]]


async def test_while_a_change_is_backfilled_the_version_before_is_shown(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(good())
    publisher.live()
    publisher.scores({"ann": 0.5, "ben": 0.25})
    await persons(query, 2)
    url = f"{PREDICTIONS}/buys"
    await eventually(
        lambda: query.get(f"{url}/status"), lambda answer: answer.json()["state"] == "live"
    )
    assert (await query.put(url, json=BUYS | {"within_s": 60})).json()["version"] == 2
    shown = await results(query, learned=0)
    assert shown["previous"]["models"][0]["learned"] == 1_000
    page = await persons(query, 0)
    assert page["withheld"]
    assert names(page["previous"]) == ["ann", "ben"]
    one = await person(query, "ann")
    assert (one["version"], one["score"], one["previous"]["score"]) == (2, None, 0.5)


async def test_persons_come_in_order_of_their_scores_page_by_page(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(good())
    publisher.scores({"ann": 0.5, "ben": 0.25, "cem": 0.5, "dan/1 ü": 0.75, "eve": 0.1})
    page = await persons(query, 5)
    assert names(page) == ["dan/1 ü", "ann", "cem", "ben", "eve"]
    assert (page["next"], page["complete"], page["withheld"]) == (None, True, False)
    assert page["persons"][1] == {
        "person": "ann",
        "score": 0.5,
        "at": "1970-01-01T00:00:01Z",
        "model": CHAMPION.name,
        "model_version": 48,
    }
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await persons(query, 2 if len(seen) < 4 else 1, limit=2, after=after)
        seen += names(page)
        after = page["next"]
    assert seen == ["dan/1 ü", "ann", "cem", "ben", "eve"]
    lowest = await persons(query, 2, order="lowest", limit=2)
    assert names(lowest) == ["eve", "ben"]
    assert names(await persons(query, 3, order="lowest", after=lowest["next"]))[0] == "ann"


async def test_only_persons_with_scores_in_a_range_are_shown(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(good())
    publisher.scores({"ann": 0.5, "ben": 0.25, "cem": 0.5, "dan": 0.75, "eve": 0.1, "fay": 1.0})
    assert names(await persons(query, 4, min_score=0.5)) == ["fay", "dan", "ann", "cem"]
    assert names(await persons(query, 2, max_score=0.5)) == ["ben", "eve"]
    page = await persons(query, 1, min_score=0.25, max_score=0.75, order="lowest", limit=1)
    assert (names(page), page["next"]) == (["ben"], "0.25/ben")
    rest = await persons(
        query, 2, min_score=0.25, max_score=0.75, order="lowest", after=page["next"]
    )
    assert (names(rest), rest["next"]) == (["ann", "cem"], None)
    await persons(query, 0, min_score="1.0000001")


async def test_results_count_persons_in_bands_of_their_scores(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(good())
    publisher.scores({"ann": 0.5, "ben": 0.25, "cem": 0.55, "dan": 1.0, "eve": 0.1})
    publisher.scores({"ann": None, "ben": 0.95})
    url = f"{PREDICTIONS}/buys/results"
    answer = await eventually(
        lambda: query.get(url),
        lambda answer: (answer.json()["bands"] or [{"persons": 0}])[-1]["persons"] == 2,
    )
    check(f"{ONE}/results", answer)
    shown = answer.json()
    assert [band["persons"] for band in shown["bands"]] == [0, 1, 0, 0, 0, 1, 0, 0, 0, 2]
    assert shown["bands"][1] == {"from": 0.1, "to": 0.2, "persons": 1}
    assert shown["complete"] is True


async def test_bands_of_a_model_that_is_not_better_are_shown_only_to_who_asks_for_them(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(bad())
    publisher.scores({"ann": 0.5})
    await persons(query, 1, withheld="show")
    hidden = await results(query)
    assert (hidden["withheld"], hidden["bands"]) == (True, None)
    answer = await query.get(f"{PREDICTIONS}/buys/results", params={"withheld": "show"})
    check(f"{ONE}/results", answer)
    shown = answer.json()
    assert (shown["withheld"], shown["bands"][5]["persons"]) == (False, 1)
    assert shown["withheld_because"] == hidden["withheld_because"]


async def test_a_person_has_the_score_and_what_contributed_to_it(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(good())
    publisher.scores({"bare": 0.25, "dan/1 ü": 0.75})
    await persons(query, 2)
    one = await person(query, "dan%2F1%20%C3%BC")
    assert (one["person"], one["score"], one["model_version"]) == ("dan/1 ü", 0.75, 48)
    assert one["contributions"] == [
        {"feature": "recency", "value": 0.5, "contribution": 0.75},
        {"feature": "trend_1h", "value": 1.5, "contribution": -0.25},
    ]
    assert (await person(query, "bare"))["contributions"] == []
    nobody = await person(query, "zed")
    assert (nobody["score"], nobody["at"], nobody["withheld"]) == (None, None, False)
    publisher.scores({"bare": None, "dan/1 ü": 0.1})
    await persons(query, 1)
    assert (await person(query, "bare"))["score"] is None


async def test_scores_of_a_model_that_is_not_better_are_shown_only_to_who_asks_for_them(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query)
    publisher.model(bad())
    publisher.scores({"ann": 0.5, "ben": 0.25})
    await results(query)
    shown = await persons(query, 2, withheld="show")
    assert shown["withheld"] is False
    assert "is not less than" in shown["withheld_because"]
    hidden = await persons(query, 0)
    assert (hidden["withheld"], hidden["next"]) == (True, None)
    assert hidden["withheld_because"] == shown["withheld_because"]
    one = await person(query, "ann")
    assert (one["withheld"], one["score"], one["contributions"]) == (True, None, [])
    one = await person(query, "ann", withheld="show")
    assert (one["withheld"], one["score"], len(one["contributions"])) == (False, 0.5, 2)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("persons?order=best", "order"),
        ("persons?after=ann", "after"),
        ("persons?after=nan/ann", "after"),
        ("persons?limit=0", "limit"),
        ("persons?withheld=maybe", "withheld"),
        ("persons?min_score=high", "min_score"),
        ("persons?min_score=nan", "min_score"),
        ("persons?max_score=inf", "max_score"),
        ("persons?max_score=", "max_score"),
        ("persons?min_score=0.5&max_score=0.5", "max_score"),
        ("results?withheld=maybe", "withheld"),
        ("results?min_score=0.5", "min_score"),
        ("persons?source=store", "source"),
        ("persons/ann?withheld=maybe", "withheld"),
        ("persons/ann?order=highest", "order"),
        ("persons/", "person"),
    ],
)
async def test_what_is_wrong_with_a_question_is_named(
    query: httpx.AsyncClient, asked: str, field: str
) -> None:
    await create(query)
    answer = await query.get(f"{PREDICTIONS}/buys/{asked}")
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field


async def test_a_new_process_reads_all_of_it(settings: Settings, query: httpx.AsyncClient) -> None:
    publisher = Publisher(Place(settings, "", 0))
    await create(query)
    publisher.model(good())
    publisher.scores({"ann": 0.5})
    assert names(await persons(query, 1)) == ["ann"]
