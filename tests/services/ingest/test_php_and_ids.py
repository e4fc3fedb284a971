"""PHP's empty array where an object is meant, and ids that are too long."""

import json
import uuid
from typing import Any

import pytest

from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest

LONG = "x" * 300


def stored(ingest: Ingest, *ids: str) -> list[dict[str, Any]]:
    """Return the events with these ids, in this order, with JSON decoded."""
    found = {one["event_id"]: one for one in ingest.inbox()}
    events = [found[name] for name in ids]
    for event in events:
        event["properties"] = json.loads(event["properties"])
        event["context"] = json.loads(event["context"])
    return events


@pytest.mark.parametrize("empty", ["[]", "[ ]", "{}", "null"])
def test_an_empty_array_is_an_empty_object_in_every_format(
    module_ingest: Ingest, empty: str
) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/events", {"event": "e", "distinct_id": "u", "properties": "?", "context": "?"}),
        (
            "/v1/batch",
            {
                "batch": [
                    {"type": "track", "event": "e", "userId": "u", "properties": "?"},
                    {"type": "identify", "userId": "u", "traits": "?", "context": "?"},
                    {"type": "group", "userId": "u", "groupId": "g", "traits": "?"},
                    {"type": "page", "name": "n", "userId": "u", "properties": "?"},
                    {"type": "track", "event": "e", "userId": "u", "integrations": "?"},
                ],
                "context": "?",
                "integrations": "?",
            },
        ),
        (
            "/batch/",
            {
                "api_key": KEY,
                "batch": [
                    {"event": "e", "distinct_id": "u", "properties": "?"},
                    {"event": "e", "distinct_id": "u", "properties": "?", "$set": "?"},
                    {"event": "e", "distinct_id": "u", "$set_once": "?"},
                ],
            },
        ),
        (
            "/i/v1/analytics/events",
            {
                "batch": [
                    {
                        "event": "e",
                        "distinct_id": "u",
                        "uuid": str(uuid.uuid4()),
                        "properties": "?",
                        "options": "?",
                    }
                ]
            },
        ),
        (
            "/2/httpapi",
            {
                "api_key": KEY,
                "events": [
                    {
                        "event_type": "e",
                        "user_id": "u",
                        "event_properties": "?",
                        "user_properties": "?",
                        "groups": "?",
                        "group_properties": "?",
                    },
                    {"event_type": "e", "user_id": "u", "user_properties": {"$set": "?"}},
                ],
            },
        ),
    ]
    before = len(module_ingest.inbox())
    for path, body in bodies:
        text = json.dumps(body).replace('"?"', empty)
        answer = module_ingest.http.post(path, content=text)
        assert answer.status_code == 200, (path, answer.text)
        assert "drop" not in answer.text, (path, answer.text)
        assert "warning" not in answer.text

    taken = [one for one in module_ingest.inbox()[before:] if one["distinct_id"] == "u"]
    for one in module_ingest.inbox():
        assert isinstance(json.loads(one["properties"]), dict)
        assert isinstance(json.loads(one["context"]), dict)
        assert "[]" not in one["properties"] + one["context"]
    assert len(module_ingest.inbox()) == before + 12
    assert taken


def test_an_array_that_is_not_empty_is_still_no_object(shared: Ingest) -> None:
    [result] = shared.results({"event": "e", "distinct_id": "u", "properties": [1]})

    assert (result["result"], result["field"]) == ("drop", "properties")


@pytest.mark.parametrize("field", ["anonymous_id", "session_id"])
@pytest.mark.parametrize("count", [1, 40])
def test_an_id_that_is_too_long_and_not_required_costs_itself(
    module_ingest: Ingest, field: str, count: int
) -> None:
    sent = [
        {"event": "e", "distinct_id": "u", "event_id": str(uuid.uuid4()), field: LONG}
        for _ in range(count)
    ]

    results = module_ingest.results(sent)

    assert {one["result"] for one in results} == {"warning"}
    assert all(f"{field}: has 300 characters" in one["details"] for one in results)
    for one in stored(module_ingest, *(str(event["event_id"]) for event in sent)):
        assert one[field] is None


def test_in_other_formats_too_and_their_answers_say_so(module_ingest: Ingest) -> None:
    posthog, segment = str(uuid.uuid4()), str(uuid.uuid4())
    answers = [
        module_ingest.http.post(
            "/e/",
            json={
                "token": KEY,
                "event": "e",
                "distinct_id": "u",
                "uuid": posthog,
                "properties": {"$device_id": LONG, "$session_id": LONG},
            },
        ),
        module_ingest.http.post(
            "/v1/track",
            json={"event": "e", "userId": "u", "anonymousId": LONG, "messageId": segment},
        ),
        module_ingest.http.post(
            "/2/httpapi",
            json={
                "api_key": KEY,
                "events": [{"event_type": "e", "user_id": "u", "device_id": LONG}],
            },
        ),
    ]

    for answer in answers:
        assert answer.status_code == 200, answer.text
        [warning] = answer.json()["warnings"]
        assert warning["index"] == 0
        assert "anonymous_id: has 300 characters" in warning["message"]
    for one in stored(module_ingest, posthog, segment):
        assert (one["anonymous_id"], one["session_id"]) == (None, None)
    assert stored(module_ingest, posthog)[0]["properties"]["$device_id"] == LONG


def test_three_users_of_posthogs_whose_long_ids_begin_alike_stay_three(
    module_ingest: Ingest,
) -> None:
    sent = [
        {
            "event": "e",
            "distinct_id": f"{LONG}{n}",
            "uuid": str(uuid.uuid4()),
            "properties": {"$anon_distinct_id": f"{LONG}{n - 1}"},
        }
        for n in range(3)
    ]

    answer = module_ingest.http.post("/batch/", json={"api_key": KEY, "batch": sent * 2})

    events = stored(module_ingest, *(str(one["uuid"]) for one in sent))
    ids = [one["distinct_id"] for one in events]
    assert len(set(ids)) == 3
    assert all(len(text) == 200 and text.startswith("x" * 160) for text in ids)
    assert [one["anonymous_id"] for one in events][1:] == ids[:2]
    warnings = answer.json()["warnings"]
    assert [one["index"] for one in warnings] == list(range(6))
    assert all("distinct_id: has 301 characters" in one["message"] for one in warnings)


def test_a_segment_id_that_is_no_uuid_is_nothing_to_warn_of(shared: Ingest) -> None:
    answer = shared.http.post(
        "/v1/track", json={"event": "e", "userId": "u", "messageId": "ajs-next-1700000000000-x"}
    )

    assert answer.json() == {"success": True}
