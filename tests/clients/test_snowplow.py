"""Snowplow's Python tracker, unmodified: what it sends stands on the inbox, and once."""

import threading
import uuid
from typing import Any, Literal

import pytest
from snowplow_tracker.emitters import Emitter
from snowplow_tracker.events.page_ping import PagePing
from snowplow_tracker.events.page_view import PageView
from snowplow_tracker.events.self_describing import SelfDescribing
from snowplow_tracker.events.structured_event import StructuredEvent
from snowplow_tracker.self_describing_json import SelfDescribingJson
from snowplow_tracker.subject import Subject
from snowplow_tracker.tracker import Tracker

from tests.clients.conftest import losing_one_answer, stored
from tests.credentials import KEY
from tests.services.ingest.conftest import TIMEOUT_S, Ingest

PAID_MS = 1_772_366_400_250
PAID = "iglu:com.acme/paid/jsonschema/1-0-0"
USER = SelfDescribingJson("iglu:com.acme/user/jsonschema/1-0-0", {"plan": "pro"})


class Sender:
    """A tracker that sends to `url`, and what it was told of its events."""

    def __init__(self, url: str, method: Literal["get", "post"], batch_size: int = 1) -> None:
        self.taken: list[dict[str, Any]] = []
        self.failed: list[dict[str, Any]] = []
        self.all_is_taken = threading.Event()
        self._due = batch_size
        self.emitter = Emitter(
            url,
            method=method,
            batch_size=batch_size,
            request_timeout=TIMEOUT_S,
            on_success=self._succeeded,
            on_failure=lambda _, events: self.failed.extend(events),
        )
        subject = Subject().set_user_id("u1").set_domain_user_id("d1").set_domain_session_id("s1")
        subject.set_screen_resolution(1920, 1080).set_lang("de")
        self.tracker = Tracker("shop", self.emitter, subject, app_id=KEY)

    def _succeeded(self, events: list[dict[str, Any]]) -> None:
        self.taken += events
        if len(self.taken) >= self._due:
            self.all_is_taken.set()


@pytest.mark.parametrize("base64", [True, False], ids=["base64", "plain"])
@pytest.mark.parametrize("method", ["post", "get"])
def test_snowplow(ingest: Ingest, method: Literal["get", "post"], base64: bool) -> None:
    sender = Sender(f"http://127.0.0.1:{ingest.port}", method, batch_size=4)
    sender.tracker.encode_base64 = base64
    paid = SelfDescribing(SelfDescribingJson(PAID, {"für": 12.5}), None, [USER], PAID_MS)

    name = sender.tracker.track(paid)
    sender.tracker.track(StructuredEvent("shop", "b seen", "label", "property", 7.5))
    sender.tracker.track(PageView("https://shop.example/", "Für", "https://search.example/"))
    sender.tracker.track(PagePing("https://shop.example/", min_y=3, max_y=500))

    assert len(sender.taken) == 4
    assert not sender.failed
    events = stored(ingest)
    ping, view, seen, bought = events
    assert bought["event_id"] == name
    assert (bought["event"], bought["timestamp"]) == ("paid", PAID_MS)
    assert bought["properties"] == {"für": 12.5}
    assert bought["context"]["entities"] == [USER.to_json()]
    assert bought["context"]["schema"] == PAID
    assert seen["event"] == "b seen"
    assert seen["properties"] == {
        "category": "shop",
        "label": "label",
        "property": "property",
        "value": 7.5,
    }
    assert seen["sent_at"] <= seen["received_at"]
    assert view["event"] == "$pageview"
    assert view["properties"] == {
        "url": "https://shop.example/",
        "title": "Für",
        "referrer": "https://search.example/",
    }
    assert ping["event"] == "$page_ping"
    assert ping["properties"] == {"url": "https://shop.example/", "min_y": 3, "max_y": 500}
    for event in events:
        ids = (event["distinct_id"], event["anonymous_id"], event["session_id"])
        assert ids == ("u1", "d1", "s1")
        assert event["context"]["library"]["version"].startswith("py-")
        assert event["context"]["screen"] == {"width": 1920, "height": 1080}
        assert (event["context"]["platform"], event["context"]["locale"]) == ("pc", "de")


def test_what_is_sent_again_after_a_lost_answer_is_the_same_event(ingest: Ingest) -> None:
    with losing_one_answer(ingest.port) as url:
        sender = Sender(url, "post", batch_size=2)
        for _ in range(2):
            sender.tracker.track(StructuredEvent("shop", "seen"))
        assert sender.all_is_taken.wait(TIMEOUT_S)

    ids = [event["event_id"] for event in stored(ingest)]
    assert len(ids) > len(set(ids)) == 2


@pytest.mark.parametrize("method", ["post", "get"])
def test_what_can_never_be_taken_is_not_sent_again(
    ingest: Ingest, method: Literal["get", "post"]
) -> None:
    sender = Sender(f"http://127.0.0.1:{ingest.port}", method)
    stranger = Sender(f"http://127.0.0.1:{ingest.port}", method)
    stranger.tracker.standard_nv_pairs["aid"] = str(uuid.uuid4())

    sender.tracker.track(StructuredEvent("shop", "x" * 201))
    stranger.tracker.track(StructuredEvent("shop", "seen"))

    assert (len(sender.taken), len(stranger.failed)) == (1, 1)
    for one in (sender, stranger):
        assert not one.emitter.retry_timer.is_active()
    assert not ingest.inbox()
