"""Many viewers of one project, some of whom read nothing: nobody else waits for them."""

import json
import threading
import time

import psutil
import pytest

from benchmarks.viewers import MISSED_S, Viewers
from tests.credentials import TOKEN
from tests.services.query.conftest import Place, Worker
from tests.services.query.test_live import TIMEOUT_S, Events, Service, define

QUICK, SLOW, STATES = 50, 10, 40
# On a machine that does much else at the same time.
MAX_DELAY_S = 20.0
MAX_ADDED_BYTES = 256 << 20


@pytest.fixture
def service(place: Place) -> Service:
    return Service(place)


def test_slow_viewers_are_ended_with_the_reason_and_delay_nobody(
    service: Service, place: Place, worker: Worker
) -> None:
    define(place, "buy")
    events, wide = Events(place), json.dumps({"text": "x" * 2_000})
    before, over = service.refused("slow_reader"), threading.Event()
    memory = psutil.Process().memory_info().rss

    def flood() -> None:
        while not over.wait(0.1):
            events.publish(*("view" for _ in range(10)), properties=wide)

    viewers = Viewers(
        f"http://127.0.0.1:{service.port}",
        TOKEN,
        service.project,
        "buy",
        quick=QUICK,
        slow=SLOW,
    )
    sent = []
    flooding = threading.Thread(target=flood)
    with viewers.watching():
        flooding.start()
        try:
            deadline = time.monotonic() + TIMEOUT_S
            figure = 0
            while figure < STATES or service.refused("slow_reader") < before + SLOW:
                assert time.monotonic() < deadline, "slow viewers are not ended"
                figure += 1
                worker.publish({"reached": [figure, 0], "position": figure})
                sent.append((figure, time.monotonic()))
                over.wait(0.2)
            while max(viewers.delays(figure, 0)) == MISSED_S:
                assert time.monotonic() < deadline, "a viewer has not seen the last figures"
                over.wait(0.2)
        finally:
            over.set()
            flooding.join()
    worst = max(max(viewers.delays(figure, since)) for figure, since in sent)
    assert worst < MAX_DELAY_S
    assert viewers.lost == []
    assert len(viewers.ended) == SLOW
    # 1006 if what waited for it was not read within some seconds either.
    assert set(viewers.ended) <= {(1013, "nothing was read for 10 s: connect again"), (1006, "")}
    # The viewers are in this process, too.
    assert psutil.Process().memory_info().rss - memory < MAX_ADDED_BYTES
