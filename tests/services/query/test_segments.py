"""Segments over REST, beside a stand-in for the worker."""

from collections.abc import Mapping
from typing import Any

import httpx
import jsonschema
import pyarrow as pa
import pytest

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.operators.segment import SEGMENT, decode
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from schemas.topics import Topic
from services.query.openapi import document
from tests.conftest import PARTITIONS
from tests.kafka import Record, produce, read_all
from tests.services.query.conftest import Place, eventually
from tests.services.query.test_openapi import check

SEGMENTS = "/api/projects/shop/segments"
BUYERS: dict[str, Any] = {"rule": {"performed": {"event": "buy", "within_s": 86_400}}}
SIZE_KEY = ("project_id", "segment_id", "version", "day", "partition")
DAY = 20_779  # 2026-11-22


def using(*names: str) -> dict[str, Any]:
    return {"rule": {"and": [{"segment": name} for name in names]}}


async def create(client: httpx.AsyncClient, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    answer = await client.post(SEGMENTS, json=dict(body) | {"id": name})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


def stored(settings: Settings, name: str) -> Any:
    """The newest definition of a segment on the topic."""
    records = read_all(settings.bootstrap, settings.topics.definitions.name)
    key = f"shop/segment/{name}".encode()
    value = [record.value() for record in records if record.key() == key][-1]
    assert value is not None
    return decode(value)


class Publisher:
    """Publishes what the worker does of segments: keys, wire format, partitions."""

    def __init__(self, place: Place) -> None:
        self._settings = place.settings
        self._project = place.renamed("shop")

    def sizes(self, *rows: dict[str, Any]) -> None:
        common = {
            "project_id": self._project,
            "segment_id": "buyers",
            "version": 1,
            "partition": 0,
            "late_dropped": 0,
            "position": 7,
            "backfilling_to": None,
            "live_since": None,
            "failed": None,
            "clock": None,
            "updated_at": 1_000,
        }
        filled = [common | row for row in rows]
        keys = ["/".join(str(row[name]) for name in SIZE_KEY).encode() for row in filled]
        self._send(SEGMENT.aggregates.topic(self._settings.topics), "segment-size", keys, filled)

    def moves(self, segment: str, change: str, *persons: str, version: int = 1) -> None:
        rows = [
            {
                "project_id": self._project,
                "segment_id": segment,
                "version": version,
                "person_id": person,
                "change": change,
                "at": 1_000,
                "event_at": None,
            }
            for person in persons
        ]
        keys = [f"{self._project}/{segment}/{person}".encode() for person in persons]
        self._send(SEGMENT.changes[0].topic(self._settings.topics), "segment-change", keys, rows)

    def _send(
        self, topic: Topic, schema: str, keys: list[bytes], rows: list[dict[str, Any]]
    ) -> None:
        loaded = load(schema)
        with Registry(self._settings.bootstrap) as registry:
            encoder = Encoder(loaded, registry.register(value_subject(topic.name), loaded))
        values = encoder.encode(pa.RecordBatch.from_pylist(rows, schema=encoder.arrow))
        records = [
            Record(value, key, row.get("partition", 0))
            for key, value, row in zip(keys, values, rows, strict=True)
        ]
        produce(self._settings.bootstrap, topic.name, records)


@pytest.fixture
def publisher(place: Place) -> Publisher:
    return Publisher(place)


async def test_a_segment_is_made_changed_and_deleted(query: httpx.AsyncClient) -> None:
    shown = await create(query, "buyers", BUYERS)
    assert shown | BUYERS | {"id": "buyers", "version": 1, "name": ""} == shown
    assert (await query.get(f"{SEGMENTS}/buyers")).json() == shown
    assert (await query.get(SEGMENTS)).json() == {"segments": [shown], "next": None}
    changed = (await query.put(f"{SEGMENTS}/buyers", json=shown | {"name": "Buyers"})).json()
    assert (changed["name"], changed["revision"], changed["version"]) == ("Buyers", 2, 1)
    other = {"rule": {"performed": {"event": "sell"}}}
    changed = (await query.put(f"{SEGMENTS}/buyers", json=other)).json()
    assert (changed["revision"], changed["version"]) == (3, 2)
    assert (await query.delete(f"{SEGMENTS}/buyers")).status_code == 204
    assert (await query.get(f"{SEGMENTS}/buyers")).status_code == 404


async def test_what_is_wrong_with_a_rule_is_named(query: httpx.AsyncClient) -> None:
    rule = {"not": {"performed": {"where": [{"property": "^`a`", "value": 1}]}}}
    answer = await query.post(SEGMENTS, json={"rule": rule})
    assert answer.status_code == 400
    assert error_of(answer)["field"] == "rule.not.performed.where[0].property"


async def test_a_reference_stands_for_the_rule_of_the_other(
    query: httpx.AsyncClient, settings: Settings
) -> None:
    await create(query, "buyers", BUYERS)
    await create(query, "twice", using("buyers"))
    await create(query, "thrice", using("twice"))
    rules = {"buyers": stored(settings, "buyers").rule}
    assert stored(settings, "thrice").rule.and_[0].and_ == (rules["buyers"],)

    other = {"rule": {"performed": {"event": "sell"}}}
    assert (await query.put(f"{SEGMENTS}/buyers", json=other)).status_code == 200
    for name in ("twice", "thrice"):
        again = (await query.get(f"{SEGMENTS}/{name}")).json()
        assert again["version"] == 2
        assert "segment" in again["rule"]["and"][0]
    assert stored(settings, "thrice").rule.and_[0].and_ == (stored(settings, "buyers").rule,)
    assert stored(settings, "buyers").rule.performed.event == "sell"


async def test_a_change_that_means_nothing_to_others_leaves_them_alone(
    query: httpx.AsyncClient,
) -> None:
    await create(query, "buyers", BUYERS)
    await create(query, "twice", using("buyers"))
    await query.put(f"{SEGMENTS}/buyers", json=BUYERS | {"name": "Buyers"})
    assert (await query.get(f"{SEGMENTS}/twice")).json()["version"] == 1


async def test_circles_and_what_is_not_there_are_refused(query: httpx.AsyncClient) -> None:
    await create(query, "buyers", BUYERS)
    await create(query, "twice", using("buyers"))
    circle = await query.put(f"{SEGMENTS}/buyers", json=using("twice"))
    assert circle.status_code == 400
    assert "buyers → twice → buyers" in error_of(circle)["message"]
    missing = await query.post(SEGMENTS, json=using("buyers", "none"))
    assert missing.status_code == 400
    assert error_of(missing)["field"] == "rule.and[1].segment"


async def test_a_segment_in_use_is_not_deleted(query: httpx.AsyncClient) -> None:
    await create(query, "buyers", BUYERS)
    await create(query, "twice", using("buyers"))
    await create(query, "also", using("buyers"))
    refused = await query.delete(f"{SEGMENTS}/buyers")
    assert refused.status_code == 409
    assert "also, twice" in error_of(refused)["message"]
    for name in ("also", "twice", "buyers"):
        assert (await query.delete(f"{SEGMENTS}/{name}")).status_code == 204


async def test_sizes_add_up_over_partitions_and_days(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query, "buyers", BUYERS)
    publisher.sizes(
        {"day": None, "entered": 5, "left": 1, "clock": 900},
        {"day": DAY, "entered": 3, "left": 0},
        {"day": DAY + 2, "entered": 2, "left": 1},
        {"day": None, "entered": 1, "left": 0, "partition": 1, "clock": 900},
        {"day": DAY + 1, "entered": 1, "left": 0, "partition": 1},
    )
    url = f"{SEGMENTS}/buyers/results"
    answer = await eventually(lambda: query.get(url), lambda answer: answer.json()["persons"] == 5)
    check("/api/projects/{project}/segments/{id}/results", answer)
    assert PARTITIONS == 2
    shown = answer.json()
    assert (shown["state"], shown["positions"]) == ("live", {"0": 7, "1": 7})
    assert [tuple(day.values()) for day in shown["days"]] == [
        ("2026-11-22", 3, 3, 0),
        ("2026-11-23", 4, 1, 0),
        ("2026-11-24", 5, 2, 1),
    ]
    some = (await query.get(url, params={"from": "2026-11-23", "to": "2026-11-23"})).json()
    assert some["days"] == shown["days"][1:2]


async def test_members_and_overlap_are_those_of_the_stream(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    for name in ("buyers", "readers", "fans"):
        await create(query, name, BUYERS)
    publisher.moves("buyers", "entered", "ada", "bob", "cy", "dan")
    publisher.moves("readers", "entered", "bob", "cy", "eve")
    publisher.moves("fans", "entered", "cy")
    publisher.moves("buyers", "left", "dan")
    url = f"{SEGMENTS}/buyers/members"
    answer = await eventually(
        lambda: query.get(url), lambda answer: answer.json()["persons"] == ["ada", "bob", "cy"]
    )
    check("/api/projects/{project}/segments/{id}/members", answer)
    page = (await query.get(url, params={"limit": 2})).json()
    assert (page["persons"], page["next"]) == (["ada", "bob"], "bob")
    page = (await query.get(url, params={"after": "bob"})).json()
    assert (page["persons"], page["next"]) == (["cy"], None)

    url = f"{SEGMENTS}/buyers/overlap"
    answer = await query.get(url, params={"with": "readers,fans"})
    check("/api/projects/{project}/segments/{id}/overlap", answer)
    counts = {tuple(one["segments"]): one["persons"] for one in answer.json()["overlaps"]}
    assert counts == {
        ("buyers",): 3,
        ("readers",): 3,
        ("fans",): 1,
        ("buyers", "readers"): 2,
        ("buyers", "fans"): 1,
        ("readers", "fans"): 1,
        ("buyers", "readers", "fans"): 1,
    }
    for wrong in ("", "none", "buyers", "readers,readers", "readers,fans,none"):
        refused = await query.get(url, params={"with": wrong})
        assert (refused.status_code, error_of(refused)["field"]) == (400, "with")


async def test_members_of_the_stream_are_a_table_once_the_segment_is_live(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    await create(query, "buyers", BUYERS)
    url, csv = f"{SEGMENTS}/buyers/members", {"accept": "text/csv"}
    publisher.moves("buyers", "entered", "ada", "bob", "cy")
    await eventually(lambda: query.get(url), lambda answer: len(answer.json()["persons"]) == 3)
    refused = await query.get(url, headers=csv)
    assert (refused.status_code, error_of(refused)["code"]) == (503, "back_off")
    total = {"segment_id": "buyers", "version": 1, "day": None, "entered": 3, "left": 0}
    publisher.sizes(*(total | {"live_since": 7, "partition": n} for n in range(PARTITIONS)))
    table = await eventually(
        lambda: query.get(url, headers=csv, params={"limit": 1}),
        lambda answer: answer.status_code == 200,
    )
    assert table.text == 'person\n"ada"\n"bob"\n"cy"\n'
    assert table.headers["x-avila-positions"] == "0:7,1:7"
    rest = await query.get(url, headers={"accept": "application/x-ndjson"}, params={"after": "ada"})
    assert rest.text == '{"person":"bob"}\n{"person":"cy"}\n'


async def test_the_previous_version_is_shown_until_the_new_one_is_live_on_all_partitions(
    query: httpx.AsyncClient, publisher: Publisher
) -> None:
    """Also of segments that change only because another one does."""

    def live(name: str, version: int) -> None:
        publisher.sizes(
            *(
                {"segment_id": name, "version": version, "partition": n, "day": None}
                | {"entered": n + 1, "left": 0, "live_since": 7}
                for n in range(PARTITIONS)
            )
        )

    await create(query, "buyers", BUYERS)
    await create(query, "fans", using("buyers"))
    for name in ("buyers", "fans"):
        live(name, 1)
        publisher.moves(name, "entered", "ada", "bob")
        address = f"{SEGMENTS}/{name}"
        before = await eventually(
            lambda address=address: query.get(f"{address}/results"),  # type: ignore[misc]  # bound
            lambda answer: answer.json()["state"] == "live",
        )
    members, overlap = f"{SEGMENTS}/fans/members", f"{SEGMENTS}/fans/overlap?with=buyers"
    await eventually(
        lambda: query.get(members), lambda answer: answer.json()["persons"] == ["ada", "bob"]
    )

    other = {"rule": {"performed": {"event": "sell"}}}
    await query.put(f"{SEGMENTS}/buyers", json=other)
    shown = (await query.get(f"{SEGMENTS}/fans/results")).json()
    assert (shown["segment"]["version"], shown["state"], shown["persons"]) == (2, "backfilling", 0)
    assert shown["previous"] == before.json()
    page = (await query.get(members)).json()
    check("/api/projects/{project}/segments/{id}/members", await query.get(members))
    assert (page["version"], page["persons"]) == (2, [])
    assert (page["previous"]["version"], page["previous"]["persons"]) == (1, ["ada", "bob"])
    both = (await query.get(overlap)).json()
    assert both["state"] == "backfilling"
    assert [one["persons"] for one in both["overlaps"]] == [0, 0, 0]
    assert [one["persons"] for one in both["previous"]["overlaps"]] == [2, 2, 2]

    # Promoted, and not yet published: nobody is missing meanwhile.
    live("fans", 2)
    shown = await eventually(lambda: query.get(members), lambda now: not now.json()["previous"])
    assert (shown.json()["version"], shown.json()["state"]) == (2, "live")
    await eventually(lambda: query.get(members), lambda now: len(now.json()["persons"]) == 2)
    publisher.moves("fans", "left", "ada")
    publisher.moves("fans", "entered", "cy", version=2)
    await eventually(
        lambda: query.get(members), lambda answer: answer.json()["persons"] == ["bob", "cy"]
    )


async def test_a_store_that_is_away_is_said(query: httpx.AsyncClient) -> None:
    for name in ("buyers", "readers"):
        await create(query, name, BUYERS)
    for asked in ("results", "members", "overlap"):
        params = {"source": "store"} | ({"with": "readers"} if asked == "overlap" else {})
        answer = await query.get(f"{SEGMENTS}/buyers/{asked}", params=params)
        assert answer.status_code == 503


async def test_what_is_described_as_accepted_is_accepted(query: httpx.AsyncClient) -> None:
    rule = {"or": [BUYERS["rule"], {"person": [{"property": "plan", "op": "is_set"}]}]}
    components = document()["components"]
    shown = await create(query, "some", {"rule": rule})
    for name, body in (("NewSegment", {"id": "x", "rule": rule}), ("ChangedSegment", shown)):
        schema = components["schemas"][name] | {"components": components}
        jsonschema.Draft202012Validator(schema).validate(body)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate(body | {"rule": {}})
    assert (await query.put(f"{SEGMENTS}/some", json=shown)).status_code == 200
