"""Query parameters: every endpoint accepts those that it describes, and says which they are."""

import httpx
import pytest

from services.query.api import ROUTES
from services.query.http.describe import query_parameters
from services.query.http.params import one_of
from services.query.openapi import PUBLIC
from tests.services.query.test_funnels import FUNNELS, create

PLACES = [
    *((route.method, route.full_path, query_parameters(route.operation)) for route in ROUTES),
    *(("GET", path, ()) for path in PUBLIC),
]


async def test_every_endpoint_refuses_an_unknown_parameter_and_lists_its_own(
    query: httpx.AsyncClient,
) -> None:
    for method, path, accepted in PLACES:
        address = path.format(project="shop", id="buy", person="ann")
        answer = await query.request(method, address, params={"unknown": "1"})
        assert answer.status_code == 400, (method, path, answer.text)
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == ("invalid", "unknown")
        for name in accepted:
            assert name in error["message"]


async def test_a_parameter_is_given_once(query: httpx.AsyncClient) -> None:
    answer = await query.get(f"{FUNNELS}?limit=1&limit=2")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "limit")


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        ("results", "source"),
        ("results", "period"),
        ("times", "source"),
        ("persons", "outcome"),
    ],
)
async def test_a_word_that_is_not_accepted_is_answered_with_those_that_are(
    query: httpx.AsyncClient, endpoint: str, name: str
) -> None:
    await create(query, "buy")
    path = f"/api/projects/{{project}}/funnels/{{id}}/{endpoint}"
    (operation,) = (route.operation for route in ROUTES if route.full_path == path)
    (described,) = (one for one in operation["parameters"] if one["name"] == name)
    answer = await query.get(f"{FUNNELS}/buy/{endpoint}", params={name: "other"})
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (400, name)
    for choice in described["schema"]["enum"]:
        assert f"`{choice}`" in error["message"]


def test_choices_are_listed_as_a_sentence_has_them() -> None:
    assert one_of(["a"]) == "`a`"
    assert one_of(["a", "b"]) == "`a` and `b`"
    assert one_of(["a", "b", "c"]) == "`a`, `b` and `c`"
