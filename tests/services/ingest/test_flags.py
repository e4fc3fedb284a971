"""Flags as SDKs ask for them, with segments published in place of workers."""

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from schemas.flags import FlagDefinition, decode_flag
from schemas.operators.segment import SEGMENT
from schemas.settings import Settings
from services.ingest.flags.endpoint import MAX_BODY_BYTES
from services.topics import ensure_topics
from tests.conftest import PARTITIONS, left_topics
from tests.credentials import KEY, SHOP_KEY, put, write_key
from tests.kafka import Record, produce
from tests.services.ingest.conftest import Ingest, eventually, serving
from tests.services.webhooks.publish import define, enter

OFF = "no_condition_match"
TOKEN = {"token": KEY, "distinct_id": "ann"}


def define_flag(settings: Settings, name: str, project: str = "default", /, **body: Any) -> None:
    """Write a flag straight to its topic; its key is its id."""
    flag = decode_flag(msgspec.json.encode({"key": name} | body))
    numbers: dict[str, Any] = {"version": 1, "created_at": 1, "updated_at": 1}
    define(settings, FlagDefinition(project_id=project, id=name, flag=flag, **numbers))


def delete(settings: Settings, key: str) -> None:
    """Write the tombstone of a definition, `project/kind/id`."""
    produce(settings.cluster, settings.topics.definitions.name, [Record(None, key.encode())])


def define_segment(settings: Settings, name: str = "default/segment/buyers") -> None:
    """Write a segment; this service reads of one that it is there."""
    produce(settings.cluster, settings.topics.definitions.name, [Record(b"{}", name.encode())])


@pytest.fixture
def with_segments(settings: Settings) -> Settings:
    """A deployment where workers have published segments, of which `buyers` is defined."""
    topics = [SEGMENT.changes[0].topic(settings.topics), settings.topics.schemas]
    ensure_topics(settings.bootstrap, topics, partitions=PARTITIONS, replication_factor=1)
    left_topics.append(topics[0].name)
    define_segment(settings)
    return settings


@pytest.fixture
def flags(with_segments: Settings) -> Iterator[Ingest]:
    """A service on such a deployment."""
    with serving(with_segments) as service:
        service.http.headers.pop("authorization")
        yield service


def ask(service: Ingest, path: str = "/flags/?v=2", **body: Any) -> dict[str, Any]:
    """Ask for flags; the body is that of `ann`, but for `body`."""
    answer = service.http.post(path, json=TOKEN | body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def values(service: Ingest, **body: Any) -> dict[str, Any]:
    """The values of all flags for a person."""
    found: dict[str, Any] = ask(service, **body)["featureFlags"]
    return found


def test_a_member_of_a_segment_sees_its_feature_and_others_do_not(flags: Ingest) -> None:
    define_flag(flags.settings, "new-checkout", segment="buyers", payload={"hue": "grün"})
    enter(flags.settings, ["ann"], project="default")
    eventually(lambda: values(flags) == {"new-checkout": True})

    record = ask(flags)["flags"]["new-checkout"]
    assert (record["enabled"], record["variant"]) == (True, None)
    assert record["reason"]["code"] == "condition_match"
    assert json.loads(record["metadata"]["payload"]) == {"hue": "grün"}
    stranger = ask(flags, distinct_id="bob")["flags"]["new-checkout"]
    assert (stranger["enabled"], stranger["reason"]["code"]) == (False, OFF)
    assert "payload" not in stranger["metadata"]

    enter(flags.settings, ["ann"], "left", project="default")
    eventually(lambda: values(flags) == {"new-checkout": False})


def test_everybody_sees_a_feature_of_no_segment_and_nobody_one_that_is_not_active(
    own: Ingest,
) -> None:
    define_flag(own.settings, "off", active=False)
    define_flag(own.settings, "nobody", rollout_percentage=0)
    define_flag(own.settings, "all")
    eventually(lambda: "all" in values(own))
    assert values(own) == {"all": True, "nobody": False}

    delete(own.settings, "default/flag/all")
    eventually(lambda: values(own) == {"nobody": False})


def test_each_version_of_the_format_has_its_shape(own: Ingest) -> None:
    define_flag(own.settings, "off", rollout_percentage=0)
    define_flag(own.settings, "b", variants=[{"key": "red", "payload": [1]}], payload=2)
    define_flag(own.settings, "on", payload="text")
    eventually(lambda: len(values(own)) == 3)

    every, payloads = {"b": "red", "off": False, "on": True}, {"b": "[1]", "on": '"text"'}
    for path in ("/flags", "/flags/?v=1", "/flags?v=2&config=true", "/flags?v=x", "/decide/?v=3"):
        answer = ask(own, path)
        assert (answer["featureFlags"], answer["featureFlagPayloads"]) == (every, payloads)
    assert sorted(ask(own, "/decide/")["featureFlags"]) == ["b", "on"]
    assert ask(own, "/decide?v=2")["featureFlags"] == {"b": "red", "on": True}
    for path in ("/flags?v=2", "/decide?v=4"):
        records = ask(own, path)["flags"]
        assert {key: one["variant"] or one["enabled"] for key, one in records.items()} == every
        assert not {"value", "failed"} & records["b"].keys()
    typed = ask(own, "/flags/?v=4")["flags"]
    assert {key: one["value"] for key, one in typed.items()} == every
    assert not any(one["failed"] for one in typed.values())
    assert {key for key, one in typed.items() if "payload" in one["metadata"]} == {"b", "on"}


def test_only_the_flags_asked_for_are_answered(own: Ingest) -> None:
    for name in ("a", "b"):
        define_flag(own.settings, name)
    eventually(lambda: len(values(own)) == 2)

    assert values(own, flag_keys=["a", "other", 1]) == {"a": True}
    assert values(own, flag_keys_to_evaluate=["b"]) == {"b": True}
    assert values(own, flag_keys=[]) == values(own, disable_flags=True) == {}


def test_bodies_are_read_as_sdks_send_them(own: Ingest) -> None:
    define_flag(own.settings, "a")
    eventually(lambda: len(values(own)) == 1)
    own.http.headers.pop("authorization")

    text = json.dumps(TOKEN).encode()
    form = "application/x-www-form-urlencoded"
    data = base64.b64encode(text)
    requests: list[dict[str, Any]] = [
        {"content": gzip.compress(text), "url": "/flags/?v=2&compression=gzip-js"},
        {"content": gzip.compress(text), "headers": {"Content-Encoding": "gzip"}},
        {
            "content": b"data=" + quote(data).encode(),
            "headers": {"Content-Type": form},
            "url": "/flags/?v=2&compression=base64",
        },
        {"content": text, "headers": {"Content-Type": "text/plain"}},
        {"json": {"api_key": KEY, "$distinct_id": "ann"}},
        {"json": {"$token": KEY, "distinct_id": 7}},
        {"json": {"distinct_id": "ann"}, "headers": {"Authorization": f"Bearer {KEY}"}},
    ]
    for request in requests:
        answer = own.http.post(**({"url": "/flags/?v=2"} | request))
        assert (answer.status_code, answer.json().get("featureFlags")) == (200, {"a": True}), (
            request
        )
    answer = own.http.get("/decide/", params={"v": "3", "data": data.decode()})
    assert answer.json()["featureFlags"] == {"a": True}


def test_what_a_request_claims_of_a_person_changes_nothing(flags: Ingest) -> None:
    define_flag(flags.settings, "f", segment="buyers")
    enter(flags.settings, ["ann"], project="default")
    eventually(lambda: values(flags) == {"f": True})

    claims = {"$segment": "buyers", "distinct_id": "ann", "buyers": True, "plan": "pro"}
    for field in ("person_properties", "group_properties", "groups", "$anon_distinct_id"):
        claim: Any = "ann" if field == "$anon_distinct_id" else claims
        assert values(flags, distinct_id="mallory", **{field: claim}) == {"f": False}


def test_an_answer_tells_nothing_of_segments_or_persons(flags: Ingest) -> None:
    define_flag(
        flags.settings, "f", segment="buyers", rollout_percentage=0, name="Nm", description="D"
    )
    enter(flags.settings, ["ann"], project="default")
    define_flag(flags.settings, "all")
    eventually(lambda: values(flags) == {"all": True, "f": False})

    outside, unknown = (ask(flags, "/flags?v=4", distinct_id=one) for one in ("ann", "nobody"))
    for answer in (outside, unknown):
        for changing in ("requestId", "evaluatedAt"):
            del answer[changing]
        assert not [
            word for word in ("buyers", "segment", "Nm", '"D"') if word in json.dumps(answer)
        ]
    assert outside == unknown


def test_a_key_has_the_flags_of_its_own_project(own: Ingest) -> None:
    define_flag(own.settings, "ours")
    define_flag(own.settings, "theirs", "shop")
    eventually(lambda: values(own, token=SHOP_KEY) == {"theirs": True})
    assert values(own) == {"ours": True}


def test_segments_of_one_name_in_two_projects_are_two(flags: Ingest) -> None:
    define_segment(flags.settings, "shop/segment/buyers")
    for project in ("default", "shop"):
        define_flag(flags.settings, "f", project, segment="buyers")
    enter(flags.settings, ["ann"], project="shop")
    eventually(lambda: values(flags, token=SHOP_KEY) == {"f": True})
    assert values(flags) == {"f": False}


def test_refusals_are_as_posthogs(own: Ingest) -> None:
    own.http.headers.pop("authorization")
    put(own.settings, write_key("awk_of_page", origins=("https://shop.example",)))
    define_flag(own.settings, "a")
    eventually(lambda: values(own, token="awk_of_page") == {"a": True})
    bodies: list[tuple[Any, int, str]] = [
        ({"distinct_id": "u"}, 401, "a write key is required"),
        ({"token": "phx_personal", "distinct_id": "u"}, 401, "which is secret"),
        ({"token": "no", "distinct_id": "u"}, 401, "unknown or was revoked"),
        ({"token": KEY}, 400, "distinct_id: is missing"),
        ({"token": KEY, "distinct_id": ""}, 400, "distinct_id: is missing"),
        ([], 400, "cannot be read as a request for flags"),
        ("text", 400, "cannot be read as a request for flags"),
    ]
    for body, status, detail in bodies:
        answer = own.http.post("/flags/?v=2", json=body)
        assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), (
            answer.text
        )
    assert own.http.post("/flags", content=b"{").status_code == 400
    assert own.http.post("/flags", content=b"\x1f\x8b\x08no").status_code == 400
    assert own.http.put("/flags", json=TOKEN).status_code == 405
    elsewhere = own.http.post(
        "/flags",
        json={"token": "awk_of_page", "distinct_id": "u"},
        headers={"Origin": "https://evil.example"},
    )
    assert elsewhere.status_code == 403
    assert elsewhere.headers["access-control-allow-origin"] == "https://evil.example"
    assert elsewhere.headers["cache-control"] == "no-store"


def test_large_requests_are_refused_and_long_names_are_answered(own: Ingest) -> None:
    define_flag(own.settings, "a")
    eventually(lambda: len(values(own)) == 1)

    long = "k" * 10_000
    assert values(own, distinct_id=long, groups={long: long}) == {"a": True}
    assert values(own, flag_keys=[long]) == {}
    assert own.http.post("/flags", json=TOKEN | {"token": long}).status_code == 401
    bomb = json.dumps(TOKEN | {"person_properties": {"x": "y" * MAX_BODY_BYTES}}).encode()
    assert own.http.post("/flags", content=bomb).status_code == 413
    packed = own.http.post("/flags", content=gzip.compress(bomb))
    assert packed.status_code == 413
    deep = b'{"token":"%b","distinct_id":%b' % (KEY.encode(), b"[" * 50_000)
    assert own.http.post("/flags", content=deep).status_code == 400
    surrogate = b'{"token":"%b","distinct_id":"\\ud800"}' % KEY.encode()
    assert own.http.post("/flags", content=surrogate).status_code in {200, 400}


def test_a_flag_whose_segment_is_deleted_is_false(flags: Ingest) -> None:
    define_flag(flags.settings, "f", segment="buyers")
    enter(flags.settings, ["ann"], project="default")
    eventually(lambda: values(flags) == {"f": True})

    delete(flags.settings, "default/segment/buyers")
    eventually(lambda: values(flags) == {"f": False})
    assert ask(flags)["errorsWhileComputingFlags"] is False


def test_a_flag_is_failed_while_the_members_of_its_segment_cannot_be_read(own: Ingest) -> None:
    define_flag(own.settings, "all")
    define_segment(own.settings)  # but no topic of segments
    define_flag(own.settings, "f", segment="buyers")
    eventually(lambda: ask(own)["errorsWhileComputingFlags"] is True)

    answer = ask(own)
    assert answer["featureFlags"] == {"all": True}
    assert set(answer["flags"]) == {"all"}
    failed = ask(own, "/flags/?v=4")["flags"]["f"]
    assert (failed["failed"], failed["value"], failed["enabled"]) == (True, None, False)
    assert own.http.get("/readyz").status_code == 200, "events are taken"


def test_the_configuration_says_whether_there_are_flags(own: Ingest) -> None:
    assert own.http.get(f"/array/{KEY}/config").json()["hasFeatureFlags"] is False
    define_flag(own.settings, "a")
    eventually(lambda: own.http.get(f"/array/{KEY}/config").json()["hasFeatureFlags"] is True)
    assert b'"hasFeatureFlags":true' in own.http.get(f"/array/{KEY}/config.js").content
    assert own.http.get("/array/other/config").json()["hasFeatureFlags"] is False
    assert ask(own)["hasFeatureFlags"] is True


def test_a_service_is_ready_once_it_knows_who_is_in(with_segments: Settings) -> None:
    persons = [f"p{number}" for number in range(20_000)]
    define_flag(with_segments, "f", segment="buyers")
    enter(with_segments, persons, project="default")
    enter(with_segments, persons[:5_000], "left", project="default")

    with serving(with_segments) as service:  # which waits until it is ready
        found = [values(service, distinct_id=one)["f"] for one in (*persons[:20], *persons[-20:])]
    assert found == [False] * 20 + [True] * 20


def test_flags_of_other_segments_are_answered_while_a_new_one_is_read(flags: Ingest) -> None:
    define_flag(flags.settings, "f", segment="buyers")
    enter(flags.settings, ["ann"], project="default")
    eventually(lambda: values(flags) == {"f": True})
    define_segment(flags.settings, "default/segment/other")
    wrong: list[object] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            found = values(flags)
            if found["f"] is not True:
                wrong.append(found)

    watcher = threading.Thread(target=watch)
    watcher.start()
    define_flag(flags.settings, "g", segment="other")
    eventually(lambda: values(flags, distinct_id="bob") == {"f": False, "g": False})
    done.set()
    watcher.join()
    assert not wrong
