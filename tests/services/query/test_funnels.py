import asyncio
from typing import Any

import httpx
import pytest
from confluent_kafka import Message

from schemas.operators.funnel import MAX_FUNNELS_PER_PROJECT, decode
from schemas.settings import Settings
from services.query.http.params import MAX_BODY_BYTES
from tests.kafka import Record, produce, read_all
from tests.services.query.conftest import eventually, ready, serve

BUY: dict[str, Any] = {
    "name": "Buy",
    "window_s": 3600,
    "steps": [
        {"event": "home"},
        {"event": "purchase", "where": [{"property": "amount", "op": "gt", "value": 10}]},
    ],
}
OPTIONS: dict[str, Any] = {
    "order": "strict",
    "exclusions": [{"event": "refund", "before": 2}],
    "once": True,
    "hold_constant": ["cart"],
    "entries": True,
    "breakdown": {"property": "plan", "attribution": 2},
}
FUNNELS = "/api/projects/shop/funnels"


def funnel_records(settings: Settings) -> list[Message]:
    records = read_all(settings.bootstrap, settings.topics.definitions.name)
    return [record for record in records if b"/funnel/" in (record.key() or b"")]


async def create(client: httpx.AsyncClient, name: str, **changes: Any) -> dict[str, Any]:
    answer = await client.post(FUNNELS, json=BUY | {"id": name} | changes)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_a_funnel_is_made_and_can_be_read_at_once(query: httpx.AsyncClient) -> None:
    answer = await query.post(FUNNELS, json=BUY | {"id": "buy"})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{FUNNELS}/buy"
    assert answer.headers["etag"] == '"1"'
    shown = answer.json()
    assert shown | BUY | {"id": "buy", "version": 1} == shown
    assert (await query.get(f"{FUNNELS}/buy")).json() == shown
    assert (await query.get(FUNNELS)).json() == {"funnels": [shown], "next": None}


async def test_an_id_is_minted_if_none_is_given(query: httpx.AsyncClient) -> None:
    answer = await query.post(FUNNELS, json=BUY)
    assert (await query.get(answer.headers["location"])).json() == answer.json()


async def test_an_id_is_given_once_in_a_project(query: httpx.AsyncClient) -> None:
    await create(query, "buy")
    again = await query.post(FUNNELS, json=BUY | {"id": "buy"})
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "conflict"
    elsewhere = await query.post("/api/projects/other/funnels", json=BUY | {"id": "buy"})
    assert elsewhere.status_code == 201
    assert [item["id"] for item in (await query.get(FUNNELS)).json()["funnels"]] == ["buy"]


async def test_pages_follow_each_other_by_id(query: httpx.AsyncClient) -> None:
    for name in ("c", "a", "e", "b", "d"):
        await create(query, name)
    pages: list[list[str]] = []
    after: str | None = ""
    while after is not None:
        page = (await query.get(FUNNELS, params={"limit": 2, "after": after})).json()
        pages.append([item["id"] for item in page["funnels"]])
        after = page["next"]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]


async def test_replacing_raises_the_version_and_keeps_the_day_of_creation(
    query: httpx.AsyncClient,
) -> None:
    created = await create(query, "buy")
    answer = await query.put(f"{FUNNELS}/buy", json=BUY | {"window_s": 60})
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"2"'
    replaced = answer.json()
    assert (replaced["version"], replaced["window_s"]) == (2, 60)
    assert replaced["created_at"] == created["created_at"]
    assert (await query.get(f"{FUNNELS}/buy")).json() == replaced


async def test_what_is_shown_may_be_sent_back(query: httpx.AsyncClient) -> None:
    created = await create(query, "buy")
    answer = await query.put(f"{FUNNELS}/buy", json=created | {"name": "Renamed"})
    assert answer.json()["name"] == "Renamed"
    stale = await query.put(f"{FUNNELS}/buy", json=created | {"name": "Too late"})
    assert stale.status_code == 409


async def test_options_are_shown_as_they_were_given_and_may_be_sent_back(
    query: httpx.AsyncClient,
) -> None:
    created = await create(query, "full", **OPTIONS)
    assert created["order"] == "strict"
    assert created["breakdown"] == OPTIONS["breakdown"]
    again = (await query.put(f"{FUNNELS}/full", json=created)).json()
    assert (again["revision"], again["version"]) == (2, 1)
    plain = await create(query, "plain")
    assert (plain["order"], plain["breakdown"]) == ("ordered", None)
    for refused, field in (
        ({"hold_constant": ["^`a"]}, "hold_constant[0]"),
        ({"breakdown": {"property": "^`a"}}, "breakdown.property"),
        ({"exclusions": [{"event": "x", "after": 2}]}, "exclusions[0].after"),
    ):
        answer = await query.post(FUNNELS, json=BUY | refused)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


async def test_a_change_meant_for_another_revision_is_refused(query: httpx.AsyncClient) -> None:
    await create(query, "buy")
    for headers, status in (
        ({"If-Match": '"2"'}, 409),
        ({"If-Match": "new"}, 400),
        ({"If-Match": '"1"'}, 200),
        ({"If-Match": "*"}, 200),
    ):
        answer = await query.put(f"{FUNNELS}/buy", json=BUY, headers=headers)
        assert answer.status_code == status, headers
    assert (await query.delete(f"{FUNNELS}/buy", headers={"If-Match": '"1"'})).status_code == 409
    assert (await query.delete(f"{FUNNELS}/buy", headers={"If-Match": '"3"'})).status_code == 204


async def test_a_deleted_funnel_is_gone_and_its_versions_are_not_used_again(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    await create(query, "buy")
    await query.put(f"{FUNNELS}/buy", json=BUY | {"window_s": 60})
    assert (await query.delete(f"{FUNNELS}/buy")).status_code == 204
    assert (await query.get(f"{FUNNELS}/buy")).status_code == 404
    assert (await query.get(FUNNELS)).json()["funnels"] == []
    async with serve(settings) as other:
        await ready(other)
        assert (await create(other, "buy"))["version"] == 3


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_funnel_that_is_not_there_is_not_found(
    query: httpx.AsyncClient, method: str
) -> None:
    for name in ("none", "n%20ne"):
        answer = await query.request(method, f"{FUNNELS}/{name}", json=BUY)
        assert answer.status_code == 404, answer.text
        assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"steps": [{"event": "a"}]}, "steps"),
        ({"steps": [{"event": "a"}, {"event": ""}]}, "steps[1].event"),
        (BUY | {"window_s": 0}, "window_s"),
        (BUY | {"id": "not an id"}, "id"),
        (BUY | {"id": 7}, "id"),
        (
            {"steps": [{"event": "a"}, {"event": "b", "where": [{"property": "p", "op": "gt"}]}]},
            "steps[1].where[0].value",
        ),
        (
            {
                "steps": [
                    {"event": "a", "where": [{"property": "^`p`", "value": 1}]},
                    {"event": "b"},
                ]
            },
            "steps[0].where[0].property",
        ),
    ],
)
async def test_a_wrong_funnel_is_refused_with_the_field(
    query: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    answer = await query.post(FUNNELS, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field, answer.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"1"])
async def test_a_body_that_is_no_object_is_refused(query: httpx.AsyncClient, body: bytes) -> None:
    assert (await query.post(FUNNELS, content=body)).status_code == 400


async def test_a_body_that_is_too_large_is_refused(query: httpx.AsyncClient) -> None:
    answer = await query.post(FUNNELS, content=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert str(MAX_BODY_BYTES) in answer.json()["error"]["message"]


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "201"}, {"limit": "x"}])
async def test_a_page_size_out_of_range_is_refused(
    query: httpx.AsyncClient, params: dict[str, str]
) -> None:
    answer = await query.get(FUNNELS, params=params)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "limit")


async def test_a_project_that_cannot_be_one_is_refused(query: httpx.AsyncClient) -> None:
    answer = await query.get("/api/projects/not%20one/funnels")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "project")


async def test_a_project_has_no_more_funnels_than_the_limit(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    model = await create(query, "model")
    (record,) = funnel_records(settings)
    value = record.value()
    assert value is not None
    assert decode(value).id == model["id"]
    produce(
        settings.bootstrap,
        settings.topics.definitions.name,
        [
            Record(value.replace(b'"model"', b'"f%d"' % i), b"shop/funnel/f%d" % i)
            for i in range(MAX_FUNNELS_PER_PROJECT - 1)
        ],
    )
    async with serve(settings) as other:
        await ready(other)
        answer = await other.post(FUNNELS, json=BUY)
        assert answer.status_code == 409
        assert str(MAX_FUNNELS_PER_PROJECT) in answer.json()["error"]["message"]


async def test_of_many_writers_in_two_processes_each_replaces_what_it_has_read(
    settings: Settings,
) -> None:
    async with serve(settings) as one, serve(settings) as two:
        await ready(one)
        await ready(two)
        await create(one, "buy")

        async def raise_once(client: httpx.AsyncClient) -> None:
            while True:
                shown = (await client.get(f"{FUNNELS}/buy")).json()
                if "version" in shown:
                    window = shown["window_s"] + 1
                    changed = shown | {"window_s": window}
                    answer = await client.put(f"{FUNNELS}/buy", json=changed)
                    if answer.status_code == 200:
                        return
                    assert answer.status_code == 409, answer.text
                await asyncio.sleep(0.02)  # until the view has moved, which it does on this loop

        await asyncio.gather(*(raise_once(client) for client in (one, two) for _ in range(2)))
        # What another process has written is seen a moment later.
        answer = await eventually(
            lambda: one.get(f"{FUNNELS}/buy"), lambda answer: answer.json()["version"] == 5
        )
        assert answer.json()["window_s"] == BUY["window_s"] + 4
    versions = [decode(record.value() or b"").version for record in funnel_records(settings)]
    assert versions == [1, 2, 3, 4, 5]


async def test_of_two_who_make_the_same_funnel_at_once_one_is_told_so(settings: Settings) -> None:
    async with serve(settings) as one, serve(settings) as two:
        await ready(one)
        await ready(two)
        answers = await asyncio.gather(
            *(client.post(FUNNELS, json=BUY | {"id": "buy"}) for client in (one, two))
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409]


async def test_a_definition_that_cannot_be_read_is_left_out_and_the_rest_stands(
    settings: Settings,
) -> None:
    produce(
        settings.bootstrap,
        settings.topics.definitions.name,
        [
            Record(b"{", b"shop/funnel/broken"),
            Record(b"{}", b"nonsense"),
            Record(b"{}", b"\xff/a/b"),
        ],
    )
    async with serve(settings) as client:
        await ready(client)
        await create(client, "buy")
        assert [item["id"] for item in (await client.get(FUNNELS)).json()["funnels"]] == ["buy"]
