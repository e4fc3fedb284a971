"""What a person finds out about others: who they are, and why they have not converted."""

import re
import uuid

import pytest
from playwright.sync_api import expect

from tests.processes import eventually
from tests.services.page.system import TIMEOUT_S, Open, System, await_state, event

BUY = {
    "id": "buy",
    "name": "From view to purchase",
    "steps": [
        {"event": "view"},
        {"event": "purchase", "where": [{"property": "price", "op": "gte", "value": 10}]},
    ],
    "window_s": 86_400,
}
SCROLLS = 70


@pytest.fixture(scope="module")
def known(system: System) -> str:
    """A project of three persons: ada buys, bob buys too cheaply, and eve only scrolls."""
    project = f"persons-{uuid.uuid4().hex[:8]}"
    system.ask(f"{project}/funnels", BUY)
    system.ask(
        f"{project}/segments",
        {"id": "buyers", "name": "Buyers", "rule": {"performed": {"event": "purchase"}}},
    )
    system.ask(
        f"{project}/predictions",
        {"id": "soon", "name": "Buys soon", "goal": {"event": "purchase"}, "within_s": 60},
    )
    system.send(
        project,
        event("view", "ada", **{"$set": {"plan": "pro", "city": "Évora"}}),
        event("purchase", "ada", price=20),
        event("view", "bob/1"),
        event("purchase", "bob/1", price=5),
        *(event("scroll", "eve", depth=n) for n in range(SCROLLS)),
    )
    for path in ("funnels/buy", "segments/buyers", "predictions/soon"):
        await_state(system, f"{project}/{path}", "live")
    count = f"{project}/query/events"
    total = 4 + SCROLLS
    assert eventually(lambda: len(system.ask(count, {"limit": 500})["events"]) == total, TIMEOUT_S)
    assert eventually(
        lambda: system.ask(f"{project}/segments/buyers/results")["persons"] == 2, TIMEOUT_S
    )
    return project


def test_persons_are_searched_and_opened(open_page: Open, known: str) -> None:
    page = open_page(f"{known}/persons")
    names = page.locator("tbody th")
    expect(names).to_have_text(["ada", "bob/1", "eve"])
    page.get_by_role("searchbox").fill("b//")
    expect(page.get_by_text("Nobody has an id like this")).to_be_visible()
    page.get_by_role("searchbox").fill("ob/")
    expect(names).to_have_text(["bob/1"])
    page.get_by_role("link", name="bob/1").click()
    expect(page.get_by_role("heading", name="bob/1")).to_be_visible()
    expect(page.locator(".head .note")).to_contain_text("2 events, from")


def test_a_profile_has_properties_segments_predictions_and_moves_by_itself(
    system: System, open_page: Open, known: str
) -> None:
    page = open_page(f"{known}/persons/ada")
    expect(page.locator(".facts").first).to_have_text(re.compile(r"city\s*Évora\s*plan\s*pro"))
    expect(page.locator(".chip")).to_have_text(["Buyers"])
    expect(page.get_by_role("region", name="Buys soon")).to_contain_text("Scores are withheld.")
    timeline = page.get_by_role("list", name="Timeline").locator("> li")
    expect(timeline.locator("b")).to_have_text(["purchase", "view"])
    system.send(known, event("support", "ada"))
    expect(timeline.first).to_contain_text("support")
    page.locator(".chip").click()
    expect(page.get_by_role("heading", name="Buyers")).to_be_visible()


def test_a_long_timeline_is_read_page_by_page_and_filtered(open_page: Open, known: str) -> None:
    page = open_page(f"{known}/persons/eve")
    rows = page.get_by_role("list", name="Timeline").locator("> li")
    expect(rows).to_have_count(30)
    page.get_by_role("button", name="Show older events").click()
    expect(rows).to_have_count(SCROLLS)
    depths = [int(re.findall(r"\d+", text)[-1]) for text in rows.locator("code").all_inner_texts()]
    assert sorted(depths) == list(range(SCROLLS))
    expect(page.get_by_role("button", name="Show older events")).to_have_count(0)
    page.get_by_label("Show one event only").fill("nothing")
    expect(page.get_by_text("No event matches")).to_be_visible()


def test_somebody_unknown_is_said_to_be_unknown(open_page: Open, known: str) -> None:
    page = open_page(f"{known}/persons/nobody")
    expect(page.get_by_text("This person has no events")).to_be_visible()


def test_why_somebody_has_not_converted_is_told_from_the_list_of_those_who_dropped_out(
    open_page: Open, known: str
) -> None:
    page = open_page(f"{known}/funnels/buy")
    page.get_by_role("button", name="purchase: show the 1 persons").click()
    page.get_by_role("button", name="Dropped out").click()
    expect(page.get_by_role("dialog").get_by_role("listitem")).to_have_text(["bob/1"])
    page.get_by_role("link", name="Why is bob/1 here?").click()
    expect(page.get_by_role("heading", name="bob/1 in From view to purchase")).to_be_visible()
    expect(page.locator(".verdict")).to_have_text(
        "Came to step 1 of 2, view. What is missing is purchase."
    )
    rows = page.get_by_role("list", name="What each event did").locator("> li")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("step 1 reached: an attempt begins")
    expect(rows.last).to_contain_text("would be step 2, but its conditions do not hold")
    expect(page.get_by_role("list", name="Attempts")).to_contain_text("at step 1, and open until")
    expect(page.locator(".facts")).to_contain_text("partition 0, below offset")


def test_who_converted_and_who_never_entered_are_told_so_in_portuguese_too(
    open_page: Open, known: str
) -> None:
    page = open_page(f"{known}/persons/ada", locale="pt-BR")
    page.get_by_role("button", name="From view to purchase").click()
    expect(page.locator(".verdict")).to_have_text(
        "Converteu: alcançou purchase, a última de 2 etapas."
    )
    expect(page.get_by_role("list", name="O que cada evento fez")).to_contain_text(
        "etapa 1 alcançada: começa uma tentativa"
    )
    page.goto(f"/#/{known}/persons/eve/buy")
    expect(page.locator(".verdict")).to_have_text(
        "Nunca entrou: não há view que cumpra as condições."
    )
    page.get_by_label("Também eventos sem efeito").check()
    expect(page.locator(".trace > li")).to_have_count(0)
