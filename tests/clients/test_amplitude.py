"""Amplitude's Python client, unmodified: what it sends stands on the inbox, or is reported."""

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amplitude import Amplitude, BaseEvent, Config, EventOptions, Identify, Revenue
from amplitude.constants import SDK_VERSION

from schemas.identity import scoped_id
from tests.clients.conftest import losing_one_answer, stored
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest, eventually

PAID_MS = 1_772_366_400_250


class Outcomes(list[tuple[str, int, str]]):
    """Of every event that the client is done with, its name, the code and the message."""

    def add(self, event: BaseEvent, code: int, message: str | None = None) -> None:
        self.append((event.event_type, code, message or ""))


@contextmanager
def client(url: str, outcomes: Outcomes, key: str = KEY, **options: Any) -> Iterator[Any]:
    """A client of `url` that sends at once what is tracked, and ends its threads."""
    config = Config(
        server_url=f"{url}/2/httpapi", callback=outcomes.add, flush_interval_millis=50, **options
    )
    # At its end it sends no more what is to be sent again: have `outcomes` before.
    amplitude = Amplitude(key, config)
    try:
        yield amplitude
    finally:
        amplitude.shutdown()


def test_amplitude(ingest: Ingest) -> None:
    name = str(uuid.uuid4())
    user = EventOptions(user_id="u1", device_id="d1", session_id=-1)
    outcomes = Outcomes()
    with client(f"http://127.0.0.1:{ingest.port}", outcomes, min_id_length=1) as amplitude:
        amplitude.track(
            BaseEvent(
                "a paid",
                user_id="u1",
                device_id="d1",
                time=PAID_MS,
                insert_id=name,
                session_id=1_772_366_399_000,
                event_properties={"für": 12.5},
                ip="1.2.3.4",
                os_name="Linux",
            )
        )
        amplitude.track(BaseEvent("b seen", device_id="d2", user_properties={"plan": "free"}))
        amplitude.identify(
            Identify().set("plan", "pro").set_once("since", 2026).add("visits", 1), user
        )
        amplitude.group_identify("company", "acme", Identify().set("seats", 5))
        amplitude.set_group("company", "acme", user)
        revenue = Revenue(price=9.5, quantity=2, product_id="p1")
        amplitude.revenue(revenue, user)
        eventually(lambda: len(outcomes) == 6)

    assert {code for _, code, _ in outcomes} == {200}
    group, person, joined, paid, seen, bought = stored(ingest)
    if "$operations" not in person["properties"]:
        person, joined = joined, person
    assert paid["event_id"] == scoped_id("d1", name)
    assert (paid["event"], paid["timestamp"]) == ("a paid", PAID_MS)
    assert (paid["distinct_id"], paid["anonymous_id"]) == ("u1", "d1")
    assert paid["session_id"] == "1772366399000"
    assert paid["properties"] == {"für": 12.5}
    assert paid["context"] == {
        "ip": "1.2.3.4",
        "os": {"name": "Linux"},
        "library": {"name": "amplitude-python", "version": SDK_VERSION},
    }
    assert (seen["event"], seen["distinct_id"], seen["anonymous_id"]) == ("b seen", "d2", "d2")
    assert seen["properties"] == {"$set": {"plan": "free"}}
    assert (person["event"], person["distinct_id"]) == ("$identify", "u1")
    assert person["session_id"] is None
    assert person["properties"] == {
        "$set": {"plan": "pro"},
        "$set_once": {"since": 2026},
        "$operations": {"$add": {"visits": 1}},
    }
    assert (group["event"], group["distinct_id"]) == ("$group", "$company_acme")
    assert group["properties"] == {
        "$group_type": "company",
        "$group_id": "acme",
        "$groups": {"company": "acme"},
        "$group_set": {"seats": 5},
    }
    assert joined["properties"] == {"$set": {"company": "acme"}, "$groups": {"company": "acme"}}
    assert bought["event"] == "revenue_amount"
    assert bought["properties"] == {"$price": 9.5, "$quantity": 2, "$productId": "p1"}


def test_what_is_sent_again_after_a_lost_answer_is_the_same_event(ingest: Ingest) -> None:
    outcomes = Outcomes()
    with losing_one_answer(ingest.port) as url, client(url, outcomes) as amplitude:
        for user in ("u1", "u2"):
            amplitude.track(BaseEvent("seen", user_id=user))
        eventually(lambda: len(outcomes) == 2)

    assert {code for _, code, _ in outcomes} == {200}
    ids = [event["event_id"] for event in stored(ingest)]
    assert len(ids) > len(set(ids)) == 2


def test_what_can_never_be_taken_is_reported_and_not_sent_again(ingest: Ingest) -> None:
    outcomes = Outcomes()
    with client(f"http://127.0.0.1:{ingest.port}", outcomes) as amplitude:
        amplitude.track(BaseEvent("x" * 201, user_id="u1"))
        eventually(lambda: len(outcomes) == 1)

    [(_, code, message)] = outcomes
    assert code == 400
    assert "max_name_chars" in message
    assert ingest.metric('avila_ingest_requests_total{format="amplitude",status="400"}') == 1
    assert not ingest.inbox()


def test_a_bad_event_does_not_make_its_neighbours_be_sent_again(ingest: Ingest) -> None:
    outcomes = Outcomes()
    with client(f"http://127.0.0.1:{ingest.port}", outcomes, flush_queue_size=3) as amplitude:
        for name in ("seen", "x" * 201, "paid"):
            amplitude.track(BaseEvent(name, user_id="u1"))
        eventually(lambda: len(outcomes) == 3)

    assert [event["event"] for event in stored(ingest)] == ["paid", "seen"]


def test_a_wrong_key_is_known_as_one(ingest: Ingest) -> None:
    said: list[str] = []
    done = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            done.set()

    logger = logging.getLogger(f"amplitude of {uuid.uuid4()}")
    logger.addHandler(Listener())
    url = f"http://127.0.0.1:{ingest.port}"
    with client(url, Outcomes(), "wrong", logger=logger) as amplitude:
        amplitude.track(BaseEvent("seen", user_id="u1"))
        eventually(done.is_set)

    assert said == ["Invalid API Key"]
    assert ingest.metric('avila_ingest_requests_total{format="amplitude",status="400"}') == 1
