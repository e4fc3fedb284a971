"""Alerts over REST: definitions, status, incidents."""

from typing import Any

import httpx
import pytest

from schemas.alerts import AlertState, encode_state
from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from tests.kafka import Record, produce
from tests.services.query.conftest import eventually

PATH = "/api/projects/shop/alerts"
ALERT: dict[str, Any] = {
    "id": "quiet",
    "name": "No orders",
    "measure": {
        "type": "query",
        "query": {"series": [{"event": "purchase"}]},
        "window_s": 600,
    },
    "condition": {"op": "lt", "value": 1},
}


async def test_an_alert_is_made_changed_and_deleted(query: httpx.AsyncClient) -> None:
    made = await query.post(PATH, json=ALERT)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    shown = made.json()
    assert shown["measure"] == ALERT["measure"]
    renamed = await query.put(f"{PATH}/quiet", json=shown | {"name": "Quiet"})
    assert (renamed.json()["revision"], renamed.json()["version"]) == (2, 1)
    changed = await query.put(f"{PATH}/quiet", json=renamed.json() | {"pending_s": 60})
    assert (changed.json()["revision"], changed.json()["version"]) == (3, 2)
    stale = await query.put(f"{PATH}/quiet", json=ALERT, headers={"If-Match": '"1"'})
    assert stale.status_code == 409
    assert (await query.delete(f"{PATH}/quiet")).status_code == 204


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"notify": ["nobody"]}, "notify[0]"),
        ({"every_s": 1}, "every_s"),
        ({"condition": {"op": "lt"}}, "condition"),
        ({"measure": {"type": "funnel", "funnel": "buy"}}, "measure"),
    ],
)
async def test_what_is_refused_is_named(
    query: httpx.AsyncClient, wrong: dict[str, Any], field: str
) -> None:
    answer = await query.post(PATH, json=ALERT | wrong)
    assert (answer.status_code, answer.json()["error"].get("field", "")) == (400, field)


async def test_status_and_incidents_are_those_of_the_topics(
    settings: Settings, query: httpx.AsyncClient
) -> None:
    made = (await query.post(PATH, json=ALERT)).json()
    waiting = (await query.get(f"{PATH}/quiet/status")).json()
    assert (waiting["state"], waiting["at"], waiting["incident"]) == ("waiting", None, None)
    state = AlertState(
        created_at=made["created_at"],
        version=1,
        every_s=60,
        step=100,
        phase="firing",
        opened=98,
        value=0.0,
    )
    topics = settings.topics
    produce(settings.cluster, topics.alert_state.name, [Record(encode_state(state), b"shop/quiet")])
    answer = await eventually(
        lambda: query.get(f"{PATH}/quiet/status"), lambda answer: answer.json()["at"] is not None
    )
    found = answer.json()
    assert (found["state"], found["incident"]) == ("firing", "quiet/98")
    assert found["at"] == "1970-01-01T01:40:00Z"

    publish(settings, incident("quiet/90", "opened", 90), incident("quiet/90", "retracted", 95))
    publish(settings, incident("quiet/98", "opened", 98))
    for path in (f"{PATH}/quiet/incidents", "/api/projects/shop/incidents"):
        answer = await eventually(
            lambda path=path: query.get(path),  # type: ignore[misc] # the lambda binds the loop's value
            lambda answer: len(answer.json()["incidents"]) == 2,
        )
        shown = [(one["id"], one["state"]) for one in answer.json()["incidents"]]
        assert shown == [("quiet/98", "open"), ("quiet/90", "retracted")]
    (newest,) = (await query.get("/api/projects/shop/incidents?limit=1")).json()["incidents"]
    assert newest["id"] == "quiet/98"
    assert (await query.get("/api/projects/other/incidents")).json() == {"incidents": []}


def incident(name: str, change: str, step: int) -> dict[str, Any]:
    return {
        "project_id": "shop",
        "alert_id": "quiet",
        "version": 1,
        "incident_id": name,
        "step": step,
        "change": change,
        "cause": "condition",
        "at": 60_000 * step,
        "opened_at": 60_000 * int(name.partition("/")[2]),
        "value": 0.0,
        "figure": 0.0,
        "baseline": None,
        "threshold": 1.0,
        "severity": "warning",
        "name": "",
        "text": "",
        "notify": [],
    }


def publish(settings: Settings, *rows: dict[str, Any]) -> None:
    topic, schema = settings.topics.incidents.name, load("incident")
    with Registry(settings.cluster) as registry:
        encoder = Encoder(schema, registry.register(value_subject(topic), schema))
    records = [Record(value, b"shop/quiet") for value in encoder.encode_records(rows)]
    produce(settings.cluster, topic, records)
