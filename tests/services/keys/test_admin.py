"""Keys and tokens made and revoked on the broker, and what stands on the topic of them."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from schemas.errors import AvilaError, Conflict, InvalidRequest, NotFound, Unavailable
from schemas.keys import (
    MAX_TOKENS_PER_PROJECT,
    MAX_WRITE_KEYS_PER_PROJECT,
    encode,
    mint_token,
)
from schemas.settings import Settings
from services.keys.admin import KeyAdmin, run_with_key_admin
from services.keys.first import ensure_first_keys, read_token, token_file
from tests.conftest import free_ports
from tests.credentials import put, query_token, write_key
from tests.kafka import Record, produce, read_all


async def test_what_one_admin_does_the_next_one_knows(settings: Settings) -> None:
    async with KeyAdmin(settings) as admin:
        key = await admin.create_write_key(
            "shop",
            name="web",
            events_per_s=10,
            events_per_day=1_000,
            origins=["HTTPS://A.example/"],
        )
        text, token = await admin.create_token("shop", ("write", "read", "read"), days=7)
        await admin.set_timezone("shop", "America/Sao_Paulo")
        await admin.set_week_start("shop", "sunday")
        await admin.limit_project("shop", None, 5)

    async with KeyAdmin(settings) as admin:
        assert admin.keys.write_keys == {key.id: key}
        assert admin.keys.find_token(text) == token
        assert admin.keys.projects["shop"].events_per_day == 5
        assert admin.keys.projects["shop"].timezone == "America/Sao_Paulo"
        assert admin.keys.projects["shop"].week_start == "sunday"
        assert await admin.revoke_write_key(key.id) == key
        assert await admin.revoke_token(text) == token
        assert not admin.keys.write_keys
        assert not admin.keys.tokens
    assert key.origins == ("https://a.example",)
    assert token.scopes == ("read", "write")
    assert token.expires_at - token.created_at == 7 * 86_400_000


async def test_a_token_does_not_stand_anywhere(settings: Settings) -> None:
    async with KeyAdmin(settings) as admin:
        text, _ = await admin.create_token("*", ("read",), days=1)

    for message in read_all(settings.bootstrap, settings.topics.definitions.name):
        assert text.encode() not in (message.key() or b"") + (message.value() or b"")
        assert text.removeprefix("aqt_").encode() not in (message.value() or b"")


async def test_a_key_that_sdks_use_already_is_taken_over_once(settings: Settings) -> None:
    async with KeyAdmin(settings) as admin:
        taken = await admin.create_write_key("shop", key="phc_Ab0123456789")
        assert taken.id == "phc_Ab0123456789"
        for project in ("shop", "other"):
            with pytest.raises(Conflict, match="of project shop"):
                await admin.create_write_key(project, key="phc_Ab0123456789")


PUBLIC = "key: must be public, and this is"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"key": mint_token()}, f"{PUBLIC} a query token, which is secret"),
        (
            {"key": "phx_0123456789"},
            f"{PUBLIC} a personal API key of PostHog's",
        ),
        ({"key": "short"}, "key: must be 8 to 64"),
        ({"key": "not/a/key!"}, "key: must be 8 to 64"),
        ({"origins": ["shop.example"]}, r"origins\[0\]"),
        ({"origins": ["https://shop.example/page"]}, r"origins\[0\]"),
        ({"origins": ["https://a.b"] * 51}, "origins"),
        ({"events_per_s": 0}, "events_per_s"),
        ({"events_per_day": -1}, "events_per_day"),
        ({"name": "x" * 1_001}, "name"),
        ({"project_id": "no/slash"}, "project: accepted are"),
        ({"project_id": "*"}, "project: accepted are"),
    ],
)
async def test_what_is_not_accepted_is_named(
    settings: Settings, fields: dict[str, Any], why: str
) -> None:
    async with KeyAdmin(settings) as admin:
        with pytest.raises(InvalidRequest, match=why):
            await admin.create_write_key(**({"project_id": "shop"} | fields))
        assert not admin.keys.write_keys


async def test_what_is_not_there_cannot_be_revoked(settings: Settings) -> None:
    async with KeyAdmin(settings) as admin:
        with pytest.raises(NotFound, match="no write key awk_none"):
            await admin.revoke_write_key("awk_none")
        with pytest.raises(NotFound, match="no query token"):
            await admin.revoke_token(mint_token())


async def test_a_project_has_no_more_keys_and_tokens_than_the_limits(settings: Settings) -> None:
    put(settings, *(write_key(f"awk_{n:04}") for n in range(MAX_WRITE_KEYS_PER_PROJECT)))
    put(settings, *(query_token(mint_token(), "shop") for _ in range(MAX_TOKENS_PER_PROJECT)))

    async with KeyAdmin(settings) as admin:
        with pytest.raises(Conflict, match=f"there are {MAX_WRITE_KEYS_PER_PROJECT} write keys"):
            await admin.create_write_key("default")
        with pytest.raises(Conflict, match=f"there are {MAX_TOKENS_PER_PROJECT} query tokens"):
            await admin.create_token("shop", ("read",), days=1)
        await admin.create_write_key("shop")
        await admin.create_token("default", ("read",), days=1)
        await admin.revoke_write_key("awk_0000")
        await admin.create_write_key("default")


async def test_of_two_admins_that_take_over_the_same_key_one_gets_a_conflict(
    settings: Settings,
) -> None:
    async with KeyAdmin(settings) as one, KeyAdmin(settings) as two:
        answers = await asyncio.gather(
            *(admin.create_write_key("shop", key="phc_Ab0123456789") for admin in (one, two)),
            return_exceptions=True,
        )
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "WriteKey"]


async def test_other_kinds_and_what_cannot_be_read_are_left_out(settings: Settings) -> None:
    produce(
        settings.bootstrap,
        settings.topics.definitions.name,
        [
            Record(b"{}", b"shop/funnel/buy"),
            Record(b"{}", b"shop/kind-of-tomorrow/x"),
            Record(b"{", b"shop/write-key/broken"),
            Record(b"{}", b"shop/query-token/empty"),
            Record(None, b"shop/write-key/never-was"),
            Record(encode(query_token()), b"shop/query-token/of-another-id"),
            Record(b"{}", b"nonsense"),
            Record(b"{}", b"\xff/a/b"),
        ],
    )
    put(settings, write_key())

    async with KeyAdmin(settings) as admin:
        assert list(admin.keys.write_keys) == [write_key().id]
        assert not admin.keys.tokens


def test_a_broker_that_is_away_is_said_in_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    [port] = free_ports(1)
    monkeypatch.setattr("services.keys.admin._CAUGHT_UP_TIMEOUT_S", 0.5)
    away = msgspec.structs.replace(settings, kafka_bootstrap=f"127.0.0.1:{port}")

    begun = time.monotonic()
    with pytest.raises(Unavailable, match="AVILA_KAFKA_BOOTSTRAP"):
        run_with_key_admin(away, lambda admin: admin.create_write_key("shop"))
    assert time.monotonic() - begun < 10


def test_a_deployment_without_topics_is_told_how_to_make_them(settings: Settings) -> None:
    nowhere = msgspec.structs.replace(settings, topic_prefix="nowhere")

    with pytest.raises(AvilaError, match="avila topics"):
        run_with_key_admin(nowhere, lambda admin: admin.create_write_key("shop"))


def test_the_first_keys_are_made_once_and_the_token_is_shown_once(settings: Settings) -> None:
    said: list[str] = []
    ensure_first_keys(settings, said.append)
    token = read_token(settings)

    again: list[str] = []
    ensure_first_keys(settings, again.append)

    assert any(token in line for line in said)
    assert not any(token in line for line in again)
    assert said[0] == again[0]
    assert read_token(settings) == token
    assert token_file(settings).stat().st_mode & 0o777 == 0o600
    assert list(settings.data_dir.iterdir()) == [token_file(settings)]

    async def found(admin: KeyAdmin) -> tuple[int, Any]:
        return len(admin.keys.write_keys), admin.keys.find_token(token)

    keys, kept = run_with_key_admin(settings, found)
    assert (keys, kept.project_id, kept.scopes) == (1, "*", ("read", "write"))


def test_a_first_token_that_is_good_no_more_is_made_anew(settings: Settings) -> None:
    ensure_first_keys(settings, lambda _: None)
    before = read_token(settings)
    run_with_key_admin(settings, lambda admin: admin.revoke_token(before))

    ensure_first_keys(settings, lambda _: None)

    assert read_token(settings) != before
