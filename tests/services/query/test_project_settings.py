"""What a project's definitions go by where they say nothing, on the real topic."""

import httpx
import pytest

from schemas.settings import Settings
from services.keys.admin import KeyAdmin

SHOP = "/api/projects/shop"
SETTINGS = f"{SHOP}/settings"
COHORT = {"start": {"event": "signup"}}
USERS = {"measure": "persons", "bucket_s": 86_400}


def zone_of(answer: httpx.Response) -> str:
    assert answer.is_success, answer.text
    zone: str = answer.json()["timezone"]
    return zone


async def test_a_project_without_settings_goes_by_utc(query: httpx.AsyncClient) -> None:
    assert (await query.get(SETTINGS)).json() == {"timezone": "UTC"}
    assert zone_of(await query.post(f"{SHOP}/cohorts", json=COHORT)) == "UTC"


async def test_what_names_no_time_zone_when_it_is_made_has_that_of_its_project(
    query: httpx.AsyncClient,
) -> None:
    before = await query.post(f"{SHOP}/cohorts", json=COHORT | {"id": "before"})
    settled = await query.put(SETTINGS, json={"timezone": "Europe/Lisbon"})
    assert (settled.status_code, settled.json()) == (200, {"timezone": "Europe/Lisbon"})
    assert (await query.get(SETTINGS)).json() == settled.json()

    for path, body in ((f"{SHOP}/cohorts", COHORT), (f"{SHOP}/metrics", USERS)):
        made = await query.post(path, json=body | {"id": "made"})
        assert zone_of(made) == "Europe/Lisbon"
        own = await query.post(path, json=body | {"timezone": "Asia/Kathmandu"})
        assert zone_of(own) == "Asia/Kathmandu"
        other = await query.post(path.replace("shop", "other"), json=body)
        assert zone_of(other) == "UTC"

    assert (await query.get(f"{SHOP}/cohorts/before")).json() == before.json()
    replaced = await query.put(f"{SHOP}/cohorts/before", json=COHORT)
    assert zone_of(replaced) == "Europe/Lisbon"


async def test_limits_and_settings_leave_each_other_alone(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    async with KeyAdmin(settings) as admin:
        await admin.limit_project("shop", 7, None)
        await query.put(SETTINGS, json={"timezone": "Europe/Lisbon"})
        made = await admin.limit_project("shop", 8, None)
    assert (made.events_per_s, made.timezone) == (8, "Europe/Lisbon")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"timezone": 1}, "timezone"),
        ({"zone": "UTC"}, "zone"),
    ],
)
async def test_what_is_no_setting_is_refused_by_its_name(
    query: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    refused = await query.put(SETTINGS, json=body)
    assert refused.status_code == 400
    assert field in refused.text
    assert (await query.get(SETTINGS)).json() == {"timezone": "UTC"}
