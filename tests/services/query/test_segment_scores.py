"""Segments that ask for scores, over REST: what is refused, and since when scores count."""

from typing import Any

import httpx
import pytest

from tests.services.query.conftest import Place, eventually
from tests.services.query.predictions import PREDICTIONS
from tests.services.query.predictions import create as create_prediction
from tests.services.query.test_openapi import check
from tests.services.query.test_segments import SEGMENTS, Publisher, create, error_of

LIKELY: dict[str, Any] = {
    "rule": {
        "and": [
            {"performed": {"event": "view"}},
            {"not": {"predicted": {"prediction": "buys", "below": 0.7}}},
        ]
    }
}
FIELD = "rule.and[1].not.predicted.prediction"


async def test_a_segment_asks_for_scores_of_a_prediction_that_is_there(
    query: httpx.AsyncClient,
) -> None:
    answer = await query.post(SEGMENTS, json=LIKELY | {"id": "buyers"})
    check("/api/projects/{project}/segments", answer)
    assert (answer.status_code, error_of(answer)["field"]) == (400, FIELD)
    assert "there is no prediction buys" in error_of(answer)["message"]
    await create_prediction(query)
    shown = await create(query, "buyers", LIKELY)
    assert shown["rule"] == LIKELY["rule"]
    changed = {"rule": {"predicted": {"prediction": "stays", "at_least": 0.5}}}
    answer = await query.put(f"{SEGMENTS}/buyers", json=changed)
    assert (answer.status_code, error_of(answer)["field"]) == (400, "rule.predicted.prediction")


async def test_a_prediction_is_not_deleted_while_a_segment_asks_for_it(
    query: httpx.AsyncClient,
) -> None:
    await create_prediction(query)
    await create(query, "buyers", LIKELY)
    answer = await query.delete(f"{PREDICTIONS}/buys")
    assert answer.status_code == 409
    assert "segments ask for scores of buys: buyers" in error_of(answer)["message"]
    assert (await query.delete(f"{SEGMENTS}/buyers")).status_code == 204
    assert (await query.delete(f"{PREDICTIONS}/buys")).status_code == 204


async def test_a_segment_that_refers_to_such_a_segment_asks_too(query: httpx.AsyncClient) -> None:
    await create_prediction(query)
    await create(query, "buyers", LIKELY)
    await create(query, "others", {"rule": {"not": {"segment": "buyers"}}})
    answer = await query.get(f"{SEGMENTS}/others/results", params={"source": "store"})
    assert (answer.status_code, error_of(answer)["field"]) == (400, "source")
    assert (await query.delete(f"{PREDICTIONS}/buys")).status_code == 409


async def test_what_clickhouse_cannot_count_is_not_verified(query: httpx.AsyncClient) -> None:
    await create_prediction(query)
    await create(query, "buyers", LIKELY)
    answer = await query.get(f"{SEGMENTS}/buyers/verify")
    assert answer.status_code == 400
    assert "asks for scores, which count on the stream only" in error_of(answer)["message"]


@pytest.mark.parametrize("asked", ["results", "members", "overlap?with=viewers"])
async def test_clickhouse_is_refused_with_the_reason(query: httpx.AsyncClient, asked: str) -> None:
    await create_prediction(query)
    await create(query, "buyers", LIKELY)
    await create(query, "viewers", {"rule": {"performed": {"event": "view"}}})
    answer = await query.get(f"{SEGMENTS}/buyers/{asked}{'&' if '?' in asked else '?'}source=store")
    assert (answer.status_code, error_of(answer)["field"]) == (400, "source")
    assert "asks for scores, which count on the stream only" in error_of(answer)["message"]


async def test_results_say_since_when_scores_count(query: httpx.AsyncClient, place: Place) -> None:
    await create_prediction(query)
    await create(query, "buyers", LIKELY)
    url = f"{SEGMENTS}/buyers/results"
    answer = await query.get(url)
    assert answer.json()["scores_since"] is None
    publisher = Publisher(place)
    common: dict[str, Any] = {"day": None, "entered": 1, "left": 0}
    publisher.sizes(
        {**common, "scores_since": 1_764_000_000_000},
        {**common, "partition": 1, "scores_since": 1_764_000_001_000},
    )
    answer = await eventually(lambda: query.get(url), lambda answer: answer.json()["persons"] == 2)
    check("/api/projects/{project}/segments/{id}/results", answer)
    assert answer.json()["scores_since"] == "2025-11-24T16:00:01Z"


@pytest.mark.parametrize(
    ("predicted", "field"),
    [
        ({"prediction": "buys"}, "rule.predicted"),
        ({"prediction": "buys", "at_least": 0.7, "below": 0.7}, "rule.predicted.below"),
        ({"prediction": "buys", "at_least": "high"}, "rule.predicted.at_least"),
        ({"at_least": 0.7}, "rule.predicted"),
        ({"prediction": "buys", "above": 0.7}, "rule.predicted"),
    ],
)
async def test_what_is_wrong_with_such_a_rule_is_named(
    query: httpx.AsyncClient, predicted: dict[str, Any], field: str
) -> None:
    await create_prediction(query)
    answer = await query.post(SEGMENTS, json={"rule": {"predicted": predicted}})
    assert answer.status_code == 400
    assert error_of(answer)["field"] == field
