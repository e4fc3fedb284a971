"""The vendors' Python clients, unmodified: what they send stands on the inbox, and once."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import posthog
import pytest
from posthog.capture_compression import CaptureCompression
from posthog.version import VERSION
from rudderstack.analytics.client import Client as RudderStack
from segment.analytics.client import Client as Segment

from tests.clients.conftest import losing_one_answer, stored
from tests.credentials import KEY
from tests.services.ingest.conftest import Ingest

PAID_AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
PAID_MS = 1_772_366_400_250

POSTHOG_MODES: list[dict[str, Any]] = [
    {},
    {"gzip": True},
    {"capture_mode": "v1"},
    *(
        {"capture_mode": "v1", "capture_compression": compression}
        for compression in (
            CaptureCompression.GZIP,
            CaptureCompression.DEFLATE,
            CaptureCompression.ZSTD,
        )
    ),
]


@contextmanager
def clients(url: str) -> Iterator[Callable[..., Any]]:
    """Make clients of `url`; at the end, all they hold has been sent and nothing went wrong."""
    errors: list[object] = []

    def failed(*what: object) -> None:
        errors.extend(what)

    with ExitStack() as stack:

        def make(kind: Callable[..., Any], **options: Any) -> Any:
            client = kind(KEY, host=url, on_error=failed, **options)
            stack.callback(client.shutdown)
            return client

        yield make
    assert not errors


@pytest.mark.parametrize("mode", POSTHOG_MODES, ids=str)
def test_posthog(ingest: Ingest, mode: dict[str, Any]) -> None:
    name = uuid.uuid4()
    with clients(f"http://127.0.0.1:{ingest.port}") as make:
        client = make(posthog.Posthog, **mode)
        client.capture(
            "a paid", distinct_id="u1", properties={"für": 12.5}, timestamp=PAID_AT, uuid=str(name)
        )
        client.capture("b seen", distinct_id="u2", properties={"$session_id": "s1"})
        client.set(distinct_id="u1", properties={"plan": "pro"})
        client.alias("old", "u1")
        assert client.get_all_flags("u1") == {}

    alias, person, paid, seen = stored(ingest)
    assert paid["event_id"] == str(name)
    assert (paid["event"], paid["distinct_id"], paid["timestamp"]) == ("a paid", "u1", PAID_MS)
    assert paid["properties"]["für"] == 12.5
    assert paid["properties"]["$lib"] == "posthog-python"
    assert paid["context"]["library"] == {"name": "posthog-python", "version": VERSION}
    assert paid["sent_at"] <= paid["received_at"]
    assert (seen["event"], seen["distinct_id"], seen["session_id"]) == ("b seen", "u2", "s1")
    assert seen["properties"]["$session_id"] == "s1"
    assert (person["event"], person["distinct_id"]) == ("$set", "u1")
    assert person["properties"]["$set"] == {"plan": "pro"}
    assert (alias["event"], alias["properties"]["alias"]) == ("$create_alias", "u1")


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", [Segment, RudderStack], ids=["segment", "rudderstack"])
def test_segment_and_rudderstack(ingest: Ingest, kind: Any, compressed: bool) -> None:
    name = str(uuid.uuid4())
    with clients(f"http://127.0.0.1:{ingest.port}") as make:
        client = make(kind, gzip=compressed)
        client.track(
            "u1",
            "a paid",
            {"für": 12.5},
            timestamp=PAID_AT,
            anonymous_id="a1",
            message_id=name,
            context={"ip": "1.2.3.4"},
        )
        client.track(event="b seen", anonymous_id="a2")
        client.identify("u1", {"plan": "pro"})
        client.group("u1", "g1", {"seats": 5})
        client.page("u1", "docs", "home", {"url": "/"})
        client.screen("u1", "shop", "cart")
        client.alias("old", "u1")

    events = stored(ingest)
    alias, group, person, page, screen, paid, seen = events
    assert paid["event_id"] == name
    assert (paid["event"], paid["timestamp"]) == ("a paid", PAID_MS)
    assert (paid["distinct_id"], paid["anonymous_id"]) == ("u1", "a1")
    assert paid["properties"] == {"für": 12.5}
    assert paid["context"]["ip"] == "1.2.3.4"
    assert paid["context"]["library"]["name"] == "analytics-python"
    assert paid["sent_at"] <= paid["received_at"]
    assert (seen["event"], seen["distinct_id"], seen["anonymous_id"]) == ("b seen", "a2", "a2")
    assert {event["distinct_id"] for event in events if event != seen} == {"u1"}
    assert [event["event"] for event in (alias, group, person, page, screen)] == [
        "$alias",
        "$group",
        "$identify",
        "$pageview",
        "$screen",
    ]
    assert alias["properties"] == {"$previous_id": "old"}
    assert group["properties"] == {"$group_id": "g1", "$group_set": {"seats": 5}}
    assert person["properties"] == {"$set": {"plan": "pro"}}
    assert page["properties"] == {"url": "/", "name": "home", "category": "docs"}
    assert screen["properties"] == {"name": "cart", "category": "shop"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (posthog.Posthog, {}),
        (posthog.Posthog, {"capture_mode": "v1"}),
        (Segment, {}),
        (RudderStack, {}),
    ],
    ids=["posthog", "posthog v1", "segment", "rudderstack"],
)
def test_what_is_sent_again_after_a_lost_answer_is_the_same_event(
    ingest: Ingest, kind: Any, options: dict[str, Any]
) -> None:
    with losing_one_answer(ingest.port) as url, clients(url) as make:
        client = make(kind, **options)
        for user in ("u1", "u2"):
            if kind is posthog.Posthog:
                client.capture("seen", distinct_id=user)
            else:
                client.track(user, "seen")

    ids = [event["event_id"] for event in stored(ingest)]
    assert len(ids) > len(set(ids)) == 2


@pytest.mark.parametrize("kind", [Segment, RudderStack], ids=["segment", "rudderstack"])
def test_what_can_never_be_taken_is_reported_and_not_sent_again(ingest: Ingest, kind: Any) -> None:
    errors: list[Any] = []
    client = kind(
        KEY, host=f"http://127.0.0.1:{ingest.port}", on_error=lambda error, _: errors.append(error)
    )
    client.track("u1", "x" * 201)
    client.shutdown()

    [error] = errors
    assert (error.status, error.code) == (400, "invalid")
    assert "max_name_chars" in error.message
    assert ingest.metric('avila_ingest_requests_total{format="segment",status="400"}') == 1
    assert not ingest.inbox()
