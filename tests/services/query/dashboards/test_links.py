"""Links to dashboards: what they show, to whom, for how long, and in whose frames."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from schemas.keys import DashboardLink, digest_of, encode, mint_link, record_key, token_id
from schemas.settings import Settings
from services.page.assets import BUILT
from tests.credentials import bearer, put, query_token
from tests.kafka import read_all
from tests.services.query.conftest import Worker, eventually
from tests.services.query.dashboards.test_dashboards import DASHBOARDS, SHOP, TILES
from tests.services.query.test_funnels import BUY, FUNNELS
from tests.services.query.test_results import reaches

LINKS = "/api/projects/shop/links"
VIEWER = "aqt_views"


@pytest.fixture
async def stranger(query: httpx.AsyncClient) -> Callable[..., Any]:
    """Ask for what a link shows, with its secret and no token."""

    async def ask(path: str, secret: str = "") -> httpx.Response:
        credential = bearer(secret) if secret else {"Authorization": ""}
        return await query.get(path, headers=credential)

    return ask


async def make(query: httpx.AsyncClient, **body: Any) -> tuple[str, str, dict[str, Any]]:
    """The page's path, the secret and the link."""
    answer = await query.post(f"{DASHBOARDS}/shop/links", json=body)
    assert answer.status_code == 201, answer.text
    page, _, secret = answer.json()["path"].partition("#")
    return page, secret, answer.json()["link"]


async def test_a_link_shows_its_dashboard_and_nothing_else_until_it_is_revoked(
    query: httpx.AsyncClient, worker: Worker, stranger: Any
) -> None:
    conditions = [{"property": "campaign", "op": "equals", "value": "secret-launch"}]
    steps = [{**BUY["steps"][0], "where": conditions}, *BUY["steps"][1:]]
    await query.post(FUNNELS, json=BUY | {"id": "buy", "name": "Buys", "steps": steps})
    worker.publish({"reached": [9, 4]})
    await reaches(query, [9, 4])
    await query.put(f"{DASHBOARDS}/shop", json=SHOP | {"range": {}})
    await query.put(f"{DASHBOARDS}/other", json={"tiles": [TILES[2] | {"id": "hidden"}]})
    page, secret, link = await make(query, days=3, name="for the board")

    shown = (await stranger(f"{page}/dashboard", secret)).json()
    assert (shown["name"], shown["expires_at"]) == ("The shop", link["expires_at"])
    assert [tile["name"] for tile in shown["tiles"]] == ["Buys", "", ""]
    assert shown["tiles"][2]["text"] == "What the shop sells"
    figures = await stranger(f"{page}/tiles/buys", secret)
    assert figures.headers["cache-control"] == "no-store"
    steps_shown = figures.json()["figures"]["totals"]["steps"]
    assert [step["reached"] for step in steps_shown] == [9, 4]
    for body in (figures.text, str(shown)):
        assert "secret-launch" not in body
        assert "positions" not in body

    refused = [
        await stranger(f"{page}/dashboard"),
        await stranger(f"{page}/dashboard", mint_link()),
        await stranger(f"{page}/dashboard", secret[:-1]),
        await stranger(f"/shared/{'0' * 16}/dashboard", secret),
        await stranger(FUNNELS, secret),
        await stranger(f"{DASHBOARDS}/shop", secret),
        await stranger(LINKS, secret),
    ]
    assert {answer.status_code for answer in refused} == {401}
    assert (await stranger(f"{page}/tiles/hidden", secret)).status_code == 404

    [listed] = (await query.get(LINKS)).json()["links"]
    assert listed == link
    assert (await query.delete(f"/api/projects/other/links/{link['id']}")).status_code == 404
    assert (await query.delete(f"{LINKS}/{link['id']}")).status_code == 204
    ended = await stranger(f"{page}/dashboard", secret)
    assert (ended.status_code, "was revoked" in ended.text) == (401, True)
    assert (await query.get(LINKS)).json() == {"links": []}


async def test_a_deleted_dashboard_ends_its_links_and_one_of_the_same_id_does_not_revive_them(
    query: httpx.AsyncClient, stranger: Any
) -> None:
    await query.put(f"{DASHBOARDS}/shop", json=SHOP)
    page, secret, _ = await make(query)
    assert (await stranger(f"{page}/dashboard", secret)).status_code == 200
    await query.delete(f"{DASHBOARDS}/shop")
    assert (await stranger(f"{page}/dashboard", secret)).status_code == 401
    await query.put(f"{DASHBOARDS}/shop", json=SHOP)
    assert (await stranger(f"{page}/dashboard", secret)).status_code == 401
    none = await query.post(f"{DASHBOARDS}/none/links", json={})
    assert none.status_code == 404


async def test_an_expired_link_shows_nothing(
    query: httpx.AsyncClient, settings: Settings, stranger: Any
) -> None:
    await query.put(f"{DASHBOARDS}/shop", json=SHOP)
    secret = mint_link()
    digest = digest_of(secret)
    own: dict[str, Any] = {"id": token_id(digest), "digest": digest, "dashboard": "shop"}
    put(settings, DashboardLink(project_id="shop", created_at=1, expires_at=2, **own))

    async def ask() -> httpx.Response:
        answer: httpx.Response = await stranger(f"/shared/{token_id(digest)}/dashboard", secret)
        return answer

    answer = await eventually(ask, lambda now: "the link has ended" in now.text)
    assert answer.status_code == 401
    assert (await query.get(LINKS)).json() == {"links": []}


async def test_the_secret_of_a_link_is_stored_nowhere(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    await query.put(f"{DASHBOARDS}/shop", json=SHOP)
    _, secret, link = await make(query)
    messages = read_all(settings.bootstrap, settings.topics.definitions.name)
    values = [m.value() or b"" for m in messages]
    assert not any(secret.encode() in value for value in values)
    stored = [v for m, v in zip(messages, values, strict=True) if m.key() == record_of(link)]
    assert [digest_of(secret).encode() in value for value in stored] == [True]


def record_of(link: dict[str, Any]) -> bytes:
    return f"shop/dashboard-link/{link['id']}".encode()


async def test_only_the_pages_that_a_link_allows_may_frame_it(
    query: httpx.AsyncClient, stranger: Any
) -> None:
    if not BUILT.exists():
        pytest.fail("the page is not built: run `make page`")
    await query.put(f"{DASHBOARDS}/shop", json=SHOP)
    allowed = ["https://intranet.example", "http://localhost:8080"]
    embedded, _, link = await make(query, embed=allowed)
    plain, _, _ = await make(query)

    async def ancestors(path: str) -> str:
        answer = await stranger(path)
        assert answer.status_code == 200
        policy: str = answer.headers["content-security-policy"]
        [found] = [one for one in policy.split("; ") if one.startswith("frame-ancestors")]
        return found

    assert await ancestors(embedded) == f"frame-ancestors {' '.join(allowed)}"
    for path in (plain, "/", f"/shared/{'0' * 16}"):
        assert await ancestors(path) == "frame-ancestors 'none'"
    await query.delete(f"{LINKS}/{link['id']}")
    assert await ancestors(embedded) == "frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"days": 0}, "days"),
        ({"days": 367}, "days"),
        ({"embed": ["https://a.example; script-src *"]}, "embed[0]"),
        ({"embed": ["*"]}, "embed[0]"),
        ({"embed": ["https://a.example/path"]}, "embed[0]"),
        ({"embed": ["javascript:alert(1)"]}, "embed[0]"),
        ({"more": 1}, ""),
    ],
)
async def test_a_link_that_cannot_be_is_refused_with_its_field(
    query: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    await query.put(f"{DASHBOARDS}/shop", json=SHOP)
    answer = await query.post(f"{DASHBOARDS}/shop/links", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"].get("field", "") == field


async def test_a_viewer_sees_links_and_makes_none(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    put(settings, query_token(VIEWER, "shop", scopes=("read",)))
    await query.put(f"{DASHBOARDS}/shop", json=SHOP)

    async def listed() -> httpx.Response:
        return await query.get(LINKS, headers=bearer(VIEWER))

    await eventually(listed, lambda now: now.status_code == 200)
    refused = await query.post(f"{DASHBOARDS}/shop/links", json={}, headers=bearer(VIEWER))
    assert refused.status_code == 403


def test_a_link_is_read_as_it_was_written() -> None:
    link = DashboardLink(
        project_id="shop",
        id="0123456789abcdef",
        digest="0123456789abcdef" * 4,
        dashboard="shop",
        created_at=1,
        expires_at=2,
        embed=("https://a.example",),
    )
    assert record_key(link) == b"shop/dashboard-link/0123456789abcdef"
    assert b"adl_" not in encode(link)
