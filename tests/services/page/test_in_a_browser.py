"""What a person sees of a whole system in a real browser, and how soon."""

import json
from statistics import median
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.processes import eventually
from tests.services.page.chromium import PACKAGES
from tests.services.page.system import (
    PATIENCE_MS,
    TIMEOUT_S,
    Open,
    System,
    await_state,
    event,
)

BUY = {
    "id": "buy",
    "name": "From view to purchase",
    "steps": [{"event": "view"}, {"event": "purchase"}],
    "window_s": 86_400,
}
PAGES = (
    "overview",
    "funnels",
    "funnels/buy",
    "funnels/+new",
    "segments",
    "segments/buyers",
    "segments/+new",
    "cohorts",
    "cohorts/back",
    "cohorts/+new",
    "metrics",
    "metrics/events",
    "metrics/events/edit",
    "metrics/+new",
    "predictions",
    "predictions/soon",
    "predictions/+new",
    "explore/trends",
    "explore/funnel",
    "explore/cohort",
    "explore/lifecycle",
    "explore/stickiness",
    "explore/paths",
    "explore/sessions",
    "explore/segment",
    "explore/events",
    "persons",
    "persons/person-1",
    "persons/person-1/buy",
    "feed",
    "definitions",
    "rejected",
    "system",
    "sessions",
)


@pytest.fixture
def shop(system: System, project: str) -> str:
    """The project, in which a funnel is defined and live."""
    system.ask(f"{project}/funnels", BUY)
    await_state(system, f"{project}/funnels/buy", "live")
    return project


def sees(page: Page, text: str) -> None:
    expect(page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MS)


def counts(page: Page) -> list[str]:
    return page.locator(".bars .bar-count").all_inner_texts()


def await_counts(page: Page, *numbers: str) -> None:
    expect(page.locator(".bars .bar-count")).to_have_text(list(numbers))


def test_a_purchase_of_another_process_moves_the_funnel_within_a_second(
    system: System, open_page: Open, shop: str
) -> None:
    page = open_page(f"{shop}/funnels/buy")
    await_counts(page, "0", "0")
    took = []
    for number in range(1, 6):
        person = f"person-{number}"
        system.send(shop, event("view", person))
        await_counts(page, str(number), str(number - 1))
        page.evaluate(
            """(awaited) => {
                const bar = () => document.querySelectorAll('.bars .bar-count')[1]?.textContent;
                window.seen = new Promise((resolve) => {
                    const look = () => bar() === awaited
                        ? resolve(Date.now()) : requestAnimationFrame(look);
                    look();
                });
            }""",
            str(number),
        )
        acknowledged = system.send(shop, event("purchase", person))
        took.append(page.evaluate("window.seen") / 1_000 - acknowledged)
    assert median(took) < 1.0, took
    stored = system.ask(f"{shop}/funnels/buy/results")["totals"]["steps"]
    assert counts(page) == [str(step["reached"]) for step in stored] == ["5", "5"]


def test_a_funnel_is_built_saved_and_shows_its_backfill_and_the_persons_behind_a_bar(
    system: System, open_page: Open, project: str
) -> None:
    system.send(
        project,
        *(event("view", f"person-{n}", plan="pro" if n % 2 else "free") for n in range(40)),
        *(event("purchase", f"person-{n}", price=n) for n in range(20)),
    )
    page = open_page(f"{project}/funnels")
    page.get_by_role("link", name="New funnel").click()
    page.get_by_label("Name", exact=True).fill("Dear purchases")
    page.get_by_label("Event of step 1").fill("view")
    page.get_by_label("Event of step 2").fill("purchase")
    page.get_by_role("button", name="Add a condition").nth(1).click()
    page.get_by_label("Property", exact=True).fill("price")
    page.get_by_label("Comparison").select_option("gte")
    page.get_by_label("Value").fill("10")
    page.get_by_label("Break down by property").fill("plan")
    page.evaluate(
        """() => new MutationObserver(() => {
            if (document.querySelector('.badge.backfilling')) window.backfilled = true;
        }).observe(document.body, {childList: true, subtree: true, characterData: true})"""
    )
    page.get_by_role("button", name="Create funnel").click()
    expect(page.get_by_role("heading", name="Dear purchases")).to_be_visible()
    await_counts(page, "40", "10")
    expect(page.locator(".head .badge")).to_have_text("Live")
    assert page.evaluate("window.backfilled")
    made = system.ask(f"{project}/funnels/dear-purchases")
    assert made["steps"][1]["where"] == [{"property": "price", "op": "gte", "value": 10}]
    sees(page, "By plan")

    results = f"{project}/funnels/dear-purchases/results"
    totals = system.ask(results)["totals"]
    assert eventually(lambda: system.ask(f"{results}?source=store")["totals"] == totals, TIMEOUT_S)
    page.get_by_role("button", name="purchase: show the 10 persons").click()
    names = page.get_by_role("dialog").get_by_role("listitem")
    expect(names).to_have_text([f"person-{n}" for n in range(10, 20)])
    page.get_by_role("button", name="Dropped out").click()
    expect(names).to_have_count(30)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Value").fill("15")
    page.get_by_role("button", name="Save").click()
    await_counts(page, "40", "5")


def test_a_wrong_token_is_refused_and_signing_out_leaves_nothing_to_see(
    system: System, open_page: Open, browser: Browser, shop: str
) -> None:
    context = browser.new_context(base_url=system.address, locale="en-GB")
    stranger = context.new_page()
    stranger.goto("/")
    stranger.locator("input[name=token]").fill("aqt_wrong")
    stranger.get_by_role("button", name="Sign in").click()
    expect(stranger.get_by_role("alert")).to_contain_text("unknown, was revoked or has expired")
    context.close()

    page = open_page(f"{shop}/funnels")
    cookies = page.context.cookies()
    assert [(one["httpOnly"], one["secure"], one["sameSite"]) for one in cookies] == [
        (True, True, "Strict")
    ]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to Avila")).to_be_visible()
    assert page.context.cookies() == []
    page.reload()
    expect(page.get_by_role("heading", name="Sign in to Avila")).to_be_visible()


def test_a_session_that_is_ended_elsewhere_is_out_at_once(open_page: Open, shop: str) -> None:
    page, other = open_page(f"{shop}/overview"), open_page(f"{shop}/sessions")
    others = other.locator("tbody tr", has_not_text="this one")
    expect(others.first).to_be_visible()
    while left := others.count():
        others.first.get_by_role("button", name="End").click()
        expect(others).to_have_count(left - 1)
    expect(page.get_by_role("heading", name="Sign in to Avila")).to_be_visible()


def test_a_new_project_is_shown_how_to_send_an_event_and_sees_it_arrive(
    system: System, open_page: Open, project: str
) -> None:
    page = open_page(f"{project}/overview")
    sees(page, "Waiting for the first event…")
    assert "awk_YOUR_WRITE_KEY" in page.locator("pre").nth(1).inner_text()
    expect(page.locator(".mark.on").last).to_be_visible()
    system.send(project, event("signup", "ada", plan="pro"))
    sees(page, "Your first event is here")
    expect(page.get_by_text("signup", exact=True)).to_be_visible()
    page.get_by_role("button", name="Create the basics").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page.get_by_role("link", name="Weekly retention")).to_be_visible()


def test_a_killed_worker_is_said_with_the_age_of_the_figures_and_they_go_on_after_it(
    system: System, open_page: Open, shop: str
) -> None:
    system.send(shop, event("view", "ada"))
    page = open_page(f"{shop}/funnels/buy")
    await_counts(page, "1", "0")
    expect(page.locator(".away")).to_have_count(0)
    system.child("faust", "worker").kill()
    sees(page, "The worker is away")
    expect(page.locator(".away")).to_contain_text("Figures are as of")
    expect(page.locator(".mark.on")).to_have_count(0)
    system.send(shop, event("purchase", "ada"))
    await_counts(page, "1", "1")
    expect(page.locator(".away")).to_have_count(0)


def test_a_killed_service_is_said_and_what_came_meanwhile_is_caught_up(
    system: System, open_page: Open, shop: str
) -> None:
    page = open_page(f"{shop}/funnels/buy")
    await_counts(page, "0", "0")
    system.child("services", "query").kill()
    expect(page.locator(".away")).to_be_visible(timeout=PATIENCE_MS)
    system.send(shop, event("view", "ada"), event("purchase", "ada"))
    await_counts(page, "1", "1")
    expect(page.locator(".away")).to_have_count(0)


def test_a_tab_that_was_hidden_catches_up_when_it_is_shown(
    system: System, open_page: Open, shop: str
) -> None:
    page = open_page(f"{shop}/funnels/buy")
    await_counts(page, "0", "0")
    hide = """(hidden) => {
        Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    system.send(shop, event("view", "ada"), event("purchase", "ada"))
    live = f"{shop}/funnels/buy/results"
    assert eventually(lambda: system.ask(live)["totals"]["steps"][1]["reached"] == 1, TIMEOUT_S)
    assert counts(page) == ["0", "0"]
    page.evaluate(hide, False)
    await_counts(page, "1", "1")


def test_the_feed_pauses_and_filters(system: System, open_page: Open, project: str) -> None:
    page = open_page(f"{project}/feed")
    expect(page.locator(".mark.on").last).to_be_visible()
    rows = page.locator(".feed li")
    system.send(project, event("view", "ada"), event("purchase", "bob", plan="pro"))
    expect(rows).to_have_count(2)
    page.get_by_role("searchbox").fill("PRO")
    expect(rows).to_have_count(1)
    page.get_by_role("searchbox").fill("")
    page.get_by_role("button", name="Pause").click()
    system.send(project, event("view", "eve"))
    sees(page, "Paused: 1 events came since.")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Resume").click()
    expect(rows).to_have_count(3)


def test_what_events_say_is_text_whatever_it_looks_like(
    system: System, open_page: Open, project: str
) -> None:
    bad = "<img src=x onerror='window.stolen=1'>"
    page = open_page(f"{project}/feed")
    expect(page.locator(".mark.on").last).to_be_visible()
    system.ask(
        f"{project}/funnels",
        {"id": "bad", "name": bad, "steps": [{"event": bad}, {"event": "javascript:alert(1)"}]},
    )
    system.send(project, event(bad, bad, **{bad: bad, "url": "javascript:alert(1)"}))
    expect(page.locator(".feed b")).to_have_text(bad)
    for place in ("funnels/bad", "overview", "definitions", "funnels"):
        page.goto(f"/#/{project}/{place}")
        expect(page.get_by_text(bad).first).to_be_visible()
    assert page.locator("main img").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    assert page.evaluate("window.stolen") is None


def test_everything_can_be_done_by_the_keyboard_alone(
    system: System, open_page: Open, project: str
) -> None:
    def reach(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                """() => { const one = document.activeElement;
                    return one.getAttribute('aria-label') || one.closest('label')?.innerText
                        || one.innerText || ''; }"""
            )
            if focused.strip().startswith(name):
                return
        raise AssertionError(f"{name} cannot be reached")

    page = open_page(f"{project}/overview")
    reach("Funnels")
    page.keyboard.press("Enter")
    reach("New funnel")
    page.keyboard.press("Enter")
    reach("Name")
    page.keyboard.type("By keyboard")
    reach("Event of step 1")
    page.keyboard.type("view")
    reach("Event of step 2")
    page.keyboard.type("purchase")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="By keyboard")).to_be_visible()
    assert system.ask(f"{project}/funnels/by-keyboard")["steps"][0]["event"] == "view"


def test_the_page_speaks_portuguese_to_who_does_and_remembers_another_choice(
    open_page: Open, shop: str
) -> None:
    page = open_page(f"{shop}/funnels/buy", locale="pt-BR")
    expect(page.locator(".head .note")).to_contain_text("em até 24 h · etapas em ordem")
    assert page.evaluate("document.documentElement.lang") == "pt"
    page.get_by_role("button", name="English").click()
    page.reload()
    expect(page.locator(".head .note")).to_contain_text("within 24 h · steps in order")


def test_the_name_of_a_language_that_nothing_formats_shuts_nobody_out(
    open_page: Open, shop: str
) -> None:
    page = open_page(f"{shop}/funnels/buy")
    page.add_init_script(
        "Object.defineProperty(navigator, 'languages', {get: () => ['en-US@posix', 'en']})"
    )
    page.reload()
    expect(page.locator(".head .note")).to_contain_text("within 24 h · steps in order")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_no_page_is_too_wide_or_shuts_anybody_out(
    open_page: Open, furnished: str, theme: str, width: int
) -> None:
    page = open_page(
        f"{furnished}/overview",
        viewport={"width": width, "height": 800},
        color_scheme=theme,
        reduced_motion="reduce",
        bypass_csp=True,  # only to look at the page with axe's script
    )
    page.add_script_tag(path=PACKAGES / "node_modules/axe-core/axe.min.js")
    found = {}
    for place in PAGES:
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
        if serious:
            found[place] = serious
    assert found == {}, json.dumps(found, indent=1)


@pytest.fixture(scope="module")
def furnished(system: System) -> str:
    """A project that has something of everything."""
    project = "furnished"
    define: dict[str, dict[str, Any]] = {
        "funnels": BUY,
        "segments": {
            "id": "buyers",
            "rule": {"performed": {"event": "purchase", "within_s": 86_400}},
        },
        "cohorts": {"id": "back", "start": {}, "period": "day"},
        "metrics": {"id": "events", "measure": "events", "bucket_s": 60, "by_event": True},
        "predictions": {"id": "soon", "goal": {"event": "purchase"}, "within_s": 60},
    }
    for kind, body in define.items():
        system.ask(f"{project}/{kind}", body)
    system.send(
        project,
        *(event("view", f"person-{n}", plan="pro") for n in range(30)),
        *(event("purchase", f"person-{n}") for n in range(9)),
    )
    for kind, body in define.items():
        await_state(system, f"{project}/{kind}/{body['id']}", "live")
    size = f"{project}/segments/buyers/results"
    assert eventually(lambda: system.ask(size)["persons"] == 9, TIMEOUT_S)
    return project
