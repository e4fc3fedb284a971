"""Notices end to end: from a result topic through the queues to receivers of all manners."""

import asyncio
import base64
import hmac
import signal
import time
from collections import Counter

import msgspec
import pytest

from schemas.notices.delivery import Message, Replay
from schemas.notices.secret import secrets_of, webhook_key
from schemas.settings import Settings
from services.notifier.run import notifying
from services.query.subscriptions.commands import DeliveryCommands
from services.webhooks import queue as queues
from tests.ports import free_ports
from tests.services.webhooks.processes import start_notifier
from tests.services.webhooks.publish import (
    dead_ids,
    define,
    enter,
    states,
    subscribe,
    unsubscribe,
)
from tests.services.webhooks.receiver import Receiver, eventually, receiving

ENTERED = "segment.entered"


def hook(url: str) -> dict[str, str]:
    return {"type": "webhook", "url": url}


def persons(receiver: Receiver) -> list[str]:
    return [one.json["data"]["person_id"] for one in receiver.taken]


async def in_thread(work: object, *arguments: object) -> None:
    await asyncio.to_thread(work, *arguments)  # type: ignore[arg-type] # any function of tests


async def test_a_person_who_enters_is_told_once_and_signed(settings: Settings) -> None:
    async with receiving() as receiver, notifying(settings):
        made = subscribe(settings, "ops", hook(receiver.url), ENTERED)
        await in_thread(enter, settings, ["ada"])
        await in_thread(enter, settings, ["bob"], "left")
        await eventually(lambda: len(receiver.taken) >= 1, lambda: receiver.received)
        (got,) = receiver.taken
        assert got.json["type"] == ENTERED
        assert got.json["data"]["segment_id"] == "buyers"
        assert persons(receiver) == ["ada"]
        (secret,) = secrets_of(webhook_key(settings), made, 0)
        content = f"{got.id}.{got.headers['webhook-timestamp']}.".encode() + got.body
        expected = base64.b64encode(hmac.digest(secret, content, "sha256")).decode()
        assert got.headers["webhook-signature"] == f"v1,{expected}"
        await eventually(lambda: states(settings)["ops"].delivered == 1, lambda: states(settings))


async def test_a_receiver_that_is_down_delays_nobody_and_gets_all_once_it_is_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "_MAX_REST_MS", 300)
    monkeypatch.setattr(queues, "_FIRST_REST_MS", 100)
    monkeypatch.setattr(queues, "_PAUSES_S", (1,))
    (port,) = free_ports(1)
    names = [f"p{number}" for number in range(30)]
    async with receiving() as well, notifying(settings):
        subscribe(settings, "down", hook(f"http://127.0.0.1:{port}/hook"), ENTERED)
        subscribe(settings, "well", hook(well.url), ENTERED)
        await in_thread(enter, settings, names)
        await eventually(lambda: len(well.taken) == 30, lambda: len(well.received))
        await eventually(
            lambda: states(settings)["down"].failures >= queues.BREAK_AFTER,
            lambda: states(settings),
        )
        async with receiving(port) as late:
            await eventually(lambda: len(set(persons(late))) == 30, lambda: persons(late))
            assert Counter(persons(late)) == Counter(names)
        assert {one.id for one in late.taken}.isdisjoint(one.id for one in well.taken)


async def test_a_message_that_fails_is_sent_again_under_its_id_before_later_ones_of_its_key(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "_PAUSES_S", (1,))
    async with receiving() as receiver, notifying(settings):
        failures = 3

        def behave(_: object) -> int:
            nonlocal failures
            failures -= 1
            return 500 if failures >= 0 else 200

        receiver.behave = behave
        subscribe(settings, "ops", hook(receiver.url), ENTERED, "segment.left")
        await in_thread(enter, settings, ["ada"])
        await in_thread(enter, settings, ["ada"], "left")
        await in_thread(enter, settings, ["ada"])
        await eventually(lambda: len(receiver.taken) == 3, lambda: receiver.received)
        assert [one.json["type"] for one in receiver.taken] == [
            ENTERED,
            "segment.left",
            ENTERED,
        ]
        assert len({one.id for one in receiver.received}) == 3
        assert len({one.id for one in receiver.received[:4]}) == 1


async def test_a_slow_receiver_delays_nobody(settings: Settings) -> None:
    async with receiving() as slow, receiving() as quick, notifying(settings):
        slow.pause_s = 5.0
        subscribe(settings, "slow", hook(slow.url), ENTERED)
        subscribe(settings, "quick", hook(quick.url), ENTERED)
        await in_thread(enter, settings, [f"p{number}" for number in range(20)])
        await eventually(lambda: len(quick.taken) == 20, lambda: len(quick.received))
        assert len(slow.taken) < 20


async def test_a_redirect_to_this_machine_is_not_followed(settings: Settings) -> None:
    async with receiving() as receiver, receiving() as target, notifying(settings):
        receiver.behave, receiver.location = lambda _: 302, target.url
        subscribe(settings, "ops", hook(receiver.url), ENTERED)
        await in_thread(enter, settings, ["ada"])
        await eventually(
            lambda: bool(states(settings).get("ops") and states(settings)["ops"].failures),
            lambda: states(settings),
        )
        (first, *_) = states(settings)["ops"].recent
        assert (first.status, first.reason) == (302, "it redirects, which is not followed")
        assert target.received == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_a_private_address_is_not_reached_unless_a_setting_allows_it(
    settings: Settings, host: str
) -> None:
    strict = msgspec.structs.replace(settings, webhook_networks="")
    async with receiving() as receiver, notifying(strict):
        subscribe(settings, "ops", hook(f"http://{host}:{receiver.port}/hook"), ENTERED)
        await in_thread(enter, settings, ["ada"])
        await eventually(
            lambda: bool(states(settings).get("ops") and states(settings)["ops"].failures),
            lambda: states(settings),
        )
        assert "is not public" in states(settings)["ops"].recent[0].reason
        assert receiver.received == []


async def test_a_message_that_nobody_takes_for_a_day_is_dead_until_it_is_replayed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "KEEP_TRYING_MS", 1_000)
    monkeypatch.setattr(queues, "_PAUSES_S", (1,))
    commands = DeliveryCommands(settings)
    async with receiving() as receiver, notifying(settings):
        receiver.behave = lambda _: 400
        subscribe(settings, "ops", hook(receiver.url), ENTERED)
        await in_thread(enter, settings, ["ada", "bob"])
        await eventually(lambda: len(dead_ids(settings)) == 2, lambda: dead_ids(settings))
        assert states(settings)["ops"].dead == 2

        receiver.behave = lambda _: 200
        now = time.time_ns() // 1_000_000 + 1
        await commands.put("shop", "ops", Replay(since=0, until=now))
        await eventually(lambda: len(receiver.taken) == 2, lambda: receiver.received)
        assert {one.id for one in receiver.taken} == set(dead_ids(settings))
        await commands.put("shop", "ops", Replay(since=0, until=now, all=True))
        await eventually(lambda: len(receiver.taken) == 4, lambda: receiver.received)
        assert len({one.id for one in receiver.taken}) == 2


async def test_more_than_is_held_in_memory_is_delivered_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_HELD", 7)
    names = [f"p{number}" for number in range(60)]
    async with receiving() as receiver, notifying(settings):
        receiver.pause_s = 0.01
        subscribe(settings, "ops", hook(receiver.url), ENTERED)
        await in_thread(enter, settings, names)
        await eventually(lambda: len(receiver.taken) >= 60, lambda: len(receiver.taken))
        assert Counter(persons(receiver)) == Counter(names)


async def test_a_subscription_that_ends_is_told_of_nothing_more(settings: Settings) -> None:
    async with receiving() as receiver, receiving() as other, notifying(settings):
        receiver.behave = lambda _: 500
        gone = subscribe(settings, "gone", hook(receiver.url), ENTERED)
        subscribe(settings, "stays", hook(other.url), ENTERED)
        await in_thread(enter, settings, ["ada"])
        await eventually(
            lambda: bool(states(settings).get("gone") and states(settings)["gone"].failures),
            lambda: states(settings),
        )
        unsubscribe(settings, gone)
        await eventually(lambda: "gone" not in states(settings), lambda: states(settings))
        before = len(receiver.received)
        assert before
        await in_thread(enter, settings, ["bob"])
        await eventually(lambda: len(other.taken) == 2, lambda: other.received)
        assert len(receiver.received) == before


async def test_one_that_was_deleted_while_no_notifier_ran_leaves_nothing(
    settings: Settings,
) -> None:
    async with receiving() as receiver, notifying(settings):
        gone = subscribe(settings, "gone", hook(receiver.url), ENTERED)
        await in_thread(enter, settings, ["ada"])
        await eventually(
            lambda: bool(states(settings).get("gone") and states(settings)["gone"].delivered),
            lambda: states(settings),
        )
    unsubscribe(settings, gone)
    async with notifying(settings):
        await eventually(lambda: states(settings) == {}, lambda: states(settings))


async def test_a_paused_subscription_keeps_what_waits(settings: Settings) -> None:
    commands = DeliveryCommands(settings)
    test = Message(id="msg_1", key="test", type="test", created_at=1 << 50, body='{"type":"test"}')
    async with receiving() as receiver, notifying(settings):
        made = subscribe(settings, "ops", hook(receiver.url), ENTERED, active=False)
        await commands.put("shop", "ops", test)
        await eventually(lambda: "ops" in states(settings), lambda: states(settings))
        assert (states(settings)["ops"].waiting, receiver.received) == (1, [])
        active = msgspec.structs.replace(made.subscription, active=True)
        define(settings, msgspec.structs.replace(made, subscription=active, revision=2))
        await eventually(lambda: len(receiver.taken) == 1, lambda: receiver.received)


async def test_everything_is_delivered_through_kills_and_twice_only_if_the_answer_was_lost(
    settings: Settings,
) -> None:
    own = msgspec.structs.replace(settings, worker_id="one")
    names = [f"p{number}" for number in range(120)]
    async with receiving() as receiver:
        receiver.pause_s = 0.02
        subscribe(settings, "ops", hook(receiver.url), ENTERED)
        for part in range(3):
            process = start_notifier(own)
            try:
                await in_thread(enter, settings, names[part * 40 : part * 40 + 40])
                wanted = part * 40 + (15 if part < 2 else 40)
                await eventually(
                    lambda wanted=wanted: len(set(persons(receiver))) >= wanted,  # type: ignore[misc] # the lambda binds the loop's value
                    lambda: persons(receiver),
                )
            finally:
                process.send_signal(signal.SIGKILL if part < 2 else signal.SIGTERM)
                process.wait(30)
        ids = Counter(one.id for one in receiver.taken)
        assert set(persons(receiver)) == set(names)
        assert len(ids) == len(names)
        # At each kill, only what was being sent may come again.
        assert sum(count - 1 for count in ids.values()) <= 2 * (queues.MAX_AT_ONCE + 4)
