"""What a project's definitions go by where they say nothing, on the real topic."""

import httpx
import pytest

from schemas.settings import Settings
from services.keys.admin import KeyAdmin

SHOP = "/api/projects/shop"
SETTINGS = f"{SHOP}/settings"
COHORT = {"start": {"event": "signup"}}
FUNNEL = {"steps": [{"event": "signup"}, {"event": "buy"}]}
USERS = {"measure": "persons", "bucket_s": 86_400}


def zone_of(answer: httpx.Response) -> str:
    assert answer.is_success, answer.text
    zone: str = answer.json()["timezone"]
    return zone


async def test_a_project_without_settings_goes_by_utc(query: httpx.AsyncClient) -> None:
    assert (await query.get(SETTINGS)).json() == {"timezone": "UTC", "week_start": "monday"}
    assert zone_of(await query.post(f"{SHOP}/cohorts", json=COHORT)) == "UTC"


async def test_what_names_no_time_zone_when_it_is_made_has_that_of_its_project(
    query: httpx.AsyncClient,
) -> None:
    before = await query.post(f"{SHOP}/cohorts", json=COHORT | {"id": "before"})
    settled = await query.put(SETTINGS, json={"timezone": "Europe/Lisbon"})
    assert settled.status_code == 200
    assert settled.json() == {"timezone": "Europe/Lisbon", "week_start": "monday"}
    assert (await query.get(SETTINGS)).json() == settled.json()

    for path, body in (
        (f"{SHOP}/cohorts", COHORT),
        (f"{SHOP}/metrics", USERS),
        (f"{SHOP}/funnels", FUNNEL),
    ):
        made = await query.post(path, json=body | {"id": "made"})
        assert zone_of(made) == "Europe/Lisbon"
        own = await query.post(path, json=body | {"timezone": "Asia/Kathmandu"})
        assert zone_of(own) == "Asia/Kathmandu"
        other = await query.post(path.replace("shop", "other"), json=body)
        assert zone_of(other) == "UTC"

    assert (await query.get(f"{SHOP}/cohorts/before")).json() == before.json()
    replaced = await query.put(f"{SHOP}/cohorts/before", json=COHORT)
    assert zone_of(replaced) == "Europe/Lisbon"


async def test_what_is_sent_back_as_it_is_shown_keeps_its_calendar(
    query: httpx.AsyncClient,
) -> None:
    bodies = {"cohorts": COHORT | {"period": "week"}, "metrics": USERS, "funnels": FUNNEL}
    shown = {
        path: (await query.post(f"{SHOP}/{path}", json=body)).json()
        for path, body in bodies.items()
    }
    await query.put(SETTINGS, json={"timezone": "Europe/Lisbon", "week_start": "sunday"})
    for path, before in shown.items():
        renamed = before | {"name": "Renamed"}
        after = (await query.put(f"{SHOP}/{path}/{before['id']}", json=renamed)).json()
        assert (after["version"], after["timezone"]) == (1, "UTC")
        assert after.get("week_start", "monday") == "monday"


async def test_what_names_no_start_of_the_week_has_that_of_its_project(
    query: httpx.AsyncClient,
) -> None:
    await query.put(SETTINGS, json={"week_start": "sunday"})
    for path, body in (
        (f"{SHOP}/cohorts", COHORT | {"period": "week"}),
        (f"{SHOP}/funnels", FUNNEL),
    ):
        made = await query.post(path, json=body)
        assert (made.status_code, made.json()["week_start"]) == (201, "sunday")
        own = await query.post(path, json=body | {"week_start": "monday"})
        assert own.json()["week_start"] == "monday"
        other = await query.post(path.replace("shop", "other"), json=body)
        assert other.json()["week_start"] == "monday"
        refused = await query.post(path, json=body | {"week_start": "friday"})
        assert refused.json()["error"]["field"] == "week_start"
        assert "accepted are `monday`, `sunday`" in refused.text


@pytest.mark.parametrize(
    ("path", "body", "changed", "version"),
    [
        ("funnels", FUNNEL, {"timezone": "Europe/Lisbon"}, 2),
        ("funnels", FUNNEL, {"timezone": "UTC"}, 1),
        ("funnels", FUNNEL, {"week_start": "sunday"}, 1),  # the same days, added up otherwise
        ("cohorts", COHORT | {"period": "week"}, {"week_start": "sunday"}, 2),
        ("cohorts", COHORT | {"period": "week"}, {"week_start": "monday"}, 1),
        ("cohorts", COHORT, {"week_start": "sunday"}, 1),  # it has no weeks
    ],
)
async def test_a_new_version_counts_what_another_calendar_changes(
    query: httpx.AsyncClient,
    path: str,
    body: dict[str, object],
    changed: dict[str, object],
    version: int,
) -> None:
    made = await query.post(f"{SHOP}/{path}", json=body)
    again = await query.put(f"{SHOP}/{path}/{made.json()['id']}", json=body | changed)
    assert again.status_code == 200
    assert (again.json()["version"], again.json()["revision"]) == (version, 2)
    assert again.json() | changed == again.json()


async def test_limits_and_settings_leave_each_other_alone(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    async with KeyAdmin(settings) as admin:
        await admin.limit_project("shop", 7, None)
        await query.put(SETTINGS, json={"timezone": "Europe/Lisbon", "week_start": "sunday"})
        made = await admin.limit_project("shop", 8, None)
    assert (made.events_per_s, made.timezone) == (8, "Europe/Lisbon")
    assert made.week_start == "sunday"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"timezone": 1}, "timezone"),
        ({"zone": "UTC"}, "zone"),
        ({"week_start": "friday"}, "accepted are `monday`, `sunday`"),
        ({"week_start": "Sunday"}, "week_start"),
        ({"week_start": 7}, "week_start"),
    ],
)
async def test_what_is_no_setting_is_refused_by_its_name(
    query: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    refused = await query.put(SETTINGS, json=body)
    assert refused.status_code == 400
    assert field in refused.text
    assert (await query.get(SETTINGS)).json() == {"timezone": "UTC", "week_start": "monday"}
