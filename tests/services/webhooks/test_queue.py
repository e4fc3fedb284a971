"""The queue of a subscription: order a key, pauses, rests, death after a day; pure decisions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.notices.delivery import DeliveryState, Message, decode_state, encode_state
from services.webhooks import queue as module
from services.webhooks.post import Answer
from services.webhooks.queue import BREAK_AFTER, KEEP_TRYING_MS, SubscriptionQueue, pause_ms

OK, FAILED = Answer(200), Answer(500, "no")


def message(number: int, key: str = "a", created_at: int = 0) -> Message:
    return Message(id=f"m{number}", key=key, type="test", created_at=created_at, body="{}")


def filled(*messages: Message) -> SubscriptionQueue:
    made = SubscriptionQueue(DeliveryState(created_at=0))
    for offset, one in enumerate(messages):
        assert made.take(offset, one)
    return made


def test_messages_of_one_key_wait_for_each_other_and_others_do_not() -> None:
    waiting = filled(message(0, "a"), message(1, "a"), message(2, "b"))
    assert [held.offset for held in waiting.start(0)] == [0, 2]
    assert waiting.start(0) == []
    assert waiting.finish(0, FAILED, 0) is None
    assert waiting.start(0) == []
    assert waiting.finish(2, OK, 0) is None
    assert [held.offset for held in waiting.start(6_000)] == [0]
    waiting.finish(0, OK, 6_000)
    assert [held.offset for held in waiting.start(6_000)] == [1]


def test_pauses_grow_and_a_message_that_nobody_takes_is_dead_after_a_day() -> None:
    waiting, now, tries = filled(message(0)), 0, 0
    dead = None
    while dead is None:
        at = waiting.wakes_at(now)
        assert at is not None
        now = max(now, at)
        if waiting.start(now):
            tries += 1
            dead = waiting.finish(0, FAILED, now)
    assert KEEP_TRYING_MS <= now < KEEP_TRYING_MS + 120_000
    assert (dead.status, dead.reason, waiting.idle) == (500, "no", True)
    assert tries > BREAK_AFTER
    pauses = [pause_ms("m", count) for count in range(1, 12)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 6_000


def test_a_receiver_that_fails_gets_one_try_a_minute_until_it_answers() -> None:
    waiting = filled(*(message(number, f"k{number}") for number in range(10)))
    now = 0
    while waiting.state.failures < BREAK_AFTER:
        for held in waiting.start(now):
            waiting.finish(held.offset, FAILED, now)
        now += 1_000
    tries = 0
    for second in range(600):
        tries += len(started := waiting.start(now + 1_000 * second))
        for held in started:
            waiting.finish(held.offset, FAILED, now + 1_000 * second)
    assert 9 <= tries <= 15
    now += waiting.state.open_until
    (probe,) = waiting.start(now)
    waiting.finish(probe.offset, OK, now)
    assert len(waiting.start(now)) == module.MAX_AT_ONCE


def test_a_receiver_that_names_a_pause_gets_it() -> None:
    waiting = filled(message(0))
    waiting.start(0)
    waiting.finish(0, Answer(429, "slower", 300), 0)
    assert waiting.start(299_000) == []
    assert waiting.start(300_000)


def test_a_corrected_address_is_tried_at_once() -> None:
    waiting = filled(message(0))
    waiting.renew(1, 0)
    for number in range(7):
        waiting.state.open_until = 0
        waiting.start(10**9 * number)
        waiting.finish(0, FAILED, 1_000)
    assert waiting.start(1_000) == []
    waiting.renew(2, 1_000)
    assert waiting.start(1_000)


def test_what_finds_no_room_is_read_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 2)
    waiting = filled(message(0), message(1))
    assert not waiting.take(2, message(2))
    assert (waiting.resume, waiting.has_room) == (2, False)
    waiting.start(0)
    waiting.finish(0, OK, 0)
    assert waiting.has_room
    assert waiting.snapshot().low == 1


@given(
    answers=st.lists(st.booleans(), min_size=200, max_size=200),
    keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=12),
    crashes=st.sets(st.integers(0, 60), max_size=5),
)
def test_each_message_is_delivered_in_order_a_key_through_failures_and_restarts(
    answers: list[bool], keys: list[str], crashes: set[int]
) -> None:
    log = [message(number, key) for number, key in enumerate(keys)]
    waiting = filled(*log)
    delivered: list[int] = []
    now, step = 0, 0
    committed = encode_state(waiting.snapshot())
    while not waiting.idle:
        step += 1
        if step in crashes:  # the process is killed before it has committed
            state = decode_state(committed)
            waiting = SubscriptionQueue(state)
            waiting.resume = None
            for offset, one in enumerate(log):
                if state.low is not None and offset >= state.low:
                    waiting.take(offset, one)
        now = max(now, waiting.wakes_at(now) or now)
        for held in waiting.start(now):
            ok = not answers or answers.pop()
            if ok:
                delivered.append(held.offset)
            waiting.finish(held.offset, OK if ok else FAILED, now)
        if step not in crashes:
            committed = encode_state(waiting.snapshot())
    firsts = list(dict.fromkeys(delivered))
    assert sorted(firsts) == list(range(len(log)))
    for key in set(keys):
        own = [offset for offset in firsts if keys[offset] == key]
        assert own == sorted(own)


def test_the_state_stays_small_however_many_overtake_a_message_that_fails() -> None:
    waiting, now = filled(message(0, "stuck")), 0
    for offset in range(1, 20_000):
        assert waiting.take(offset, message(offset, f"k{offset % 7}"))
        for held in waiting.start(now):
            waiting.finish(held.offset, FAILED if held.offset == 0 else OK, now)
    committed = encode_state(waiting.snapshot())
    assert waiting.state.low == 0
    assert waiting.state.delivered == 19_999
    assert len(committed) < 5_000
    again = SubscriptionQueue(decode_state(committed))
    again.resume = None
    for offset in range(20_000):
        assert again.take(offset, message(offset, "stuck" if offset == 0 else f"k{offset % 7}"))
    assert [held.offset for held in again.start(10_000)] == [0]
    again.finish(0, OK, 10_000)
    assert again.take(20_000, message(20_000))
    assert [held.offset for held in again.start(10_000)] == [20_000]


def test_what_an_earlier_version_had_settled_is_not_sent_again() -> None:
    state = decode_state(b'{"created_at": 0, "low": 2, "settled": [3, 5, 6], "delivered": 5}')
    waiting = SubscriptionQueue(state)
    assert waiting.resume == 2
    again = SubscriptionQueue(decode_state(encode_state(waiting.snapshot())))
    again.resume = None
    for offset in range(2, 9):
        again.take(offset, message(offset, f"k{offset}"))
        assert offset not in again.snapshot().settled
    assert again.state.settled == []
    assert [held.offset for held in again.start(0)] == [2, 4, 7, 8]


def test_a_message_that_the_log_has_no_more_is_forgotten() -> None:
    waiting = filled(message(0, "a"), message(1, "b"))
    again = SubscriptionQueue(decode_state(encode_state(waiting.snapshot())))
    again.resume = None
    again.take(1, message(1, "b"))
    assert again.snapshot().open == [1]
