"""What a person finds out by the explorers of the page, and makes of it."""

import contextlib
import csv
import io
import json
import re
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Route, expect

from sinks.connection import connect
from tests.processes import eventually
from tests.services.page.system import PATIENCE_MS, TIMEOUT_S, Open, System, await_state, event

VIEWERS = 24
BUYERS = 9
PRICES = {f"person-{n}": 10 * (n + 1) for n in range(BUYERS)}
EVENTS = VIEWERS + BUYERS + 40


@pytest.fixture(scope="module")
def filled(system: System) -> str:
    """A project: 24 persons view, 9 of them buy, and one has 40 events more."""
    project = f"explored-{uuid.uuid4().hex[:8]}"
    system.send(
        project,
        *(
            event(
                "view", f"person-{n}", plan="pro" if n % 2 else "free", **{"$set": {"tier": n % 3}}
            )
            for n in range(VIEWERS)
        ),
        *(event("purchase", person, price=price) for person, price in PRICES.items()),
        *(event("scroll", "person-0", depth=n) for n in range(40)),
    )
    count = f"{project}/query/events"
    assert eventually(lambda: len(system.ask(count, {"limit": 500})["events"]) == EVENTS, TIMEOUT_S)
    return project


def explored(project: str, kind: str, **draft: Any) -> str:
    """The address of an explorer with a draft."""
    return f"{project}/explore/{kind}/{quote(json.dumps(draft), safe='')}"


def answer(page: Page) -> Any:
    return page.get_by_role("region", name="Answer")


def rows(page: Page, caption: str) -> list[list[str]]:
    """The figures of a chart, as its table has them."""
    table = page.get_by_role("region", name=caption, exact=True).locator("table")
    found: list[list[str]] = table.evaluate(
        """(table) => [...table.tBodies[0].rows].map(
            (row) => [...row.cells].map((one) => one.innerText))"""
    )
    return found


def unfold(page: Page, place: int = 0) -> None:
    page.get_by_text("Show as a table").nth(place).click()


def test_a_funnel_is_previewed_as_it_is_edited_and_saved_in_one_click(
    system: System, open_page: Open, filled: str
) -> None:
    page = open_page(f"{filled}/explore/funnel")
    expect(answer(page)).to_contain_text("Name the events of two or more steps.")
    page.get_by_label("Event of step 1").fill("view")
    page.get_by_label("Event of step 2").fill("purchase")
    bars = answer(page).locator(".bar-count")
    expect(bars).to_have_text([str(VIEWERS), str(BUYERS)])
    page.get_by_role("button", name="Add a condition").nth(1).click()
    page.get_by_label("Property", exact=True).fill("price")
    page.get_by_label("Comparison").select_option("gt")
    page.get_by_label("Value").fill("50")
    expect(bars).to_have_text([str(VIEWERS), "4"])

    page.get_by_role("button", name="Save as a funnel").click()
    expect(page.get_by_role("heading", name="view → purchase")).to_be_visible()
    expect(page.locator(".bars .bar-count")).to_have_text([str(VIEWERS), "4"])
    made = system.ask(f"{filled}/funnels/view-purchase")
    assert made["steps"][1]["where"] == [{"property": "price", "op": "gt", "value": 50}]


def test_the_address_of_an_explorer_shows_another_reader_the_same(
    open_page: Open, filled: str
) -> None:
    page = open_page(f"{filled}/explore/trends")
    page.get_by_label("Event of series A").fill("purchase")
    page.get_by_label("Measure of series A").select_option("sum")
    page.get_by_label("Property of series A").fill("price")
    page.get_by_label("Time", exact=True).select_option("7")
    whole = page.get_by_role("region", name="Whole range")
    expect(whole).to_contain_text(str(sum(PRICES.values())))
    address = page.evaluate("location.hash")
    other = open_page(address.removeprefix("#/"))
    expect(other.get_by_label("Property of series A")).to_have_value("price")
    expect(other.get_by_label("Time", exact=True)).to_have_value("7")
    expect(other.get_by_role("region", name="Whole range")).to_contain_text(
        str(sum(PRICES.values()))
    )
    other.get_by_role("group", name="Kind").get_by_role("link", name="Sessions").click()
    expect(other.get_by_label("Time", exact=True)).to_have_value("7")
    other.go_back()
    expect(other.get_by_label("Measure of series A")).to_have_value("sum")


def test_each_chart_has_its_figures_as_a_table_and_as_csv(
    open_page: Open, filled: str, tmp_path: Path
) -> None:
    draft = {
        "series": [{"event": "view"}, {"event": "purchase", "measure": "persons"}],
        "days": "7",
    }
    page = open_page(explored(filled, "trends", **draft))
    expect(answer(page)).to_contain_text("may still change")
    unfold(page)
    shown = rows(page, "Trends")
    assert len(shown) == 7
    assert shown[-1][1:] == [str(VIEWERS), str(BUYERS), "may still change"]
    assert [row[1:] for row in shown[:-2]] == [["0", "0", ""]] * 5
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download CSV").click()
    downloading.value.save_as(tmp_path / "trends.csv")
    title, *lines = csv.reader(io.StringIO((tmp_path / "trends.csv").read_text("utf-8")))
    assert title[1:3] == ["view: number of events", "purchase: number of persons"]
    assert [line[1:3] for line in lines] == [row[1:3] for row in shown]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", line[0]) for line in lines)


def test_a_trend_is_broken_down_filtered_and_compared(open_page: Open, filled: str) -> None:
    page = open_page(explored(filled, "trends", series=[{"event": "view"}], days="7"))
    whole = page.get_by_role("region", name="Whole range").locator("tbody tr")
    expect(whole).to_contain_text(["view: number of events"])
    page.get_by_label("Break down by property").fill("plan")
    expect(whole).to_have_text([re.compile(r"free\s*12"), re.compile(r"pro\s*12")])
    page.get_by_role("button", name="Add a filter").click()
    page.get_by_label("What to filter by").select_option("person")
    page.get_by_label("Property", exact=True).fill("tier")
    page.get_by_label("Value").fill("0")
    expect(whole).to_have_text([re.compile(r"free\s*4"), re.compile(r"pro\s*4")])
    page.get_by_label("Compare with the time before").check()
    expect(page.get_by_role("region", name="Whole range")).to_contain_text("Before")


def test_the_persons_behind_each_bar_and_each_value_are_shown(open_page: Open, filled: str) -> None:
    steps = [{"event": "view"}, {"event": "purchase"}]
    page = open_page(explored(filled, "funnel", steps=steps, by="plan"))
    names = page.get_by_role("dialog").get_by_role("listitem")
    page.get_by_role("button", name="pro, purchase: show the 4 persons").click()
    expect(names).to_have_text([f"person-{n}" for n in (1, 3, 5, 7)])
    page.keyboard.press("Escape")
    page.get_by_role("button", name=f"purchase: show the {BUYERS} persons", exact=True).click()
    expect(names).to_have_count(BUYERS)
    page.get_by_role("button", name="Still open").click()
    expect(names).to_have_count(VIEWERS - BUYERS)
    page.keyboard.press("Escape")

    page.get_by_label("Name", exact=True).fill("Saved by plan")
    page.get_by_role("button", name="Save as a funnel").click()
    expect(page.get_by_role("heading", name="Saved by plan")).to_be_visible()
    page.get_by_role("button", name="free, purchase: show the 5 persons").click()
    expect(names).to_have_text([f"person-{n}" for n in (0, 2, 4, 6, 8)])
    expect(page.get_by_role("link", name="Why is person-0 here?")).to_be_visible()

    page.goto("/#/" + explored(filled, "cohort", period="day", back={"event": "purchase"}))
    page.get_by_role("button", name=re.compile(r"^37\.5%")).click()
    expect(names).to_have_text(sorted(PRICES))


@pytest.mark.parametrize(
    ("kind", "draft", "said"),
    [
        ("cohort", {"period": "day"}, [str(VIEWERS), "100%"]),
        ("lifecycle", {}, ["New", "Resurrecting", "Dormant"]),
        ("stickiness", {}, ["Persons by the number of days, of 30, on which they are active."]),
        ("sessions", {}, ["Bounces", "Begin with", "End with", "view"]),
        ("segment", {"rules": [{"event": "purchase"}]}, [str(BUYERS), "person-8"]),
        ("events", {"event": "purchase"}, ["purchase", "person-8", '{"price":90}']),
        ("paths", {"around": "start", "anchor": "view"}, [f"Paths of {VIEWERS} persons"]),
    ],
)
def test_every_kind_of_question_is_answered(
    open_page: Open, filled: str, kind: str, draft: dict[str, Any], said: list[str]
) -> None:
    page = open_page(explored(filled, kind, **draft))
    for text in said:
        expect(answer(page)).to_contain_text(text)
    expect(page.get_by_role("alert")).to_have_count(0)
    unfold(page)
    expect(page.get_by_role("button", name="Download CSV")).to_be_visible()


def test_who_is_new_and_how_long_they_stay_is_what_was_sent(open_page: Open, filled: str) -> None:
    page = open_page(f"{filled}/explore/lifecycle")
    unfold(page)
    *before, today = rows(page, "Lifecycle")
    assert today[1:] == [str(VIEWERS), "0", "0", "0", "may still change"]
    assert all(row[1:5] == ["0", "0", "0", "0"] for row in before)
    page.goto(f"/#/{filled}/explore/stickiness")
    unfold(page)
    first, *others = rows(page, "Stickiness")
    assert first == ["1", str(VIEWERS), str(VIEWERS)]
    assert all(row[1:] == ["0", "0"] for row in others)


def test_an_event_of_the_paths_opens_the_persons_who_are_there(
    open_page: Open, filled: str
) -> None:
    page = open_page(explored(filled, "paths", around="start", anchor="view"))
    page.get_by_role("button", name=f"purchase: {BUYERS}").first.press("Enter")
    names = page.get_by_role("dialog").get_by_role("listitem")
    expect(names).to_have_text(sorted(PRICES))


def test_fields_offer_the_names_and_values_that_there_are(open_page: Open, filled: str) -> None:
    def offered(label: str) -> Any:
        field = page.get_by_label(label, exact=True)
        field.focus()
        return page.locator(f"datalist[id='{field.get_attribute('list')}'] option")

    page = open_page(f"{filled}/explore/funnel")
    expect(offered("Event of step 1")).to_have_count(3)
    page.get_by_label("Event of step 1").fill("view")
    page.get_by_role("button", name="Add a condition").first.click()
    assert "plan" in [one.get_attribute("value") for one in wait_all(offered("Property"))]
    page.get_by_label("Property", exact=True).fill("plan")
    values = wait_all(offered("Value"))
    assert {one.get_attribute("value") for one in values} == {"pro", "free"}


def wait_all(found: Any) -> list[Any]:
    expect(found.first).to_be_attached()
    return list(found.all())


def hold(held: list[Route], route: Route) -> None:
    held.append(route)


def test_the_old_figure_stays_until_the_new_one_is_there_and_what_is_replaced_is_cancelled(
    open_page: Open, filled: str
) -> None:
    page = open_page(explored(filled, "trends", series=[{"event": "view"}], days="7"))
    whole = page.get_by_role("region", name="Whole range").locator("tbody tr")
    expect(whole).to_have_text([re.compile(rf"view.*{VIEWERS}")])
    held: list[Route] = []
    page.evaluate(
        """() => {
            const [ask, cancelled] = [window.fetch, window.cancelled = []];
            window.fetch = (path, options) => {
                options.signal.addEventListener('abort', () => cancelled.push(options.body));
                return ask(path, options);
            };
        }"""
    )
    page.route("**/query/trends", lambda route: hold(held, route))
    page.get_by_label("Event of series A").fill("purchase")
    expect(answer(page)).to_have_attribute("aria-busy", "true")
    page.wait_for_timeout(600)  # the debounce has passed, and the question is on its way
    assert len(held) == 1
    expect(whole).to_have_text([re.compile(rf"view.*{VIEWERS}")])
    page.unroute("**/query/trends")
    page.get_by_label("Event of series A").fill("scroll")
    expect(whole).to_have_text([re.compile(r"scroll.*40")])
    cancelled = page.evaluate("window.cancelled.filter((one) => one?.includes('series'))")
    assert ['"purchase"' in one for one in cancelled] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"steps":"x","series":[],"filters":{"a":1},"days":"<img src=x>"}',
        '{"steps":[{"event":{"a":1},"rows":[{"op":"drop"}]}],"interval":"second","asOf":"1;2"}',
        '{"series":[{"event":"<img src=x onerror=window.stolen=1>","measure":"eval"}]}',
    ],
)
def test_an_address_that_somebody_made_up_shows_a_form_and_nothing_runs(
    open_page: Open, filled: str, text: str
) -> None:
    page = open_page(f"{filled}/overview")
    for kind in ("trends", "funnel"):
        page.goto(f"/#/{filled}/explore/{kind}/{quote(text, safe='')}")
        expect(page.get_by_role("heading", name="Explore")).to_be_visible()
        expect(page.get_by_label("Time", exact=True)).to_have_value("30")
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.stolen") is None


def test_a_mistake_is_said_with_its_field_and_the_figure_stays(
    open_page: Open, filled: str
) -> None:
    page = open_page(explored(filled, "trends", series=[{"event": "view"}], days="365"))
    whole = page.get_by_role("region", name="Whole range")
    expect(whole).to_contain_text(str(VIEWERS))
    page.get_by_label("Interval").select_option("minute")
    expect(page.get_by_role("alert")).to_contain_text("interval: must be longer")
    expect(whole).to_contain_text(str(VIEWERS))
    page.get_by_label("Time", exact=True).select_option("1")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_answer_is_opened_and_its_link_gives_the_same_figures_whatever_comes(
    system: System, open_page: Open, project: str
) -> None:
    system.send(project, *(event("view", f"person-{n}") for n in range(3)))
    page = open_page(explored(project, "trends", series=[{"event": "view"}], days="7"))
    whole = page.get_by_role("region", name="Whole range").locator("tbody td")
    expect(whole).to_have_text("3", timeout=PATIENCE_MS)
    answer(page).get_by_role("button", name="About this figure").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"partition 0, below offset \d+"))
    expect(dialog).to_contain_text("Complete until")
    dialog.get_by_role("link", name="Open exactly these figures").click()
    expect(page.get_by_text("These figures are of the events that were there")).to_be_visible()
    system.send(project, event("view", "eve"))
    counted = f"{project}/query/events"
    assert eventually(lambda: len(system.ask(counted, {})["events"]) == 4, TIMEOUT_S)
    page.reload()
    expect(whole).to_have_text("3")
    page.get_by_role("button", name="Show the figures of now").click()
    expect(whole).to_have_text("4")


def test_a_cohort_a_segment_and_a_metric_are_saved_as_they_were_previewed(
    system: System, open_page: Open, filled: str
) -> None:
    page = open_page(f"{filled}/cohorts")
    page.get_by_role("link", name="New cohort").click()
    page.get_by_label("Begins with").fill("view")
    page.get_by_label("Returns with").fill("purchase")
    page.get_by_label("Interval").select_option("day")
    expect(answer(page).locator(".cell")).to_have_text(["37.5%"])
    page.get_by_label("Name", exact=True).fill("Buyers return")
    page.get_by_role("button", name="Save as a cohort").click()
    expect(page.get_by_role("heading", name="Buyers return")).to_be_visible()
    expect(page.locator(".cell").first).to_have_text("37.5%")

    page.goto(f"/#/{filled}/segments/+new")
    page.get_by_label("Event of condition 1").fill("purchase")
    page.get_by_role("button", name="Add a condition on persons").click()
    page.get_by_label("Kind of condition 2").select_option("not_performed")
    page.get_by_label("Event of condition 2").fill("scroll")
    expect(answer(page).locator(".big")).to_have_text(str(BUYERS - 1))
    page.get_by_role("button", name="Save as a segment").click()
    name = "performed purchase, and did not perform scroll"
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.locator("main .big")).to_have_text(str(BUYERS - 1))

    page.goto("/#/" + explored(filled, "trends", series=[{"event": "purchase"}], days="7"))
    page.get_by_role("button", name="Save as a metric").click()
    expect(page.get_by_role("heading", name="Events · purchase")).to_be_visible()
    metric = system.ask(f"{filled}/metrics/events-purchase")
    assert (metric["measure"], metric["bucket_s"]) == ("events", 86_400)
    unfold(page)
    assert eventually(lambda: bool(rows(page, "Events · purchase")), TIMEOUT_S)
    expect(page.locator(".as-table tbody tr").last).to_contain_text(str(BUYERS))


def test_a_metric_is_built_with_a_preview_and_changed_later(
    system: System, open_page: Open, filled: str
) -> None:
    page = open_page(f"{filled}/metrics/+new")
    page.get_by_label("Name", exact=True).fill("Revenue")
    page.get_by_label("Measure", exact=True).select_option("sum")
    page.get_by_label("Property that is measured").fill("price")
    page.get_by_label("Event", exact=True).fill("purchase")
    page.get_by_label("Bucket").select_option("86400")
    expect(page.get_by_role("region", name="Whole range")).to_contain_text(
        str(sum(PRICES.values()))
    )
    page.get_by_role("button", name="Create metric").click()
    expect(page.get_by_role("heading", name="Revenue")).to_be_visible()
    expect(page.locator(".head .badge")).to_have_text("Live")
    unfold(page)
    expect(page.locator(".as-table tbody tr").last).to_contain_text(str(sum(PRICES.values())))
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Measure", exact=True).select_option("maximum")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".head .note")).to_contain_text("Maximum · price")
    assert system.ask(f"{filled}/metrics/revenue")["version"] == 2


def test_a_prediction_is_built_beside_the_rate_that_it_has_to_beat(
    system: System, open_page: Open, filled: str
) -> None:
    page = open_page(f"{filled}/predictions")
    page.get_by_role("link", name="New prediction").click()
    expect(page.get_by_text("Name the goal and the event at which to ask")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Buys soon")
    page.get_by_label("Goal: event").fill("purchase")
    page.get_by_label("Asked at each event").fill("view")
    page.get_by_label("Within").fill("60")
    page.get_by_label("Unit").select_option("minutes")
    expect(page.locator("main .big")).to_have_text("37.5%")
    sentence = (
        f"Of {VIEWERS} persons with view in the last 30 days, {BUYERS} had purchase within 1 h."
    )
    expect(page.get_by_text(sentence)).to_be_visible()
    page.get_by_role("button", name="Add an event").click()
    page.get_by_label("Event to learn from 1").fill("scroll")
    page.get_by_role("button", name="Create prediction").click()
    expect(page.get_by_role("heading", name="Buys soon")).to_be_visible()
    expect(page.get_by_text(f"{VIEWERS} questions asked")).to_be_visible()
    made = system.ask(f"{filled}/predictions/buys-soon")
    assert (made["within_s"], made["events"][0]["event"]) == (3_600, "scroll")


def test_a_viewer_explores_and_is_not_offered_to_save(open_page: Open, filled: str) -> None:
    page = open_page(f"{filled}/overview")
    page.route(
        "**/session",
        lambda route: (
            route.fulfill(json=as_viewer(route.fetch().json()))
            if route.request.method == "GET"
            else route.continue_()
        ),
    )
    page.goto("/#/" + explored(filled, "funnel", steps=[{"event": "view"}, {"event": "purchase"}]))
    page.reload()
    expect(answer(page).locator(".bar-count")).to_have_text([str(VIEWERS), str(BUYERS)])
    expect(page.get_by_role("button", name="Save as a funnel")).to_have_count(0)


def as_viewer(session: dict[str, Any]) -> dict[str, Any]:
    granted = {"role": "viewer", "scopes": ["read"]}
    grants = [one | granted for one in session["session"]["grants"]]
    return session | {"session": session["session"] | granted | {"grants": grants}}


def test_a_definition_says_that_it_is_equal_or_which_persons_differ(
    system: System, open_page: Open, project: str
) -> None:
    system.ask(
        f"{project}/funnels",
        {"id": "buy", "name": "Buy", "steps": [{"event": "view"}, {"event": "purchase"}]},
    )
    await_state(system, f"{project}/funnels/buy", "live")
    system.send(project, *(event("view", f"person-{n}") for n in range(5)))
    page = open_page(f"{project}/funnels/buy")
    expect(page.locator(".bars .bar-count")).to_have_text(["5", "0"])
    page.get_by_role("button", name="About this figure").click()
    dialog = page.get_by_role("dialog")
    for text in ("within 7 d", "partition 0, below offset", "Complete until", "Live"):
        expect(dialog).to_contain_text(text)
    dialog.get_by_role("button", name="Verify against ClickHouse").click()
    expect(dialog.locator(".verdict")).to_have_text(
        "Equal: ClickHouse counts the same, over the same events."
    )
    database = system.settings.clickhouse_database
    with contextlib.closing(connect(system.settings, timeout_s=60, name="tests")) as client:
        client.command(
            f"ALTER TABLE {database}.events DELETE WHERE project_id = '{project}'"
            " AND person_id = 'person-3'",
            settings={"mutations_sync": 2},
        )
    dialog.get_by_role("button", name="Verify against ClickHouse").click()
    expect(dialog.locator(".verdict")).to_contain_text("Not equal")
    expect(dialog.get_by_role("region", name="Figures that differ")).to_contain_text(
        re.compile(r"totals\.steps\[1\]\.reached\s*5\s*4")
    )
    persons = dialog.get_by_role("list", name="Persons who differ").get_by_role("listitem")
    expect(persons).to_have_text(["person-3 has other events in ClickHouse than in the log"])
    expect(dialog).to_contain_text("ClickHouse has other events than the log.")
