"""Anyone reads schemas; only a token changes them, and nobody those that Avila's topics need."""

from collections.abc import Iterator

import httpx
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from schemas.avro.files import load
from tests.services.registry.conftest import TIMEOUT_S
from tests.services.registry.test_clients import FIRST, SECOND, text

OWN = "avila.events-value"
CHANGES = [
    ("POST", "/subjects/x-value/versions", {"schema": text(SECOND).schema_str}),
    ("DELETE", "/subjects/x-value", None),
    ("DELETE", "/subjects/x-value?permanent=true", None),
    ("DELETE", "/subjects/x-value/versions/1", None),
    ("PUT", "/config", {"compatibility": "NONE"}),
    ("PUT", "/config/x-value", {"compatibility": "NONE"}),
    ("DELETE", "/config", None),
    ("DELETE", "/config/x-value", None),
]


@pytest.fixture
def stranger(url: str) -> Iterator[httpx.Client]:
    """A client without credentials."""
    with httpx.Client(base_url=httpx.URL(url).copy_with(userinfo=b""), timeout=TIMEOUT_S) as client:
        yield client


def test_a_stranger_reads_everything_and_changes_nothing(
    client: SchemaRegistryClient, stranger: httpx.Client
) -> None:
    schema_id = client.register_schema("x-value", text(FIRST))
    for method, path, body in CHANGES:
        answer = stranger.request(method, path, json=body)
        assert (answer.status_code, answer.json()["error_code"]) == (401, 401), path
        assert "avila tokens create" in answer.json()["message"]
        assert answer.headers["www-authenticate"] == "Bearer"
    assert stranger.get("/subjects").json() == ["x-value"]
    assert stranger.get("/subjects/x-value/versions").json() == [1]
    assert stranger.get(f"/schemas/ids/{schema_id}").status_code == 200
    assert stranger.get("/config").json() == {"compatibilityLevel": "BACKWARD"}
    candidate = {"schema": text(SECOND).schema_str}
    url = "/compatibility/subjects/x-value/versions"
    assert stranger.post(url, json=candidate).json() == {"is_compatible": True}


def test_a_producer_whose_schema_is_registered_needs_no_token(
    client: SchemaRegistryClient, stranger: httpx.Client
) -> None:
    schema_id = client.register_schema("x-value", text(FIRST))
    answer = stranger.post("/subjects/x-value/versions", json={"schema": text(FIRST).schema_str})
    assert answer.json() == {"id": schema_id}


@pytest.mark.parametrize(
    ("token", "status"),
    [("unknown", 401), ("of last year", 401), ("of one project", 403), ("of a reader", 403)],
)
def test_only_a_valid_token_for_all_projects_writes(
    stranger: httpx.Client, token: str, status: int
) -> None:
    basic = httpx.BasicAuth("avila", token)._auth_header
    for header in (f"Bearer {token}", basic):
        answer = stranger.put(
            "/config", json={"compatibility": "NONE"}, headers={"Authorization": header}
        )
        assert answer.status_code == status, answer.text


def test_no_token_changes_what_the_records_of_avila_need(
    client: SchemaRegistryClient, http: httpx.Client
) -> None:
    for method, path, body in CHANGES:
        if "x-value" in path:
            answer = http.request(method, path.replace("x-value", OWN), json=body)
            assert (answer.status_code, answer.json()["error_code"]) == (422, 42205), path
            assert "belongs to a topic of Avila" in answer.json()["message"]
    assert client.get_subjects() == []


def test_the_inbox_takes_the_schemas_of_its_producers_and_keeps_them(
    client: SchemaRegistryClient, http: httpx.Client
) -> None:
    client.register_schema("avila.inbox-value", text(load("event").plain))
    assert http.delete("/subjects/avila.inbox-value").json()["error_code"] == 42205
    assert client.get_versions("avila.inbox-value") == [1]
