"""Alerts end to end: live results and queries, told to a receiver, once through kills."""

import asyncio
import signal
import time
import zlib
from collections import Counter
from typing import Any

import msgspec

from schemas.alerts import Alert, AlertDefinition, AlertState, encode_state
from schemas.avro.codec import Codec, Encoder
from schemas.avro.files import load
from schemas.operators.segment import SEGMENT, SegmentDefinition, decode_segment
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from services.notifier.run import notifying
from tests.kafka import Record, produce, read_all
from tests.services.webhooks.processes import start_notifier
from tests.services.webhooks.publish import define, subscribe
from tests.services.webhooks.receiver import eventually, receiving
from tests.warehouse import Event, Warehouse

ABOVE: dict[str, Any] = {"op": "gt", "value": 10}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def define_segment(settings: Settings) -> None:
    segment = decode_segment(b'{"rule": {"performed": {"event": "buy"}}}')
    define(
        settings,
        SegmentDefinition(
            project_id="shop",
            id="buyers",
            version=1,
            created_at=1,
            updated_at=1,
            segment=segment,
            rule=segment.rule,
        ),
    )


def define_alert(settings: Settings, measure: dict[str, Any], **fields: Any) -> AlertDefinition:
    body = {"measure": measure, "condition": ABOVE, "every_s": 1, **fields}
    made = AlertDefinition(
        project_id="shop",
        id="a",
        version=1,
        created_at=now_ms(),
        updated_at=now_ms(),
        alert=msgspec.json.decode(msgspec.json.encode(body), type=Alert),
    )
    define(settings, made)
    return made


class Sizes:
    """Publishes the size of the segment `buyers`, as workers do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = SEGMENT.aggregates.topic(settings.topics).name
        schema = load("segment-size")
        with Registry(settings.cluster) as registry:
            self._encoder = Encoder(schema, registry.register(value_subject(self._topic), schema))

    def publish(self, size: int) -> None:
        rows: list[dict[str, Any]] = [
            {
                "project_id": "shop",
                "segment_id": "buyers",
                "version": 1,
                "partition": partition,
                "day": None,
                "entered": size if partition == 0 else 0,
                "left": 0,
                "late_dropped": 0,
                "position": 1,
                "live_since": 0,
                "behind": 0,
                "updated_at": now_ms(),
            }
            for partition in range(self._settings.partitions)
        ]
        nothing = ("backfilling_to", "behind_since", "failed", "clock", "scores_since")
        values = self._encoder.encode_records({**dict.fromkeys(nothing), **row} for row in rows)
        produce(
            self._settings.cluster,
            self._topic,
            [
                Record(value, f"shop/buyers/1/total/{row['partition']}".encode(), row["partition"])
                for row, value in zip(rows, values, strict=True)
            ],
        )


def incidents(settings: Settings) -> list[dict[str, Any]]:
    """The changes of incidents, in order."""
    records = read_all(settings.cluster, settings.topics.incidents.name)
    if not records:
        return []
    with Registry(settings.cluster) as registry:
        codec = Codec(load("incident"), registry.find)
        found: list[dict[str, Any]] = codec.decode(
            [one.value() for one in records]
        ).batch.to_pylist()
    return found


def changes(settings: Settings) -> list[str]:
    return [one["change"] for one in incidents(settings)]


async def test_a_segment_that_grows_opens_an_incident_that_a_receiver_is_told_of(
    asked: Settings,
) -> None:
    sizes = Sizes(asked)
    define_segment(asked)
    sizes.publish(1)
    async with receiving() as receiver, notifying(asked):
        subscribe(asked, "ops", {"type": "webhook", "url": receiver.url})
        define_alert(asked, {"type": "segment", "segment": "buyers"}, notify=["ops"], name="Many")
        await asyncio.to_thread(sizes.publish, 30)
        await eventually(lambda: len(receiver.taken) == 1, lambda: incidents(asked))
        await asyncio.to_thread(sizes.publish, 2)
        await eventually(lambda: len(receiver.taken) == 2, lambda: incidents(asked))
    opened, closed = (one.json for one in receiver.taken)
    assert (opened["type"], closed["type"]) == ("incident.opened", "incident.closed")
    assert opened["data"]["incident_id"] == closed["data"]["incident_id"]
    assert opened["data"]["text"] == "Many: the size of buyers is 30, above 10"
    assert changes(asked) == ["opened", "closed"]


async def test_no_events_for_some_seconds_are_an_incident(
    asked: Settings, warehouse: Warehouse
) -> None:
    query = {"series": [{"event": "purchase"}]}
    measure = {"type": "query", "query": query, "window_s": 8}
    async with notifying(asked):
        define_alert(asked, measure, condition={"op": "lt", "value": 1})
        await eventually(lambda: changes(asked) == ["opened"], lambda: incidents(asked))
        warehouse.write([Event("shop", "ada", "purchase", now_ms() - 500)])
        await eventually(lambda: changes(asked)[:2] == ["opened", "closed"], lambda: 0)
        await eventually(lambda: len(changes(asked)) == 3, lambda: incidents(asked))


async def test_an_alert_that_is_paused_closes_its_incident_and_measures_no_more(
    asked: Settings,
) -> None:
    sizes = Sizes(asked)
    define_segment(asked)
    sizes.publish(30)
    async with notifying(asked):
        made = define_alert(asked, {"type": "segment", "segment": "buyers"})
        await eventually(lambda: changes(asked) == ["opened"], lambda: incidents(asked))
        paused = msgspec.structs.replace(made.alert, active=False)
        define(asked, msgspec.structs.replace(made, alert=paused, version=2, revision=2))
        await eventually(lambda: changes(asked) == ["opened", "closed"], lambda: incidents(asked))
    assert incidents(asked)[1]["text"] == "a: closed, as the alert was paused"


async def test_an_alert_goes_on_after_a_clock_that_was_ahead_is_set_back(asked: Settings) -> None:
    sizes = Sizes(asked)
    define_segment(asked)
    sizes.publish(30)
    made = define_alert(asked, {"type": "segment", "segment": "buyers"})
    later = now_ms() // 1_000 + 86_400
    state = AlertState(
        created_at=made.created_at, version=1, every_s=1, step=later, phase="firing", opened=later
    )
    number = zlib.crc32(b"shop/a") % asked.partitions
    record = Record(encode_state(state), b"shop/a", number)
    produce(asked.cluster, asked.topics.alert_state.name, [record])
    async with notifying(asked):
        await eventually(lambda: changes(asked) == ["closed", "opened"], lambda: incidents(asked))
    closed, opened = incidents(asked)
    assert closed["text"] == "a: closed, as the clock was set back"
    assert (closed["incident_id"], closed["step"]) == (f"a/{later}", opened["step"])
    assert opened["opened_at"] < 1_000 * later


async def test_an_alert_that_is_deleted_closes_its_incident(asked: Settings) -> None:
    sizes = Sizes(asked)
    define_segment(asked)
    sizes.publish(30)
    async with notifying(asked):
        made = define_alert(asked, {"type": "segment", "segment": "buyers"})
        await eventually(lambda: changes(asked) == ["opened"], lambda: incidents(asked))
        produce(asked.cluster, asked.topics.definitions.name, [Record(None, made.key)])
        await eventually(lambda: changes(asked) == ["opened", "closed"], lambda: incidents(asked))
    assert incidents(asked)[1]["text"] == "a: closed, as the alert was deleted"


async def test_each_change_of_an_incident_is_written_once_through_kills_and_rebalances(
    asked: Settings,
) -> None:
    sizes = Sizes(asked)
    define_segment(asked)
    define_alert(asked, {"type": "segment", "segment": "buyers"})
    running = [start_notifier(asked, "one"), start_notifier(asked, "two")]
    try:
        for turn in range(8):
            await asyncio.to_thread(sizes.publish, 30 if turn % 2 == 0 else 1)
            await eventually(lambda turn=turn: len(changes(asked)) > turn, lambda: incidents(asked))  # type: ignore[misc] # the lambda binds the loop's value
            killed = turn % 2
            running[killed].send_signal(signal.SIGKILL)
            running[killed].wait(30)
            running[killed] = start_notifier(asked, ("one", "two")[killed])
    finally:
        for process in running:
            process.kill()
            process.wait(30)
    found = incidents(asked)
    written = Counter((one["incident_id"], one["change"]) for one in found)
    assert set(written.values()) == {1}
    assert [one["change"] for one in found] == ["opened", "closed"] * 4
