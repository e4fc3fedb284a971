"""The same events as the clients of each format send them, in requests made beforehand.

A load generator on the same cores must not spend its time on making events: it sends some hundred
different requests in turn. Their event ids come again, which costs and saves an edge nothing, as
repeated events are dropped behind it.
"""

import base64
import json
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.bench import EVENTS
from schemas.avila_pb2 import Event, TrackRequest

_PERSONS: Final = 50_000
_PROPERTIES: Final = {"plan": "pro", "price": 9.5, "path": "/products/17"}


class Happened(NamedTuple):
    """One event, before a client formats it."""

    name: str
    person: str
    id: str
    ms: int

    @property
    def time(self) -> str:
        """The time, in ISO 8601."""
        return datetime.fromtimestamp(self.ms / 1_000, UTC).isoformat()


class Load(NamedTuple):
    """Requests to one address, of `size` events each."""

    path: str
    headers: dict[str, str]
    bodies: list[bytes]
    size: int

    def save(self, file: Path, host: str) -> Path:
        """Write them as targets of vegeta, one a line, and return `file`."""
        headers = {name: [value] for name, value in self.headers.items()}
        with file.open("w") as out:
            for body in self.bodies:
                target = {
                    "method": "POST",
                    "url": f"http://{host}{self.path}",
                    "header": headers,
                    "body": base64.b64encode(body).decode(),
                }
                print(json.dumps(target), file=out)
        return file


def native(key: str, size: int, requests: int = 100) -> Load:
    """Make requests of our native format."""

    def event(one: Happened) -> dict[str, Any]:
        return {
            "event": one.name,
            "distinct_id": one.person,
            "event_id": one.id,
            "timestamp": one.time,
            "properties": _PROPERTIES,
        }

    headers = {"Authorization": f"Bearer {key}"}
    return _load("/v1/events", headers, size, requests, "events", event, sent_at=_now())


def segment(key: str, size: int, requests: int = 100) -> Load:
    """Make requests as Segment's SDK for Python does."""
    library = {"library": {"name": "analytics-python", "version": "2.3.4"}}

    def event(one: Happened) -> dict[str, Any]:
        return {
            "integrations": {},
            "anonymousId": None,
            "properties": _PROPERTIES,
            "timestamp": one.time,
            "context": library,
            "userId": one.person,
            "type": "track",
            "event": one.name,
            "messageId": one.id,
        }

    basic = base64.b64encode(f"{key}:".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"}
    return _load("/v1/batch", headers, size, requests, "batch", event, sentAt=_now(), writeKey=key)


def posthog(key: str, size: int, requests: int = 100) -> Load:
    """Make requests as PostHog's SDK for Python does."""
    library = {"$lib": "posthog-python", "$lib_version": "7.0.0", "$geoip_disable": True}

    def event(one: Happened) -> dict[str, Any]:
        return {
            "properties": _PROPERTIES | library,
            "timestamp": one.time,
            "distinct_id": one.person,
            "event": one.name,
            "uuid": one.id,
        }

    return _load("/batch/", {}, size, requests, "batch", event, api_key=key, sent_at=_now())


def grpc(size: int, requests: int = 100) -> Load:
    """Make messages for a gRPC stream; the key is in the call's metadata."""
    properties = _compact(_PROPERTIES)

    def message(events: list[Happened]) -> bytes:
        return TrackRequest(
            events=[
                Event(
                    event=one.name,
                    distinct_id=one.person,
                    event_id=one.id,
                    timestamp=one.ms,
                    properties=properties,
                )
                for one in events
            ],
            sent_at=time.time_ns() // 1_000_000,
        ).SerializeToString()

    return Load("", {}, [message(events) for events in _draw(size, requests)], size)


def _load(
    path: str,
    headers: dict[str, str],
    size: int,
    requests: int,
    field: str,
    event: Callable[[Happened], dict[str, Any]],
    **beside: str,
) -> Load:
    bodies = [
        _compact({field: [event(one) for one in events], **beside})
        for events in _draw(size, requests)
    ]
    return Load(path, {"Content-Type": "application/json", **headers}, bodies, size)


def _draw(size: int, requests: int) -> list[list[Happened]]:
    rng = random.Random(size)  # every service gets the same
    now = time.time_ns() // 1_000_000
    return [
        [
            Happened(
                rng.choice(EVENTS),
                f"person-{rng.randrange(_PERSONS)}",
                str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                now - rng.randrange(1_000),
            )
            for _ in range(size)
        ]
        for _ in range(requests)
    ]


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat()
