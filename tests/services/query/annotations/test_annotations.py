"""Annotations over REST, gRPC and from the command line, on the real topic."""

import asyncio
import datetime

import httpx
import pytest
from click.testing import CliRunner

from schemas import avila_pb2 as pb
from services.cli.main import avila
from services.query.annotations import resource
from services.query.http.grpc import bindings
from tests.credentials import TOKEN
from tests.services.query.conftest import Place

ANNOTATIONS = "/api/projects/shop/annotations"
NOON = "2026-11-22T12:00:00Z"


async def test_an_annotation_is_made_read_changed_and_deleted(query: httpx.AsyncClient) -> None:
    made = await query.post(ANNOTATIONS, json={"id": "v2", "at": NOON, "text": "checkout 2"})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert made.headers["location"] == f"{ANNOTATIONS}/v2"
    shown = made.json()
    assert (shown["at"], shown["text"], shown["url"]) == (NOON, "checkout 2", "")
    assert (await query.get(f"{ANNOTATIONS}/v2")).json() == shown

    changed = await query.put(f"{ANNOTATIONS}/v2", json=shown | {"text": "checkout 2.1"})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    stale = await query.put(
        f"{ANNOTATIONS}/v2", json={"at": NOON, "text": "x"}, headers={"If-Match": '"1"'}
    )
    assert stale.status_code == 409
    assert (await query.delete(f"{ANNOTATIONS}/v2")).status_code == 204
    assert (await query.get(f"{ANNOTATIONS}/v2")).status_code == 404
    again = await query.post(ANNOTATIONS, json={"id": "v2", "text": "again"})
    assert again.headers["etag"] == '"3"'


async def test_an_annotation_without_a_time_is_of_now(query: httpx.AsyncClient) -> None:
    before = datetime.datetime.now(datetime.UTC)
    made = (await query.post(ANNOTATIONS, json={"text": "deployed"})).json()
    at = datetime.datetime.fromisoformat(made["at"])
    assert before - datetime.timedelta(seconds=1) < at <= datetime.datetime.now(datetime.UTC)


async def test_annotations_of_a_span_of_time_come_in_pages(query: httpx.AsyncClient) -> None:
    for day in range(1, 6):
        body = {"id": f"d{day}", "at": f"2026-11-0{day}T00:00:00+01:00", "text": f"day {day}"}
        assert (await query.post(ANNOTATIONS, json=body)).status_code == 201
    span = {"from": "2026-11-01T23:00:00Z", "to": "2026-11-04T23:00:00Z"}
    page = (await query.get(ANNOTATIONS, params=span | {"limit": 2})).json()
    assert ([one["id"] for one in page["annotations"]], page["next"]) == (["d2", "d3"], "d3")
    page = (await query.get(ANNOTATIONS, params=span | {"after": page["next"]})).json()
    assert ([one["id"] for one in page["annotations"]], page["next"]) == (["d4"], None)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": "x" * 1_001}, "text"),
        ({"text": 1}, "text"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-11-22T12:00:00"}, "at"),
        ({"at": "1969-12-31T00:00:00Z"}, "at"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"url": "https://a b"}, "url"),
        ({"id": "a/b"}, "id"),
        ({"colour": "red"}, ""),
    ],
)
async def test_what_is_refused_is_named(
    query: httpx.AsyncClient, wrong: dict[str, object], field: str
) -> None:
    answer = await query.post(ANNOTATIONS, json={"text": "x"} | wrong)
    assert answer.status_code == 400
    assert answer.json()["error"].get("field", "") == field


async def test_a_project_has_a_bounded_number_of_annotations(
    query: httpx.AsyncClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.port  # the service runs in this process
    monkeypatch.setattr(resource.Annotations, "max_per_project", 2)
    for number in range(2):
        made = await query.post(ANNOTATIONS, json={"id": f"a{number}", "text": "x"})
        assert made.status_code == 201
    refused = await query.post(ANNOTATIONS, json={"id": "a2", "text": "x"})
    assert refused.status_code == 409
    assert "2 annotations, which is the maximum" in refused.json()["error"]["message"]


def test_annotations_are_asked_for_by_grpc_as_other_definitions() -> None:
    kind = pb.KIND_ANNOTATION
    for method in ("CreateDefinition", "GetDefinition", "ReplaceDefinition", "DeleteDefinition"):
        assert "/annotations" in bindings()[method][kind].path


async def test_the_command_marks_a_moment(query: httpx.AsyncClient, place: Place) -> None:
    url = f"http://127.0.0.1:{place.port}"
    where = ["--project", place.renamed("shop"), "--token", TOKEN, "--url", url]
    link = ["--link", "https://ci.example/7", "--id", "c24", "--at", NOON]
    arguments = ["annotate", "checkout 2.4", *where, *link]
    done = await asyncio.to_thread(CliRunner().invoke, avila, arguments)
    assert done.exit_code == 0, done.output
    assert f"annotation c24 at {NOON}\n" in done.output
    shown = (await query.get(f"{ANNOTATIONS}/c24")).json()
    assert (shown["url"], shown["text"]) == ("https://ci.example/7", "checkout 2.4")
