"""Write keys and query tokens over HTTP: only an administrator makes, sees and revokes them."""

from typing import Any

import httpx
import pytest

from schemas.settings import Settings
from tests.credentials import TOKEN, bearer, put, query_token
from tests.kafka import read_all
from tests.services.query.conftest import eventually

KEYS = "/api/projects/shop/write-keys"
TOKENS = "/api/projects/shop/tokens"
FUNNELS = "/api/projects/shop/funnels"
EDITOR, READER_OF_ALL = "aqt_edits", "aqt_reads_all"


async def test_a_write_key_is_made_listed_and_revoked(query: httpx.AsyncClient) -> None:
    asked: dict[str, Any] = {"name": "web", "events_per_s": 50, "origins": ["https://shop.example"]}
    made = await query.post(KEYS, json=asked)
    assert made.status_code == 201
    key = made.json()
    assert key["id"].startswith("awk_")
    assert key | asked == key
    assert (await query.get(KEYS)).json() == {"keys": [key]}
    assert (await query.get("/api/projects/other/write-keys")).json() == {"keys": []}

    own = await query.post(KEYS, json={"key": "phc_of_our_sdks"})
    assert own.json()["id"] == "phc_of_our_sdks"
    assert (await query.post(KEYS, json={"key": "phc_of_our_sdks"})).status_code == 409
    elsewhere = await query.delete(f"/api/projects/other/write-keys/{key['id']}")
    assert elsewhere.status_code == 404
    assert (await query.delete(f"{KEYS}/{key['id']}")).status_code == 204
    assert [one["id"] for one in (await query.get(KEYS)).json()["keys"]] == ["phc_of_our_sdks"]


async def test_a_token_is_shown_once_and_does_what_its_scopes_say_until_it_is_revoked(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    made = await query.post(TOKENS, json={"name": "board", "scopes": ["read"], "days": 3})
    assert made.status_code == 201
    text, token = made.json()["text"], made.json()["token"]
    assert text.startswith("aqt_")
    assert (token["role"], token["project_id"], token["sessions"]) == ("viewer", "shop", 0)

    shown = await query.get(FUNNELS, headers=bearer(text))
    assert shown.status_code == 200
    assert (await query.post(FUNNELS, json={}, headers=bearer(text))).status_code == 403
    assert (await query.get("/api/projects/b/funnels", headers=bearer(text))).status_code == 403

    listed = (await query.get(TOKENS)).json()["tokens"]
    assert [(one["role"], one["current"]) for one in listed] == [
        ("viewer", False),
        ("admin", True),
    ]
    assert text not in str(listed)
    messages = read_all(settings.bootstrap, settings.topics.definitions.name)
    assert not any(text.encode() in (message.value() or b"") for message in messages)

    other = await query.delete(f"/api/projects/other/tokens/{token['id']}")
    assert other.status_code == 404
    assert (await query.delete(f"{TOKENS}/{token['id']}")).status_code == 204
    assert (await query.get(FUNNELS, headers=bearer(text))).status_code == 401


async def test_tokens_have_the_roles_that_their_scopes_give(query: httpx.AsyncClient) -> None:
    for body, role in (
        ({"scopes": ["read", "write"]}, "editor"),
        ({"scopes": ["read", "write"], "all_projects": True}, "admin"),
        ({"scopes": ["read"], "all_projects": True}, "viewer"),
    ):
        made = await query.post(TOKENS, json=body)
        assert made.json()["token"]["role"] == role, made.text


async def test_only_an_administrator_sees_or_makes_keys_and_tokens(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    put(
        settings,
        query_token(EDITOR, "shop"),
        query_token(READER_OF_ALL, "*", scopes=("read",)),
    )
    for token in (EDITOR, READER_OF_ALL):

        async def ask(token: str = token) -> httpx.Response:
            return await query.get(FUNNELS, headers=bearer(token))

        await eventually(ask, lambda now: now.status_code == 200)
        for method, path, body in (
            ("GET", KEYS, None),
            ("POST", KEYS, {}),
            ("DELETE", f"{KEYS}/awk_any", None),
            ("GET", TOKENS, None),
            ("POST", TOKENS, {"scopes": ["read"]}),
            ("DELETE", f"{TOKENS}/0123456789abcdef", None),
        ):
            answer = await query.request(method, path, json=body, headers=bearer(token))
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
            assert "administrator" in answer.json()["error"]["message"]
    for path in (KEYS, TOKENS):
        assert (await query.get(path, headers={"Authorization": ""})).status_code == 401
    assert (await query.get(KEYS, headers=bearer(TOKEN))).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (KEYS, {"events_per_s": 0}, "events_per_s"),
        (KEYS, {"origins": ["shop.example"]}, "origins[0]"),
        (KEYS, {"key": "aqt_a_secret_token"}, "key"),
        (KEYS, {"key": "short"}, "key"),
        (TOKENS, {}, ""),
        (TOKENS, {"scopes": []}, "scopes"),
        (TOKENS, {"scopes": ["admin"]}, "scopes[0]"),
        (TOKENS, {"scopes": ["read"], "days": 0}, "days"),
        (TOKENS, {"scopes": ["read"], "name": "x" * 1_001}, "name"),
    ],
)
async def test_what_cannot_be_made_is_refused_with_its_field(
    query: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await query.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].get("field", "") == field
