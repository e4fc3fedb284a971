"""What a person is told by alerts and subscriptions, and sees of them on the page."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.processes import eventually
from tests.services.page.chromium import PACKAGES
from tests.services.page.receiver import Receiver, receiving
from tests.services.page.system import TIMEOUT_S, Open, System, await_state, event

BUYERS = {
    "id": "buyers",
    "name": "Buyers",
    "rule": {"performed": {"event": "purchase", "within_s": 86_400}},
}
BAD = "<img src=x onerror='window.stolen=1'>"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def shop(system: System, project: str) -> str:
    """The project, with a live segment that nobody is in."""
    system.ask(f"{project}/segments", BUYERS)
    await_state(system, f"{project}/segments/buyers", "live")
    return project


def subscribe(system: System, project: str, receiver: Receiver, **more: Any) -> None:
    system.ask(
        f"{project}/subscriptions",
        {"id": "ops", "name": "Ops", "destination": {"type": "webhook", "url": receiver.url}}
        | more,
    )


def badge(page: Page) -> Any:
    return page.locator(".head .badge")


def test_an_alert_is_built_fires_tells_a_receiver_and_its_incident_closes(
    system: System, open_page: Open, shop: str, receiver: Receiver
) -> None:
    subscribe(system, shop, receiver)
    page = open_page(f"{shop}/alerts")
    expect(page.get_by_text("No alerts yet")).to_be_visible()
    page.get_by_role("link", name="New alert").click()
    page.get_by_label("Name", exact=True).fill("Somebody buys")
    page.get_by_label("Kind", exact=True).select_option("segment")
    expect(page.get_by_label("Which one")).to_have_value("buyers")
    page.get_by_label("Comparison").select_option("gte")
    page.get_by_label("Threshold").fill("2")
    page.get_by_label("Measure every", exact=True).fill("1")
    page.get_by_label("Measure every: unit").select_option("seconds")
    page.get_by_label("Ops").check()
    page.get_by_role("button", name="Create alert").click()

    expect(page.get_by_role("heading", name="Somebody buys")).to_be_visible()
    expect(badge(page)).to_have_text("In order")
    expect(page.locator(".head .note")).to_contain_text("persons in Buyers is at least 2")
    made = system.ask(f"{shop}/alerts/somebody-buys")
    assert made["condition"] == {"op": "gte", "value": 2.0}
    assert (made["every_s"], made["notify"]) == (1, ["ops"])
    expect(page.get_by_text("Nothing has happened yet.")).to_be_visible()

    system.send(shop, event("purchase", "ada"), event("purchase", "bob"))
    expect(badge(page)).to_have_text("Firing")
    incidents = page.get_by_role("region", name="Incidents").first
    expect(incidents.locator(".badge")).to_have_text(["Open"])
    assert eventually(lambda: receiver.types() == ["incident.opened"], TIMEOUT_S)

    page.get_by_role("link", name="Edit").click()
    expect(page.get_by_label("Threshold")).to_have_value("2")
    page.get_by_label("Threshold").fill("3")
    page.get_by_role("button", name="Save").click()
    expect(badge(page)).to_have_text("In order")
    expect(incidents.locator(".badge")).to_have_text(["Closed"])
    expect(incidents).to_contain_text(re.compile(r"from .* to "))
    assert eventually(lambda: receiver.types() == ["incident.opened", "incident.closed"], TIMEOUT_S)

    page.get_by_role("button", name="Pause").click()
    expect(badge(page)).to_have_text("Paused")
    page.get_by_role("link", name="Back").click()
    expect(page.locator("tbody tr").first).to_contain_text("Somebody buys")
    expect(page.locator("tbody .badge").first).to_have_text("Paused")
    expect(page.get_by_role("region", name="Incidents").first).to_contain_text("Closed")


def test_an_alert_without_a_figure_says_that_there_is_no_data(
    system: System, open_page: Open, shop: str
) -> None:
    system.ask(
        f"{shop}/alerts",
        {
            "id": "few",
            "measure": {"type": "query", "query": {"series": [{"event": "buy"}]}, "window_s": 60},
            "condition": {"op": "lt", "value": 1},
            "every_s": 10,
            "min_sample": 5,
        },
    )
    page = open_page(f"{shop}/alerts")
    expect(page.locator("tbody .badge").first).to_have_text("No data")
    page.get_by_role("link", name="few").click()
    expect(page.get_by_text("it was of too few events")).to_be_visible()


def test_the_form_of_an_alert_keeps_a_share_a_change_and_a_query_as_they_are(
    system: System, open_page: Open, shop: str
) -> None:
    drop: dict[str, Any] = {
        "name": "Drop",
        "measure": {
            "type": "query",
            "query": {"series": [{"event": "view", "measure": "persons"}]},
            "window_s": 5_400,
        },
        "condition": {"op": "lte", "value": -0.2},
        "compare": "week",
        "relative": True,
        "pending_s": 90,
        "keep_firing_s": 3_600,
        "no_data": "ok",
        "min_sample": 7,
        "wait_complete": True,
        "severity": "critical",
    }
    formula = {
        "measure": {
            "type": "query",
            "query": {
                "series": [{"event": "view"}, {"event": "purchase"}],
                "formulas": [{"formula": "B / A"}],
            },
            "window_s": 600,
        },
        "condition": {"op": "lt", "value": 0.01},
    }
    for name, body in (("drop", drop), ("formula", formula)):
        before = system.ask(f"{shop}/alerts", {"id": name} | body)
        page = open_page(f"{shop}/alerts/{name}/edit")
        if name == "drop":
            expect(page.get_by_label("Threshold, %")).to_have_value("-20")
            expect(page.get_by_label("In the last", exact=True)).to_have_value("90")
        page.get_by_label("Name", exact=True).fill("Renamed")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="Renamed")).to_be_visible()
        after = system.ask(f"{shop}/alerts/{name}")
        changed = {"name", "revision", "updated_at"}
        assert {key for key in after if after[key] != before[key]} == changed


def test_a_webhook_is_defined_tested_its_secret_replaced_and_dead_messages_are_sent_again(
    system: System, open_page: Open, shop: str, receiver: Receiver
) -> None:
    page = open_page(f"{shop}/subscriptions")
    expect(page.get_by_text("Nobody is told yet")).to_be_visible()
    page.get_by_role("link", name="New subscription").click()
    page.get_by_label("Name", exact=True).fill("Shop floor")
    address = page.get_by_label("Address")
    address.fill("javascript:alert(1)")
    page.get_by_label("Event 1", exact=True).select_option("segment.entered")
    page.get_by_label("Of which one, event 1").select_option("buyers")
    page.get_by_role("button", name="Create subscription").click()
    expect(page.get_by_role("alert")).to_contain_text("destination.url: accepted is an address")
    address.fill(receiver.url)
    page.get_by_role("button", name="Create subscription").click()
    expect(page.get_by_role("heading", name="Shop floor")).to_be_visible()
    made = system.ask(f"{shop}/subscriptions/shop-floor")
    assert made["events"] == [{"type": "segment.entered", "id": "buyers"}]

    deliveries = page.get_by_role("region", name="Deliveries")
    expect(deliveries).to_contain_text("Nothing has been sent yet")
    receiver.status = 500
    deliveries.get_by_role("button", name="Send a test message").click()
    expect(deliveries).to_contain_text("The test message is on its way.")
    expect(deliveries.locator("tbody tr").first).to_contain_text("500")
    expect(badge(page)).to_have_text("Failing")
    receiver.status = 204
    expect(badge(page)).to_have_text("In order")
    expect(deliveries.locator("tbody tr").first).to_contain_text("taken (204")
    system.send(shop, event("purchase", "ada"))
    assert eventually(lambda: receiver.types()[-1] == "segment.entered", TIMEOUT_S)

    secret = page.get_by_role("region", name="Secret")
    secret.get_by_role("button", name="Show the secret").click()
    first = secret.get_by_label("Secret now").input_value()
    assert first.startswith("whsec_")
    secret.get_by_role("button", name="New secret").click()
    secret.get_by_role("button", name="Replace the secret").click()
    expect(secret.get_by_label("Secret before")).to_have_value(first)
    assert secret.get_by_label("Secret now").input_value() != first

    taken = len(receiver.received)
    deliveries.get_by_role("button", name="Send again").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("All messages of the last seven days").check()
    dialog.get_by_role("button", name="Send again").click()
    expect(deliveries).to_contain_text("The messages are being queued again.")
    assert eventually(lambda: len(receiver.received) == taken + 2, TIMEOUT_S)

    page.get_by_role("link", name="Edit").click()
    page.get_by_role("button", name="Add an event").click()
    page.get_by_label("Event 2", exact=True).select_option("incident.opened")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("main p", has_text="incident opened")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete Shop floor").click()
    expect(page.get_by_text("Nobody is told yet")).to_be_visible()


def test_a_viewer_sees_alerts_and_no_address_of_a_receiver(
    system: System, open_page: Open, shop: str, receiver: Receiver
) -> None:
    subscribe(system, shop, receiver)
    page = open_page(f"{shop}/alerts")
    page.route(
        "**/session",
        lambda route: (
            route.fulfill(json=as_viewer(route.fetch().json()))
            if route.request.method == "GET"
            else route.continue_()
        ),
    )
    page.reload()
    expect(page.get_by_text("No alerts yet")).to_be_visible()
    expect(page.get_by_role("link", name="New alert")).to_have_count(0)
    page.goto(f"/#/{shop}/subscriptions")
    expect(page.get_by_text("Editors see subscriptions")).to_be_visible()
    assert receiver.url not in page.content()


def as_viewer(session: dict[str, Any]) -> dict[str, Any]:
    granted = {"role": "viewer", "scopes": ["read"]}
    grants = [one | granted for one in session["session"]["grants"]]
    return session | {"session": session["session"] | granted | {"grants": grants}}


@pytest.fixture(scope="module")
def furnished(system: System) -> Iterator[str]:
    """A project with alerts and a subscription whose names look like markup."""
    project = f"furnished-{uuid.uuid4().hex[:8]}"
    system.ask(f"{project}/segments", BUYERS)
    await_state(system, f"{project}/segments/buyers", "live")
    with receiving() as receiver:
        subscribe(system, project, receiver, name=BAD)
        size = {"type": "segment", "segment": "buyers"}
        for name, op in (("quiet", "lt"), ("busy", "gt")):
            system.ask(
                f"{project}/alerts",
                {
                    "id": name,
                    "name": BAD,
                    "measure": size,
                    "condition": {"op": op, "value": 1},
                    "every_s": 1,
                    "notify": ["ops"],
                },
            )
        found = f"{project}/alerts/quiet/incidents"
        assert eventually(lambda: bool(system.ask(found)["incidents"]), TIMEOUT_S)
        yield project


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_alerts_and_subscriptions_fit_and_shut_nobody_out_and_names_are_text(
    open_page: Open, furnished: str, theme: str, width: int
) -> None:
    page = open_page(
        f"{furnished}/overview",
        viewport={"width": width, "height": 800},
        color_scheme=theme,
        locale="pt-BR" if theme == "dark" else "en-GB",
        reduced_motion="reduce",
        bypass_csp=True,  # only to look at the page with axe's script
    )
    page.add_script_tag(path=PACKAGES / "node_modules/axe-core/axe.min.js")
    places = (
        "alerts",
        "alerts/quiet",
        "alerts/quiet/edit",
        "alerts/+new",
        "subscriptions",
        "subscriptions/ops",
        "subscriptions/ops/edit",
        "subscriptions/+new",
    )
    for place in places:
        page.goto(f"/#/{furnished}/{place}")
        expect(page.locator("main h1")).to_be_visible()
        expect(page.locator(".loading")).to_have_count(0)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, (place, wide)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
            for one in result["violations"]
            if one["impact"] in {"serious", "critical"}
        ]
        assert serious == [], (place, json.dumps(serious, indent=1))
    assert page.locator("main img").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    assert page.evaluate("window.stolen") is None
