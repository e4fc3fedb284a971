"""The settings of an identity provider: what is accepted, and what errors name."""

import msgspec
import pytest

from schemas.errors import Misconfigured
from schemas.keys import Grant, Session, decode
from schemas.oidc import read_roles
from schemas.settings import Settings, read_settings

GOOD = {
    "AVILA_OIDC_ISSUER": "https://id.example/realms/shop",
    "AVILA_OIDC_CLIENT_ID": "avila",
    "AVILA_OIDC_CLIENT_SECRET": "not told",
    "AVILA_OIDC_PAGE_URL": "https://avila.example/",
    "AVILA_OIDC_ROLES": '{"avila-admins": "*:admin", "team-shop": "shop:editor"}',
}


def test_a_provider_is_put_together_from_the_settings() -> None:
    provider = read_settings(GOOD).oidc
    assert provider is not None
    assert (provider.name, provider.claim) == ("id.example", "groups")
    assert provider.page_url == "https://avila.example"
    assert provider.roles == {
        "avila-admins": Grant("*", ("read", "write")),
        "team-shop": Grant("shop", ("read", "write")),
    }
    assert "not told" not in repr(provider) + repr(read_settings(GOOD))
    assert Settings().oidc is None


@pytest.mark.parametrize("missing", GOOD)
def test_a_setting_that_is_missing_is_named(missing: str) -> None:
    with pytest.raises(Misconfigured, match=f"{missing} is unset"):
        read_settings({key: value for key, value in GOOD.items() if key != missing})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("AVILA_OIDC_ISSUER", "id.example"),
        ("AVILA_OIDC_ISSUER", "http://id.example"),
        ("AVILA_OIDC_ISSUER", "https://"),
        ("AVILA_OIDC_ISSUER", "https://id.example?x=1"),
        ("AVILA_OIDC_ISSUER", "https://me:secret@id.example"),
        ("AVILA_OIDC_ISSUER", "https://[id.example"),
        ("AVILA_OIDC_ISSUER", "https://id.example:port"),
        ("AVILA_OIDC_ISSUER", "javascript://localhost/"),
        ("AVILA_OIDC_PAGE_URL", "http://avila.example"),
        ("AVILA_OIDC_PAGE_URL", "https://avila.example/page"),
        ("AVILA_OIDC_SCOPES", "profile"),
        ("AVILA_OIDC_CLAIM", " "),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_what_is_accepted(key: str, value: str) -> None:
    with pytest.raises(Misconfigured, match=rf"{key} (is|must be) .*"):
        read_settings(GOOD | {key: value})


@pytest.mark.parametrize(
    "roles",
    [
        "team-shop",
        "[]",
        "{}",
        '{"team": 1}',
        '{"team": "shop"}',
        '{"team": "shop:owner"}',
        '{"team": ":viewer"}',
        '{"team": "a shop:viewer"}',
        '{"team": "shop:admin"}',
        '{"team": "*:editor"}',
        msgspec.json.encode({str(number): "shop:viewer" for number in range(101)}).decode(),
    ],
)
def test_roles_that_are_not_accepted_are_refused_with_what_is(roles: str) -> None:
    with pytest.raises(Misconfigured, match=r"AVILA_OIDC_ROLES must be .* `project:role`"):
        read_roles(roles)


def test_sessions_of_earlier_versions_have_no_grants_of_their_own() -> None:
    written = (
        b'{"project_id":"shop","id":"a1","digest":"a1b2","token":"c3","created_at":1,'
        b'"expires_at":2,"client":"Firefox"}'
    )
    session = decode("session", written)
    assert isinstance(session, Session)
    assert (session.grants, session.user) == ((), "")
