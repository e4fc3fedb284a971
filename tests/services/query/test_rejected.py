"""What a project has sent to Kafka that is no event: counted by reason, with samples."""

import json
from typing import Any

import httpx
import pytest

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.dedup import Coverage, record_key
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.rejected import MAX_VALUE_BYTES, Origin, rejected
from schemas.settings import Settings
from tests.kafka import Record, produce
from tests.services.query.conftest import eventually

PATH = "/api/projects/shop/rejected"
STATUS = "/api/projects/shop/status"


def record(
    reason: str,
    value: bytes | None,
    key: bytes | None = b"shop:ann",
    *,
    offset: int = 7,
    project: str = "",
    headers: Any = (),
) -> Record:
    """Return what the Tracker writes about a record of the inbox."""
    made = rejected(
        Origin("avila.inbox", 1, offset), reason, f"{reason}: no", key, value, headers, project
    )
    texts = [
        (name, text.encode() if isinstance(text, str) else text) for name, text in made.headers
    ]
    return Record(made.value, made.key, headers=tuple((name, text or b"") for name, text in texts))


async def shown(
    query: httpx.AsyncClient, total: int, path: str = PATH, **parameters: int
) -> list[dict[str, Any]]:
    answer = await eventually(
        lambda: query.get(path, params=parameters),
        lambda now: now.is_success and now.json()["total"] == total,
    )
    reasons: list[dict[str, Any]] = answer.json()["reasons"]
    return reasons


async def test_what_was_rejected_is_counted_by_reason_with_the_newest_samples(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    topic = settings.topics.rejected.name
    records = [record("invalid_field", b"%d" % n, offset=n) for n in range(25)]
    produce(settings.bootstrap, topic, [*records, record("not_an_event", b"garbage")])

    often, once = await shown(query, 26)

    assert (often["reason"], often["count"]) == ("invalid_field", 25)
    assert (once["reason"], once["count"]) == ("not_an_event", 1)
    assert once["first_at"] == once["last_at"] == once["samples"][0]["rejected_at"]
    assert once["last_at"].endswith("Z")
    del once["samples"][0]["rejected_at"]
    assert once["samples"] == [
        {
            "detail": "not_an_event: no",
            "key": "shop:ann",
            "topic": "avila.inbox",
            "partition": 1,
            "offset": 7,
            "length": 7,
            "value": "garbage",
        }
    ]
    assert [one["value"] for one in often["samples"]] == ["24", "23", "22"]
    most, _ = await shown(query, 26, samples=10)
    assert len(most["samples"]) == 10
    none, _ = await shown(query, 26, samples=0)
    assert none["samples"] == []


async def test_an_event_in_avro_is_shown_as_json_and_a_long_value_is_cut(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    inbox, schema = settings.topics.inbox.name, load("event")
    with Registry(settings.bootstrap) as registry:
        encoder = Encoder(schema, registry.register(value_subject(inbox), schema))
    event = {"project_id": "shop", "distinct_id": "ann", "event": "", "timestamp": 1}
    [value] = encoder.encode_records([event])
    long = record("too_large", b"x" * (MAX_VALUE_BYTES + 1))
    records = [record("invalid_field", value), record("undecodable", b"\0\xff\xff"), long]
    produce(settings.bootstrap, settings.topics.rejected.name, records)

    found = {one["reason"]: one["samples"][0] for one in await shown(query, 3)}

    assert json.loads(found["invalid_field"]["value"])["distinct_id"] == "ann"
    assert found["undecodable"]["value"] == "\0\ufffd\ufffd"
    assert len(found["too_large"]["value"]) == 2_000
    assert found["too_large"]["length"] == MAX_VALUE_BYTES + 1


async def test_a_project_sees_its_own_and_the_default_project_what_names_none(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    own = [("reason", b"forged"), ("project", b"shop"), ("rejected_at", b"x")]
    records = [
        record("mine", b"1"),
        record("named", b"1", b"other:ann", project="shop"),
        record("theirs", b"1", b"other:ann", headers=own),
        record("nobodys", b"1", None),
        record("nobodys", b"1", b"no key of ours"),
        Record(b"by nobody"),
    ]
    produce(settings.bootstrap, settings.topics.rejected.name, records)

    assert {one["reason"] for one in await shown(query, 2)} == {"mine", "named"}
    others = await shown(query, 1, "/api/projects/other/rejected")
    assert [one["reason"] for one in others] == ["theirs"]
    default = await shown(query, 3, "/api/projects/default/rejected")
    assert {one["reason"]: one["count"] for one in default} == {"nobodys": 2, "unknown": 1}


@pytest.mark.parametrize("text", ["-1", "11", "many"])
async def test_a_number_of_samples_that_is_not_accepted_is_refused(
    query: httpx.AsyncClient, text: str
) -> None:
    refused = await query.get(PATH, params={"samples": text})
    assert refused.status_code == 400
    assert "accepted are 0 to 10" in refused.text


async def test_the_status_warns_when_duplicates_are_known_for_less_than_the_window(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    topic, hour = settings.topics.dedup.name, 3_600_000

    async def said(hours: float) -> str:
        answer = await eventually(
            lambda: query.get(STATUS),
            lambda now: now.is_success and now.json()["dedup"]["covered_hours"] == hours,
        )
        warning: str = answer.json()["dedup"]["warning"]
        return warning

    def write(partition: int, covered_ms: int | None, project: str = "shop") -> None:
        value = None
        if covered_ms is not None:
            value = json.dumps({"covered_ms": covered_ms, "window_ms": 24 * hour}).encode()
        produce(settings.bootstrap, topic, [Record(value, record_key(project, partition))])

    assert await said(24) == ""
    write(0, hour, "other")
    write(0, 6 * hour)
    write(1, hour * 3 // 2)
    warning = await said(1.5)
    assert "after 1.50 hours counts again" in warning
    assert "AVILA_DEDUP_MEMORY_MB" in warning
    produce(settings.bootstrap, topic, [Record(b"{", record_key("shop", 1)), Record(b"", b"x")])
    write(1, None)
    assert "after 6.00 hours" in await said(6)
    write(0, None)
    assert await said(24) == ""
    assert Coverage(1, 2).covered_ms == 1
