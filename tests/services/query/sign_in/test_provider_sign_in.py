"""Signing in at an identity provider: who gets in, with what, and what is refused."""

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from schemas.oidc import OidcProvider, read_roles
from services.broker import Broker
from services.query.sessions.attempts import MAX_FAILURES
from services.query.sessions.oidc import attempt as attempts
from services.query.sessions.oidc.attempt import new_attempt
from services.query.sessions.oidc.failure import SignInFailed
from services.query.sessions.oidc.grants import grants_of, name_of
from services.query.sessions.oidc.provider import Provider
from tests.conftest import deployment, free_ports
from tests.credentials import TOKEN, bearer
from tests.services.query.conftest import prepared, ready, serve_in_thread
from tests.services.query.sign_in.provider import (
    CLIENT,
    SECRET,
    Claims,
    IdentityProvider,
    new_key,
    running,
    signed,
)
from tests.services.query.test_funnels import BUY

PAGE = "http://localhost:8080"
ROLES = json.dumps(
    {
        "admins": "*:admin",
        "auditors": "*:viewer",
        "shop": "shop:editor",
        "app": "app:viewer",
        "gone": "no-such-project:editor",
    }
)
SHOP = {"groups": ["shop"]}


class Service(NamedTuple):
    """A query service where people sign in at `provider`."""

    address: str
    provider: IdentityProvider


@pytest.fixture(scope="module")
def running_service(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running() as provider, deployment(broker, tmp_path_factory.mktemp("sign-in")) as made:
        settings = msgspec.structs.replace(
            prepared(made),
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT,
            oidc_client_secret=SECRET,
            oidc_page_url=PAGE,
            oidc_name="the shop's directory",
            oidc_roles=ROLES,
            trusted_proxies="127.0.0.1",
        )
        with serve_in_thread(settings) as port:
            address = f"http://127.0.0.1:{port}"

            async def until_ready() -> None:
                async with httpx.AsyncClient(base_url=address) as client:
                    await ready(client)

            asyncio.run(until_ready())
            yield Service(address, provider)


@pytest.fixture
def service(running_service: Service) -> Service:
    """The service, with a provider that knows nothing of other tests."""
    key = running_service.provider.key
    running_service.provider.reset()
    # The service still has the key of the test before.
    running_service.provider.key = key
    running_service.provider.known_keys = [key]
    return running_service


_addresses = iter(range(1, 250))


class Browser:
    """What a browser keeps of the service, whose cookies are for https or this machine alone."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.cookies: dict[str, str] = {}
        # A client of its own, so that failed attempts are no other test's.
        self._from = f"198.51.100.{next(_addresses)}"

    def ask(self, path: str, method: str = "GET", origin: str = "", **more: Any) -> httpx.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = [(b"cookie", cookie.encode("latin-1")), (b"x-forwarded-for", self._from.encode())]
        if origin:
            headers.append((b"origin", origin.encode()))
        url = self.service.address + path
        answer = httpx.request(method, url, headers=headers, timeout=120, **more)
        for one in answer.headers.get_list("set-cookie"):
            name, _, rest = one.partition("=")
            value = rest.partition(";")[0]
            self.cookies.pop(name, None)
            if value:
                self.cookies[name] = value
        return answer

    def begin(self) -> str:
        answer = self.ask("/session/begin")
        assert answer.status_code == 303, answer.text
        address: str = answer.headers["location"]
        return address

    def end(self, sent: dict[str, str]) -> str:
        """Come back from the provider; returns where the service sends the browser."""
        answer = self.ask("/session/callback", params=sent)
        assert answer.status_code == 303, answer.text
        address: str = answer.headers["location"]
        return address

    def sign_in(self, **claims: Any) -> str:
        provider = self.service.provider
        provider.claims = claims
        return self.end(provider.authorize(self.begin()))

    def session(self) -> Any:
        return self.ask("/session").json()["session"]

    def may(self, method: str, project: str) -> int:
        own = self.service.address
        path = f"/api/projects/{project}/funnels"
        body = BUY if method == "POST" else None
        return self.ask(path, method, own, json=body).status_code


@pytest.fixture
def browser(service: Service) -> Browser:
    return Browser(service)


def test_whoever_the_provider_lets_in_has_a_session_with_what_the_claim_grants(
    browser: Browser,
) -> None:
    assert browser.ask("/session").json()["provider"] == "the shop's directory"
    address = browser.begin()
    assert address.startswith(f"{browser.service.provider.issuer}/authorize?tenant=1&")
    browser.service.provider.claims = {
        "groups": ["unknown", "shop", "app", 7],
        "email": "ann@shop.example",
    }
    assert browser.end(browser.service.provider.authorize(address, session_state="x")) == "/"
    session = browser.session()
    assert session["user"] == "ann@shop.example"
    assert [(one["project_id"], one["role"]) for one in session["grants"]] == [
        ("app", "viewer"),
        ("shop", "editor"),
    ]
    assert browser.ask("/session").json()["projects"] == ["app", "shop"]
    assert [browser.may("POST", one) for one in ("shop", "app", "other")] == [201, 403, 403]
    assert [browser.may("GET", one) for one in ("shop", "app", "other")] == [200, 200, 403]
    assert list(browser.cookies) == ["__Host-avila"]


def test_cookies_are_kept_from_scripts_and_only_that_of_the_attempt_comes_with_the_way_back(
    browser: Browser,
) -> None:
    begun = browser.ask("/session/begin")
    attributes = set(begun.headers["set-cookie"].split("; ")[1:])
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Lax", "Max-Age=600"} == attributes
    assert begun.headers["cache-control"] == "no-store"
    sent = browser.service.provider.authorize(begun.headers["location"])
    browser.service.provider.claims = SHOP
    ended = browser.ask("/session/callback", params=sent)
    removed, session = ended.headers.get_list("set-cookie")
    assert "Max-Age=0" in removed
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(session.split("; "))
    assert ended.headers["referrer-policy"] == "no-referrer"


def test_an_administrator_makes_keys_and_a_viewer_of_all_projects_only_reads(
    service: Service,
) -> None:
    admin, auditor = Browser(service), Browser(service)
    assert admin.sign_in(groups=["admins"], sub="root") == "/"
    assert auditor.sign_in(groups="auditors", sub="eve") == "/"
    path, own = "/api/projects/shop/write-keys", service.address
    assert admin.session()["role"] == "admin"
    assert auditor.session()["role"] == "viewer"
    assert admin.ask(path, "POST", own, json={}).status_code == 201
    assert auditor.ask(path, "POST", own, json={}).status_code == 403
    assert [auditor.may(method, "any") for method in ("GET", "POST")] == [200, 403]


def test_sessions_of_an_account_are_listed_and_ended_as_those_of_tokens_are(
    service: Service,
) -> None:
    first, second, other = (Browser(service) for _ in range(3))
    for browser in (first, second):
        assert browser.sign_in(**SHOP, sub="bob") == "/"
    assert other.sign_in(**SHOP, sub="cleo") == "/"
    listed = first.ask("/sessions").json()["sessions"]
    assert [one["current"] for one in listed] == [False, True]
    own, name = service.address, listed[0]["id"]
    assert other.ask(f"/sessions/{name}", "DELETE", own).status_code == 404
    assert first.ask(f"/sessions/{name}", "DELETE", own).status_code == 204
    assert [one.may("GET", "shop") for one in (first, second, other)] == [200, 401, 200]
    assert first.ask("/session", "DELETE", own).status_code == 204
    assert first.session() is None


def test_another_site_can_do_nothing_with_a_session_of_the_provider(browser: Browser) -> None:
    assert browser.sign_in(**SHOP) == "/"
    answer = browser.ask("/api/projects/shop/funnels", "POST", "https://evil.example", json=BUY)
    assert answer.status_code == 403


def test_a_project_that_does_not_exist_is_empty(browser: Browser) -> None:
    assert browser.sign_in(groups=["gone"]) == "/"
    assert browser.ask("/session").json()["projects"] == ["no-such-project"]
    funnels = browser.ask("/api/projects/no-such-project/funnels")
    assert (funnels.status_code, funnels.json()["funnels"]) == (200, [])


def other_key(provider: IdentityProvider, claims: Claims) -> str:
    key = new_key()
    return jwt.encode({"alg": "RS256", "kid": provider.key.kid}, claims, key, ["RS256"])


def unsigned(_: IdentityProvider, claims: Claims) -> str:
    parts = ({"alg": "none"}, claims)
    texts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts]
    return b".".join((*texts, b"")).decode()


def signed_with_the_public_key(provider: IdentityProvider, claims: Claims) -> str:
    key = OctKey.import_key(base64.b64encode(provider.key.as_pem(private=False)).decode())
    return jwt.encode({"alg": "HS256", "kid": provider.key.kid}, claims, key, ["HS256"])


def changed_afterwards(provider: IdentityProvider, claims: Claims) -> str:
    head, _, mac = signed(provider, claims).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims | {"groups": ["admins"]}).encode())
    return f"{head}.{body.rstrip(b'=').decode()}.{mac}"


def no_token(_: IdentityProvider, __: Claims) -> str:
    return "…"


@pytest.mark.parametrize(
    "sign", [other_key, unsigned, signed_with_the_public_key, changed_afterwards, no_token]
)
def test_a_token_that_the_provider_has_not_signed_is_refused(browser: Browser, sign: Any) -> None:
    browser.service.provider.sign = sign
    assert browser.sign_in(**SHOP) == "/#sign-in=untrusted"
    assert browser.cookies == {}


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": None},
        {"aud": [CLIENT, "another-client"]},
        {"aud": [CLIENT, "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1_000},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("nan")},
        {"iat": 1 << 40},
        {"nbf": 1 << 40},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"at_hash": "of another token"},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(browser: Browser, claims: Claims) -> None:
    assert browser.sign_in(**SHOP, **claims) == "/#sign-in=untrusted"
    assert browser.cookies == {}


def test_a_clock_that_is_off_by_some_seconds_is_accepted(browser: Browser) -> None:
    now = int(time.time())
    assert browser.sign_in(**SHOP, iat=now + 40, nbf=now + 40, exp=now - 10) == "/"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"groups": []},
        {"groups": ["unknown"]},
        {"groups": {"shop": True}},
        {"groups": None},
        {"groups": 1},
        {"groups": "shop "},
        {"roles": ["shop"]},
    ],
)
def test_whoever_is_granted_nothing_gets_no_session(browser: Browser, claims: Claims) -> None:
    assert browser.sign_in(**claims) == "/#sign-in=no_access"
    assert browser.cookies == {}


def test_a_code_counts_once(browser: Browser) -> None:
    provider = browser.service.provider
    provider.claims = SHOP
    sent = provider.authorize(browser.begin())
    kept = dict(browser.cookies)
    assert browser.end(sent) == "/"
    assert browser.end(sent) == "/#sign-in=expired"
    browser.cookies |= kept
    assert browser.end(sent) == "/#sign-in=expired"
    # The code alone, in an attempt of another browser.
    other = Browser(browser.service)
    state = provider.authorize(other.begin())["state"]
    assert other.end(sent | {"state": state}) == "/#sign-in=refused"


def test_an_attempt_ends_only_in_the_browser_that_began_it(service: Service) -> None:
    victim, attacker = Browser(service), Browser(service)
    service.provider.claims = SHOP
    sent = service.provider.authorize(attacker.begin())
    assert victim.end(sent) == "/#sign-in=expired"
    victim.begin()
    assert victim.end(sent) == "/#sign-in=expired"
    assert "__Host-avila" not in victim.cookies


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        ({"error": "access_denied"}, "refused"),
        ({"code": ""}, "refused"),
        ({"code": "x" * 5_000}, "refused"),
        ({"code": "unknown"}, "refused"),
        ({"iss": "https://evil.example"}, "untrusted"),
        ({"state": ""}, "expired"),
        ({"state": "é\N{SNOWMAN}"}, "expired"),
    ],
)
def test_what_is_sent_back_must_be_a_code_of_this_attempt(
    browser: Browser, sent: dict[str, str], word: str
) -> None:
    good = browser.service.provider.authorize(browser.begin())
    assert browser.end(good | sent) == f"/#sign-in={word}"


def test_an_attempt_that_was_changed_or_is_old_is_refused(browser: Browser) -> None:
    sent = browser.service.provider.authorize(browser.begin())
    sealed = browser.cookies[attempts.NAME]
    for text in (sealed[1:], sealed + "0", "", ".", "é", "x" * 5_000):
        browser.cookies[attempts.NAME] = text
        assert browser.end(sent) == "/#sign-in=expired"
    old = new_attempt(int(time.time()) - attempts.LASTS_S - 1)
    browser.cookies[attempts.NAME] = attempts.seal(old, SECRET)
    assert browser.end(sent | {"state": old.state}) == "/#sign-in=expired"


@pytest.mark.parametrize("name", ["next", "redirect_uri", "return_to", "url"])
def test_nobody_can_be_sent_to_another_address(browser: Browser, name: str) -> None:
    evil = "https://evil.example/"
    begun = browser.ask("/session/begin", params={name: evil})
    assert evil not in begun.headers["location"]
    sent = browser.service.provider.authorize(begun.headers["location"])
    browser.service.provider.claims = SHOP
    assert browser.end(sent | {name: evil}) == "/"


def test_a_key_that_the_provider_has_changed_is_read_again(browser: Browser) -> None:
    provider = browser.service.provider
    assert browser.sign_in(**SHOP) == "/"
    provider.key = new_key()
    provider.known_keys = [provider.key]
    provider.asked.clear()
    assert browser.sign_in(**SHOP) == "/"
    assert provider.asked == ["/token", "/jwks"]
    assert browser.sign_in(**SHOP) == "/"
    assert provider.asked == ["/token", "/jwks", "/token"]


def test_who_fails_often_is_told_to_wait_and_can_sign_in_nevertheless(browser: Browser) -> None:
    for _ in range(MAX_FAILURES):
        assert browser.sign_in(groups=[]) == "/#sign-in=no_access"
    assert browser.sign_in(groups=[]) == "/#sign-in=too_many"
    assert browser.sign_in(**SHOP) == "/"


def test_tokens_go_on_working_beside_a_provider(service: Service) -> None:
    answer = httpx.get(f"{service.address}/api/projects/shop/funnels", headers=bearer(TOKEN))
    assert answer.status_code == 200
    begun = httpx.post(
        f"{service.address}/session", json={"token": TOKEN}, headers={"origin": service.address}
    )
    assert begun.status_code == 201
    assert begun.json()["session"]["user"] == ""


def described(issuer: str) -> OidcProvider:
    return OidcProvider(
        issuer=issuer,
        client_id=CLIENT,
        client_secret=SECRET,
        page_url=PAGE,
        scopes="openid",
        name="",
        claim="groups",
        roles=read_roles(ROLES),
    )


async def failure(issuer: str) -> SignInFailed:
    provider = Provider(described(issuer), timeout_s=1)
    try:
        with pytest.raises(SignInFailed) as failed:
            await provider.address_for(new_attempt(0))
    finally:
        await provider.close()
    return failed.value


@pytest.mark.parametrize(
    ("trouble", "word", "reason"),
    [
        ("slow", "provider_away", "has not answered within 1 s"),
        ("down", "provider_away", "answers 503"),
        ("large", "provider_wrong", "answers more than 262144 bytes"),
    ],
)
async def test_a_provider_in_trouble_is_reported_and_waited_for_no_longer_than_set(
    trouble: str, word: str, reason: str
) -> None:
    with running() as provider:
        provider.trouble = trouble
        failed = await failure(provider.issuer)
    assert failed.failure == word
    assert reason in failed.reason


async def test_a_provider_that_does_not_answer_is_not_asked_again_at_once() -> None:
    with running() as served:
        served.trouble = "down"
        provider = Provider(described(served.issuer))
        for _ in range(2):
            with pytest.raises(SignInFailed, match="answers 503"):
                await provider.address_for(new_attempt(0))
        await provider.close()
        assert len(served.asked) == 1


async def test_a_provider_that_is_not_there_or_is_another_is_reported_with_the_setting() -> None:
    (port,) = free_ports(1)
    assert (await failure(f"http://127.0.0.1:{port}")).failure == "provider_away"
    with running() as provider:
        provider.announced = "https://id.example"
        failed = await failure(provider.issuer)
    assert failed.failure == "provider_wrong"
    assert "AVILA_OIDC_ISSUER" in failed.reason


def test_a_nested_claim_is_named_by_its_path_and_an_address_must_be_verified() -> None:
    roles = read_roles(ROLES)
    nested = {"realm_access": {"roles": ["shop"]}}
    assert grants_of(nested, "realm_access.roles", roles)[0].project_id == "shop"
    assert grants_of({"https://shop.example/roles": "shop"}, "https://shop.example/roles", roles)
    by_address = read_roles('{"ann@shop.example": "shop:viewer"}')
    claims = {"email": "ann@shop.example", "email_verified": True}
    assert grants_of(claims, "email", by_address)
    for verified in (False, None, "true"):
        with pytest.raises(SignInFailed):
            grants_of(claims | {"email_verified": verified}, "email", by_address)


def test_the_name_of_an_account_is_the_first_that_the_provider_tells() -> None:
    assert name_of({"sub": "7", "name": "Ann", "email": " "}) == "Ann"
    assert name_of({"sub": "7", "email": ["ann"]}) == "7"
    assert name_of({"sub": "a\nb\x1b[0m" + "x" * 500}) == "ab[0m" + "x" * 195
