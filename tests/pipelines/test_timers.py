"""Timers are due in time, each once."""

import random

import numpy as np

from pipelines.engine.timers import Timers


def test_each_timer_is_taken_once_when_it_is_due() -> None:
    chance = random.Random(3)
    timers, taken = Timers(), 0
    waiting: dict[int, int] = {}
    for now in range(0, 2_000, 20):
        due = {number + now * 1_000: now + chance.randrange(1, 500) for number in range(30)}
        waiting |= due
        timers.add(np.array(list(due.values()), np.int64), np.array(list(due), np.int32))
        times, ids = timers.take(now)
        assert (times <= now).all()
        for number, time in zip(ids.tolist(), times.tolist(), strict=True):
            assert waiting.pop(number) == time
            taken += 1
        assert all(time > now for time in waiting.values())
    assert taken + len(timers) == 3_000
