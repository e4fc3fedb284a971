"""What a person sees of dashboards, and of the pages that administer a project."""

import http.server
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from tests.kafka import Record, produce
from tests.ports import free_port_base
from tests.processes import eventually
from tests.services.page.chromium import PACKAGES
from tests.services.page.system import TIMEOUT_S, System

PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
BUY = {
    "id": "buy",
    "name": "From view to purchase",
    "steps": [{"event": "view"}, {"event": "purchase"}],
    "window_s": 86_400,
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "funnels": BUY,
    "metrics": {"id": "active", "name": "Active", "measure": "persons", "bucket_s": 60},
    "segments": {"id": "buyers", "name": "Buyers", "rule": {"performed": {"event": "purchase"}}},
    "cohorts": {"id": "back", "name": "Came back", "start": {}, "period": "week"},
}
TILES: list[dict[str, Any]] = [
    {"kind": "funnel", "id": "f", "funnel": "buy"},
    {"kind": "active", "id": "a", "metric": "active", "height": 1},
    {"kind": "segment", "id": "s", "segment": "buyers", "width": 1, "height": 1},
    {
        "kind": "number",
        "id": "n",
        "title": "Views",
        "width": 1,
        "height": 1,
        "query": {"series": [{"event": "view"}], "compare": True},
    },
    {"kind": "cohort", "id": "c", "cohort": "back"},
    {"kind": "feed", "id": "feed"},
    {"kind": "top", "id": "t", "title": "Top events", "query": {}},
    {"kind": "trend", "id": "trend", "title": "Views by day", "query": {"series": [{}]}},
    {"kind": "query", "id": "q", "title": "Funnel table", "of": "values", "query": {}},
    {
        "kind": "text",
        "id": "note",
        "title": "Note",
        "text": "Sold since <b>spring</b>",
        "height": 1,
    },
]

Open = Callable[..., Page]


def is_live(system: System, path: str) -> bool:
    return bool(system.ask(path)["state"] == "live")


@pytest.fixture
def shop(system: System) -> str:
    """A project of the test's own, in which all that tiles show is defined and live."""
    project = f"shop-{uuid.uuid4().hex[:8]}"
    for plural, body in DEFINITIONS.items():
        system.ask(f"{project}/{plural}", body)
    for plural, body in DEFINITIONS.items():
        path = f"{project}/{plural}/{body['id']}/status"
        assert eventually(partial(is_live, system, path), TIMEOUT_S)
    return project


@pytest.fixture
def open_page(system: System, browser: Browser) -> Iterator[Open]:
    """Sign in, and open an address in a window of its own; nothing may be logged as an error."""
    contexts = []
    troubles: list[str] = []

    def open_page(place: str, *, signed_in: bool = True, **options: Any) -> Page:
        context = browser.new_context(base_url=system.address, **{"locale": "en-GB"} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(place)
        if signed_in:
            page.locator("input[name=token]").fill(system.token)
            page.keyboard.press("Enter")
            page.get_by_role("main").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def event(name: str, person: str, **properties: Any) -> dict[str, Any]:
    return {"event": name, "distinct_id": person, "properties": properties}


def put(system: System, project: str, name: str, body: dict[str, Any]) -> Any:
    return system.change("PUT", f"{project}/dashboards/{name}", body)


def tile(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True).first


def order(page: Page) -> list[str]:
    names: list[str] = page.locator("[data-tile]").evaluate_all(
        "all => all.map(one => one.dataset.tile)"
    )
    return names


def test_every_tile_shows_its_figures_and_moves_by_itself(
    system: System, open_page: Open, shop: str
) -> None:
    put(system, shop, "all", {"name": "All tiles", "tiles": TILES})
    system.send(shop, event("view", "ada"), event("view", "bob"), event("purchase", "ada"))
    page = open_page(f"/#/{shop}/dashboards/all")
    bars = tile(page, "From view to purchase").locator(".bar-count")
    expect(bars).to_have_text(["2", "1"])
    expect(tile(page, "Active").locator("dd")).to_have_text(["2", "2", "2"])
    expect(tile(page, "Buyers").locator(".big")).to_have_text("1")
    expect(tile(page, "Views").locator(".big")).to_have_text("2")
    expect(tile(page, "Views")).to_contain_text("before: 0")
    expect(tile(page, "Came back").locator("tbody td").first).to_have_text("2")
    expect(tile(page, "Top events").locator("tbody tr")).to_have_count(2)
    expect(tile(page, "Views by day").locator("canvas")).to_be_visible()
    expect(tile(page, "Funnel table").locator("tbody tr")).to_have_count(2)
    expect(tile(page, "Note")).to_contain_text("Sold since <b>spring</b>")

    system.send(shop, event("view", "cid"), event("purchase", "cid"), event("purchase", "bob"))
    expect(bars).to_have_text(["3", "3"])
    expect(tile(page, "Active").locator("dd")).to_have_text(["3", "3", "3"])
    expect(tile(page, "Buyers").locator(".big")).to_have_text("3")
    expect(tile(page, "Views").locator(".big")).to_have_text("3")
    expect(tile(page, "Came back").locator("tbody td").first).to_have_text("3")
    expect(tile(page, "Event feed").get_by_role("listitem")).to_have_count(3)
    expect(tile(page, "Top events").locator("tbody td")).to_have_text(["3", "3"])


def test_days_and_filters_apply_to_all_tiles_that_have_them(
    system: System, open_page: Open, shop: str
) -> None:
    put(system, shop, "all", {"name": "All tiles", "tiles": TILES})
    system.send(
        shop,
        *(event("view", f"person-{n}", plan="pro" if n < 3 else "free") for n in range(10)),
        *(event("purchase", f"person-{n}", plan="pro" if n < 3 else "free") for n in range(5)),
    )
    page = open_page(f"/#/{shop}/dashboards/all")
    bars = tile(page, "From view to purchase").locator(".bar-count")
    expect(bars).to_have_text(["10", "5"])
    page.get_by_text("Filters", exact=True).click()
    page.get_by_role("button", name="Add a condition").click()
    page.get_by_label("Property", exact=True).fill("plan")
    page.get_by_label("Value").fill("pro")
    page.get_by_role("button", name="Apply filters").click()
    expect(bars).to_have_text(["3", "3"])
    expect(tile(page, "Views").locator(".big")).to_have_text("3")
    expect(tile(page, "Buyers").locator(".big")).to_have_text("3")
    expect(tile(page, "Active")).to_contain_text("do not apply to this tile")
    # Nothing is saved before it is asked for.
    assert system.ask(f"{shop}/dashboards/all")["where"] == []
    page.get_by_label("Days", exact=True).select_option("From a day to a day")
    page.get_by_label("From", exact=True).fill("2020-01-01")
    page.get_by_label("To", exact=True).fill("2020-01-02")
    expect(bars).to_have_text(["0", "0"])
    page.get_by_label("Days", exact=True).select_option("The last 7 days")
    expect(bars).to_have_text(["3", "3"])
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    saved = system.ask(f"{shop}/dashboards/all")
    assert saved["range"] == {"last_days": 7}
    assert saved["where"] == [{"property": "plan", "value": "pro"}]


def test_a_dashboard_is_built_with_a_form_and_arranged_by_drag_and_by_keys(
    system: System, open_page: Open, shop: str
) -> None:
    page = open_page(f"/#/{shop}/dashboards")
    expect(page.get_by_role("heading", name="No dashboards yet")).to_be_visible()
    page.get_by_role("button", name="New dashboard").click()
    expect(tile(page, "From view to purchase")).to_be_visible()
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Name", exact=True).fill("Morning")
    page.get_by_role("button", name="Add a tile").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Shows").select_option("Trend")
    form.get_by_label("Event", exact=True).fill("purchase")
    form.get_by_label("Title").fill("Purchases by day")
    expect(form.get_by_role("region", name="Preview").locator("canvas")).to_be_visible()
    form.get_by_role("button", name="Add a tile").click()
    expect(form).to_have_count(0)
    before = order(page)

    # By keys: one place earlier, then wider; a screen reader is told.
    handle = page.get_by_role("button", name="Move Purchases by day", exact=True)
    handle.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("[data-tile]").nth(len(before) - 2)).to_have_attribute(
        "data-tile", before[-1]
    )
    expect(handle).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    expect(page.get_by_role("status").filter(has_text="Purchases by day: place")).to_contain_text(
        "width 3, height 1"
    )
    # By drag: to the first place.
    page.locator("[data-tile]").first.scroll_into_view_if_needed()
    source = page.get_by_role(
        "button", name="Move From view to purchase", exact=True
    ).bounding_box()
    target = page.locator("[data-tile]").first.bounding_box()
    assert source is not None
    assert target is not None
    page.mouse.move(source["x"] + 5, source["y"] + 5)
    page.mouse.down()
    page.mouse.move(target["x"] + 20, target["y"] + 20, steps=8)
    page.mouse.up()
    expect(tile(page, "From view to purchase")).to_be_visible()
    arranged = order(page)
    dragged = next(
        one["id"]
        for one in system.ask(f"{shop}/dashboards/new-dashboard")["tiles"]
        if one["kind"] == "funnel"
    )
    assert arranged[0] == dragged
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Morning")).to_be_visible()
    place = f"{shop}/dashboards/new-dashboard"
    assert eventually(
        lambda: [one["id"] for one in system.ask(place)["tiles"]] == arranged, TIMEOUT_S
    )
    saved = system.ask(place)
    added = next(one for one in saved["tiles"] if one.get("title") == "Purchases by day")
    assert (added["width"], added["height"]) == (3, 1)
    assert added["query"]["series"] == [{"event": "purchase", "measure": "events"}]


def test_two_who_edit_at_once_do_not_overwrite_each_other(
    system: System, open_page: Open, shop: str
) -> None:
    put(system, shop, "all", {"name": "Ours", "tiles": TILES[:2]})
    page = open_page(f"/#/{shop}/dashboards/all")
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Name", exact=True).fill("Mine")
    put(system, shop, "all", {"name": "Theirs", "tiles": TILES[:1]})
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("all is at revision 2, not 1")
    assert system.ask(f"{shop}/dashboards/all")["name"] == "Theirs"
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="Theirs")).to_be_visible()


def test_a_link_shows_the_dashboard_to_a_stranger_until_it_is_revoked(
    system: System, open_page: Open, shop: str
) -> None:
    put(system, shop, "all", {"name": "For the board", "tiles": TILES})
    system.send(shop, event("view", "ada"), event("purchase", "ada", card="4111"))
    page = open_page(f"/#/{shop}/dashboards/all")
    page.get_by_role("button", name="Share").click()
    page.get_by_label("For whom").fill("Investors")
    page.get_by_role("button", name="Make a link").click()
    whole = page.get_by_label("Address").input_value()
    assert whole.startswith(f"{system.address}/shared/")
    assert "#adl_" in whole

    stranger = open_page(whole, signed_in=False)
    expect(stranger.get_by_role("heading", name="For the board")).to_be_visible()
    bars = tile(stranger, "From view to purchase").locator(".bar-count")
    expect(bars).to_have_text(["1", "1"])
    expect(tile(stranger, "Event feed").get_by_role("listitem")).to_have_count(2)
    body = stranger.locator("body").inner_text()
    assert "ada" not in body
    assert "4111" not in body
    assert stranger.context.cookies() == []
    expect(stranger.get_by_role("navigation")).to_have_count(0)
    system.send(shop, event("view", "bob"))
    expect(bars).to_have_text(["2", "1"])
    expect(tile(stranger, "Views").locator(".big")).to_have_text("2")

    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("No link shows this dashboard")).to_be_visible()
    expect(stranger.get_by_role("alert").first).to_contain_text("revoked")
    stranger.reload()
    expect(stranger.get_by_role("alert")).to_contain_text("has ended or was revoked")


def test_a_page_that_is_allowed_shows_the_dashboard_in_a_frame_and_another_does_not(
    system: System, open_page: Open, shop: str
) -> None:
    put(system, shop, "all", {"name": "In a frame", "tiles": TILES[:1]})
    with embedding() as (allowed, refused, show):
        made = system.ask(f"{shop}/dashboards/all/links", {"embed": [allowed]})
        show(f'<iframe src="{system.address}{made["path"]}" width="900" height="700"></iframe>')
        page = open_page(allowed, signed_in=False)
        framed = page.frame_locator("iframe")
        expect(framed.get_by_role("heading", name="In a frame")).to_be_visible()
        expect(framed.locator(".bar-count").first).to_have_text("0")
        other = open_page(refused, signed_in=False)
        other.wait_for_load_state("load")
        assert [frame.url for frame in other.frames if "/shared/" in frame.url] == []


class embedding:  # noqa: N801 (a context manager that is used as a function)
    """Serve one document on two ports of `localhost`, which are two origins."""

    def __init__(self) -> None:
        self._body = b""
        base = free_port_base()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(outer._body)

            def log_message(self, *_: object) -> None:
                pass

        self._servers = [
            http.server.ThreadingHTTPServer(("127.0.0.1", base + number), Handler)
            for number in range(2)
        ]

    def _show(self, body: str) -> None:
        self._body = body.encode()

    def __enter__(self) -> tuple[str, str, Callable[[str], None]]:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        first, second = (f"http://localhost:{one.server_address[1]}" for one in self._servers)
        return first, second, self._show

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def test_an_exported_dashboard_is_imported_into_another_project(
    system: System, open_page: Open, shop: str, tmp_path: Path
) -> None:
    scope = {"range": {"last_days": 30}, "where": [{"property": "plan", "value": "pro"}]}
    put(system, shop, "all", {"name": "Taken along", "tiles": TILES, **scope})
    page = open_page(f"/#/{shop}/dashboards/all")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / "all.json"
    download.value.save_as(file)
    assert json.loads(file.read_text())["name"] == "Taken along"
    other = f"other-{uuid.uuid4().hex[:8]}"
    page.goto(f"/#/{other}/dashboards")
    page.get_by_label("Import").set_input_files(file)
    expect(page.get_by_role("heading", name="Taken along")).to_be_visible()
    [imported] = system.ask(f"{other}/dashboards")["dashboards"]
    original = system.ask(f"{shop}/dashboards/all")
    for part in ("name", "tiles", "range", "where"):
        assert imported[part] == original[part]


@pytest.mark.parametrize("look", ["wide", "phone", "dark", "portuguese"])
def test_dashboards_fit_every_screen_and_axe_finds_nothing_serious(
    system: System, open_page: Open, shop: str, look: str
) -> None:
    put(system, shop, "all", {"name": "All tiles", "tiles": TILES})
    system.send(shop, event("view", "ada"), event("purchase", "ada"))
    made = system.ask(f"{shop}/dashboards/all/links", {})
    options: dict[str, dict[str, Any]] = {
        "wide": {"viewport": {"width": 1_440, "height": 900}},
        "phone": {"viewport": {"width": 375, "height": 800}},
        "dark": {"color_scheme": "dark"},
        "portuguese": {"locale": "pt-BR"},
    }
    # The policy is set aside only to look at the page with axe's script.
    page = open_page(f"/#/{shop}/dashboards/all", bypass_csp=True, **options[look])
    seen = open_page(made["path"], signed_in=False, bypass_csp=True, **options[look])
    if look == "portuguese":
        expect(page.get_by_role("button", name="Compartilhar")).to_be_visible()
    page.get_by_role("button", name=re.compile("^(Edit|Editar)$")).click()
    for shown in (page, seen):
        expect(tile(shown, "From view to purchase").locator(".bar-count")).to_have_text(["1", "1"])
        expect(tile(shown, "Views").locator(".big")).to_have_text("1")
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert serious(shown) == []


def serious(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical."""
    page.add_script_tag(path=PACKAGES / "node_modules/axe-core/axe.min.js")
    found: list[str] = page.evaluate(
        """async () => (await axe.run()).violations
            .filter(one => ['serious', 'critical'].includes(one.impact))
            .flatMap(one => one.nodes.map(node => `${one.id}: ${node.html}`))"""
    )
    return found


def test_an_administrator_makes_a_key_and_a_token_sees_it_once_and_revokes_it(
    system: System, open_page: Open, browser: Browser, shop: str
) -> None:
    page = open_page(f"/#/{shop}/keys")
    keys = page.get_by_role("region", name="Write keys").first
    keys.get_by_label("What for").fill("the web shop")
    keys.get_by_role("button", name="Make a write key").click()
    row = keys.get_by_role("row", name="the web shop")
    expect(row.locator("code")).to_have_text(re.compile("^awk_"))
    key = row.locator("code").inner_text()
    assert [one["id"] for one in system.ask(f"{shop}/write-keys")["keys"]] == [key]

    tokens = page.get_by_role("region", name="Query tokens").first
    tokens.get_by_label("What for").fill("the board")
    tokens.get_by_label("Role").select_option("Viewer")
    tokens.get_by_role("button", name="Make a token").click()
    text = page.get_by_label("Query token", exact=True).input_value()
    assert text.startswith("aqt_")

    context = browser.new_context(base_url=system.address, locale="en-GB")
    viewer = context.new_page()
    viewer.goto(f"/#/{shop}/keys")
    viewer.locator("input[name=token]").fill(text)
    viewer.keyboard.press("Enter")
    expect(viewer.get_by_role("heading", name="Only administrators")).to_be_visible()
    page.reload()
    made = page.get_by_role("row", name="the board")
    expect(made.get_by_role("cell").nth(4)).to_have_text("1")
    expect(page.get_by_text(text)).to_have_count(0)
    made.get_by_role("button", name="Revoke").click()
    made.get_by_role("button", name="Revoke: are you sure?").click()
    expect(page.get_by_role("row", name="the board")).to_have_count(0)
    expect(viewer.get_by_role("heading", name="Sign in to Avila")).to_be_visible()
    context.close()
    row.get_by_role("button", name="Revoke").click()
    row.get_by_role("button", name="Revoke: are you sure?").click()
    expect(keys.get_by_text("No key sends events")).to_be_visible()
    assert serious_of(page) == []


def serious_of(page: Page) -> list[str]:
    """What axe-core finds, in a window of the same page without its policy."""
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(
        bypass_csp=True, locale="en-GB", storage_state=page.context.storage_state()
    )
    try:
        other = context.new_page()
        other.set_default_timeout(PATIENCE_MS)
        other.goto(page.url)
        other.get_by_role("heading", level=1).wait_for()
        return serious(other)
    finally:
        context.close()


def test_a_plan_is_tried_on_the_past_and_what_it_would_drop_is_said_in_a_sentence(
    system: System, open_page: Open, shop: str
) -> None:
    system.send(
        shop,
        *(event("purchase", f"p-{n}", amount=n, app_version="3.1") for n in range(31)),
        event("purchase", "old", app_version="2.9"),
        event("purchase", "old", app_version="2.9"),
    )
    values = f"{shop}/query/values"
    assert eventually(lambda: purchases(system, values) == 33, TIMEOUT_S)
    page = open_page(f"/#/{shop}/plans")
    page.get_by_role("link", name="New plan").click()
    page.get_by_label("Name of the event").fill("purchase")
    page.get_by_role("button", name="Try it on the past").click()
    verdict = page.get_by_role("region", name="What it would have done")
    expect(verdict.get_by_role("status")).to_have_text(
        "6.1% of the last 7 days would be dropped: 2 of 33 events. "
        "All of them have app_version = 2.9."
    )
    expect(verdict.locator("tbody tr")).to_have_text(
        ["properties.amountis missing; it is required2"]
    )
    page.get_by_label("JSON Schema").fill("{")
    page.get_by_role("button", name="Try it on the past").click()
    expect(page.get_by_role("alert")).to_have_text("The schema is not JSON.")
    page.get_by_label("JSON Schema").fill('{"required": ["amount"]}')
    page.get_by_label("What it does").select_option("Drop events that do not satisfy it")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="purchase")).to_be_visible()
    [plan] = system.ask(f"{shop}/plans")["plans"]
    assert (plan["mode"], plan["schema"]) == ("enforce", {"required": ["amount"]})
    assert serious_of(page) == []


def purchases(system: System, path: str) -> int:
    found = system.ask(path, {})["values"]
    return sum(int(one["events"]) for one in found if one["value"] == "purchase")


def test_rejected_records_are_sent_again_after_what_was_wrong_is_mended(
    system: System, open_page: Open, shop: str
) -> None:
    """A producer wrote events with a schema that nobody has registered, until somebody does."""
    settings = system.settings
    topic = settings.topics.inbox.name
    schema = load("event")
    with closing(Registry(settings.bootstrap)) as registry:
        known = registry.register(value_subject(topic), schema)
    unknown = 4_000_000
    fields = {"project_id": shop, "event": "purchase", "timestamp": time.time_ns() // 1_000_000}
    [value] = Encoder(schema, known).encode_records([{**fields, "distinct_id": "eve"}])
    lost = b"\0" + unknown.to_bytes(4, "big") + value[5:]
    produce(settings.bootstrap, topic, [Record(lost, f"{shop}:eve".encode())])
    page = open_page(f"/#/{shop}/rejected")
    card = page.locator("section.card").first
    expect(card.get_by_role("button", name="Send again")).to_be_visible()
    card.get_by_role("button", name="Send again").click()
    card.get_by_role("button", name="Send 1 records again").click()
    expect(card.get_by_role("status")).to_contain_text("1 records were sent again")
    expect(card.locator("header")).to_contain_text("2, the last")
    assert system.ask(f"{shop}/funnels/buy/results")["totals"]["steps"][1]["reached"] == 0
