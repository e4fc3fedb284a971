"""What somebody hostile with a public write key and a query token sends, through every door.

Everything is drawn from a seed. Every event bears a mark of its own in its properties, by which it
is found again wherever it ends up. A shot is one record or one request.
"""

import gzip
import json
import math
import random
import struct
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from schemas.avila_pb2 import Event as Message
from schemas.avila_pb2 import TrackRequest
from tests.events import Sent, record
from tests.kafka import Record

# Some ids share all bits but a few, as a hash without a seed would not tell them apart.
_COLLIDING: Final = "00000000-0000-4000-8000-{:012x}"
_DAY_MS: Final = 86_400_000
_MAX_EVENT_BYTES: Final = 200_000  # below what one event may have
_MAX_RECORD_BYTES: Final = 4_100_000  # what the embedded broker takes, and a little more

TEXTS: Final = (
    "",
    " ",
    "\0",
    "a\0b",
    "undefined",
    "null",
    "NaN",
    "../../etc",
    "'; DROP TABLE events; --",
    "{database:Identifier}",
    "a/b:c",
    "x" * 200,
    "x" * 201,
    "ü" * 200,
    "🎁" * 100,
    "\ud83d",
    "\u202egnp.exe",
    "\x1b[31m",
    "true",
    "0",
    "-1",
)
NUMBERS: Final = (
    0,
    -1,
    1.5,
    -0.0,
    2**31,
    2**53 + 1,
    2**63,
    -(2**63),
    2**64,
    10**30,
    10**400,
    1e308,
    math.nan,
    math.inf,
)
TIMES: Final = (
    0,
    1,
    -1,
    -(10**15),
    10**12,
    10**15,
    2**53,
    2**63 - 1,
    2**63,
    10**30,
    1.5,
    math.nan,
    True,
    "now",
    "",
    "0000-00-00",
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999Z",
    "9999-12-31T23:59:59Z",
    "2026-13-01T00:00:00Z",
    "2026-02-30",
    "2026-03-29T02:30:00+02:00",
    "2024-12-31T23:59:60Z",
    "+275760-09-13T00:00:00.000Z",
)


class Sender(NamedTuple):
    """Who sends: its write key, and the id of the schema of events."""

    key: str
    schema_id: int
    now_ms: int


class Request(NamedTuple):
    """A request over HTTP.

    If it is answered with 200, the events with `marks` are accepted. Of `events` the answer says
    which are.
    """

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    marks: tuple[str, ...] = ()
    events: tuple[Any, ...] = ()


class Hostile:
    """Draws shots."""

    def __init__(self, sender: Sender, seed: int) -> None:
        self._sender = sender
        self.chance = random.Random(seed)

    # ── values ───────────────────────────────────────────────────────────────────────────────────

    def mark(self) -> str:
        return f"mark-{self.chance.getrandbits(96):024x}"

    def value(self, depth: int = 0) -> Any:
        """Any value that JSON has, and some that it has not."""
        draw = self.chance.random()
        if draw < 0.4:
            return self.chance.choice(TEXTS)
        if draw < 0.7:
            return self.chance.choice(NUMBERS)
        if draw < 0.8:
            return self.chance.choice([None, True, False])
        if depth > 4:
            return []
        size = self.chance.randrange(4)
        if draw < 0.9:
            return [self.value(depth + 1) for _ in range(size)]
        return {self.chance.choice(TEXTS): self.value(depth + 1) for _ in range(size)}

    def size(self, largest: int) -> int:
        """A size up to `largest`: as many small ones as large ones."""
        return int(math.exp(self.chance.uniform(0, math.log(largest))))

    def properties(self, mark: str, largest: int = _MAX_EVENT_BYTES) -> dict[str, Any]:
        """An object whose first member is the mark."""
        found: dict[str, Any] = {"mark": mark}
        match self.chance.randrange(6):
            case 0:
                found["large"] = "x" * self.size(largest)
            case 1:
                found |= {f"p{number}": number for number in range(self.size(999))}
            case 2:
                deep: Any = 1
                for _ in range(self.chance.randrange(28)):
                    deep = {"deep": deep}
                found["deep"] = deep
            case 3:
                found |= {"$set": {"plan": self.chance.choice(TEXTS)}, "$set_once": {"age": 1}}
            case _:
                found |= {self.chance.choice(TEXTS): self.value() for _ in range(3)}
        return found | {"mark": mark}

    def person(self) -> str:
        if self.chance.random() < 0.3:
            return self.chance.choice(TEXTS)
        return f"{self.chance.choice(['undefined', 'u', 'ü/', '🎁'])}{self.chance.randrange(200)}"

    def event_id(self) -> str:
        draw = self.chance.random()
        if draw < 0.3:
            return _COLLIDING.format(self.chance.randrange(2_000))
        if draw < 0.4:
            return self.chance.choice(TEXTS)
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def good_event(self, mark: str) -> dict[str, Any]:
        """An event as the native format takes it."""
        return {
            "event": self.chance.choice(["in", "view", "buy", "$pageview"]),
            "distinct_id": f"u{self.chance.randrange(500)}",
            "event_id": str(uuid.UUID(int=self.chance.getrandbits(128), version=4)),
            "properties": {"mark": mark, "n": self.chance.randrange(100)},
        }

    def odd_event(self, mark: str) -> Any:
        """An event with anything in some of its fields."""
        event: Any = self.good_event(mark) | {
            "distinct_id": self.person(),
            "event_id": self.event_id(),
            "properties": self.properties(mark),
        }
        if self.chance.random() < 0.4:
            event["timestamp"] = self.chance.choice(TIMES)
        for _ in range(self.chance.randrange(3)):
            field = self.chance.choice(
                ["event", "distinct_id", "sent_at", "project_id", "context", "session_id", "no"]
            )
            event[field] = self.value()
        return self.value() if self.chance.random() < 0.02 else event

    # ── HTTP ─────────────────────────────────────────────────────────────────────────────────────

    def single(self) -> Request:
        """A request with one event, in the native format."""
        event = self.odd_event(self.mark())
        events = tuple(event) if isinstance(event, list) else (event,)
        return self._request("/v1/events", event)._replace(events=events)

    def batch(self) -> Request:
        """A request with some events, good and odd ones."""
        events = self.events()
        body: dict[str, Any] = {"events": events}
        if self.chance.random() < 0.2:
            body["sent_at"] = self.chance.choice(TIMES)
        return self._request("/v1/events", body)._replace(events=tuple(events))

    def events(self) -> list[Any]:
        """Some events, good and odd ones."""
        return [
            self.odd_event(self.mark())
            if self.chance.random() < 0.5
            else self.good_event(self.mark())
            for _ in range(self.size(60))
        ]

    def segment(self) -> Request:
        marks = self._marks()
        messages = [
            {
                "type": self.chance.choice(["track", "identify", "page", "screen", "group"]),
                "event": "in",
                "name": "in",
                "userId": f"u{self.chance.randrange(500)}",
                "groupId": "g",
                "messageId": str(uuid.uuid4()),
                "properties": {"mark": mark},
                "traits": {"mark": mark},
                "timestamp": self._iso(),
            }
            for mark in marks
        ]
        odd = [self._mutated(messages[0]) for _ in range(self.chance.randrange(3))]
        return self._request("/v1/batch", {"batch": messages + odd}, marks)

    def posthog(self) -> Request:
        marks = self._marks()
        events = [
            {
                "event": self.chance.choice(["$pageview", "in", "$identify"]),
                "distinct_id": f"u{self.chance.randrange(500)}",
                "uuid": str(uuid.uuid4()),
                "properties": {"mark": mark},
            }
            for mark in marks
        ]
        odd = [self._mutated(events[0]) for _ in range(self.chance.randrange(3))]
        body = {"api_key": self._sender.key, "batch": events + odd}
        return self._request("/batch/", body, marks)

    def amplitude(self) -> Request:
        marks = self._marks()
        events = [
            {
                "event_type": "in",
                "user_id": f"user-{self.chance.randrange(500)}",
                "insert_id": mark,
                "event_properties": {"mark": mark},
            }
            for mark in marks
        ]
        odd = [self._mutated(events[0]) for _ in range(self.chance.randrange(3))]
        body = {"api_key": self._sender.key, "events": events + odd}
        return self._request("/2/httpapi", body, marks)

    def snowplow(self) -> Request:
        marks = self._marks()
        schema = "iglu:com.acme/paid/jsonschema/1-0-0"
        wrapper = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
        events = [
            {
                "e": "ue",
                "eid": str(uuid.uuid4()),
                "uid": f"u{self.chance.randrange(500)}",
                "aid": self._sender.key,
                "ue_pr": json.dumps(
                    {"schema": wrapper, "data": {"schema": schema, "data": {"mark": mark}}}
                ),
            }
            for mark in marks
        ]
        odd = [self._mutated(events[0]) for _ in range(self.chance.randrange(3))]
        path = "/com.snowplowanalytics.snowplow/tp2"
        return self._request(path, {"schema": "iglu:x", "data": events + odd}, marks)

    def wrong(self) -> Request:
        """A request that nothing is taken from."""
        path = self.chance.choice(
            ["/v1/events", "/v1/batch", "/batch", "/e", "/2/httpapi", "/i", "/v1/track", "/engage"]
        )
        body = self.chance.randbytes(self.size(100_000))
        headers = {"authorization": f"Bearer {self._sender.key}"}
        match self.chance.randrange(6):
            case 0:
                headers["content-encoding"] = self.chance.choice(["gzip", "deflate", "br", "zstd"])
            case 1:
                body = gzip.compress(b"[" + b" " * self.size(20_000_000) + b"]")
                headers["content-encoding"] = "gzip"
            case 2:
                headers["authorization"] = self.chance.choice(
                    ["Bearer awk_unknown", "Basic x", "Bearer", "Digest x"]
                )
            case 3:
                body = b"[" * self.size(200_000)
            case 4:
                body = json.dumps({"events": [{}] * self.size(20_000)}).encode()
            case _:
                headers["content-type"] = self.chance.choice(["text/plain", "application/xml", ""])
        return Request(self.chance.choice(["POST", "POST", "PUT", "GET"]), path, body, headers)

    def _request(self, path: str, body: Any, marks: tuple[str, ...] = ()) -> Request:
        text = json.dumps(body, ensure_ascii=self.chance.random() < 0.5).encode(
            errors="surrogatepass"
        )
        headers = {
            "authorization": f"Bearer {self._sender.key}",
            "content-type": "application/json",
        }
        if self.chance.random() < 0.2:
            text, headers["content-encoding"] = gzip.compress(text), "gzip"
        return Request("POST", path, text, headers, marks)

    def _marks(self) -> tuple[str, ...]:
        return tuple(self.mark() for _ in range(self.size(20)))

    def _iso(self) -> str:
        return "2026-11-01T00:00:00.000Z"

    def _mutated(self, value: Any) -> Any:
        """A value of which something is another, as in definitions."""
        return mutated(self.chance, value, self.value)

    # ── gRPC ─────────────────────────────────────────────────────────────────────────────────────

    def message(self) -> TrackRequest:
        """A batch for gRPC; the marks are in the order of its events."""
        request = TrackRequest()
        for _ in range(self.size(40)):
            mark = self.mark()
            event = Message(
                event=self._text(), distinct_id=self._text(), event_id=self.event_id_text()
            )
            draw = self.chance.random()
            text = json.dumps(self.properties(mark, 50_000)).encode()
            event.properties = text if draw < 0.9 else self.chance.randbytes(self.size(1_000))
            if draw < 0.3:
                event.timestamp = self.chance.choice([0, -1, 1, 2**62, -(2**62), 10**12])
            request.events.append(event)
        return request

    def event_id_text(self) -> str:
        return self.event_id().encode(errors="replace").decode()

    def _text(self) -> str:
        return self.person().encode(errors="replace").decode()

    # ── Kafka ────────────────────────────────────────────────────────────────────────────────────

    def record(self) -> tuple[Record, str, str]:
        """A record for the inbox, of any kind, size and time; its mark, and whose event it is.

        What has the same text as the last is the same event.
        """
        draw, mark = self.chance.random(), self.mark()
        same = mark
        when = self.chance.choice([0, 1, self._sender.now_ms + 40 * _DAY_MS, 2**40])
        if draw < 0.45:
            made, same = self._avro(mark)
        elif draw < 0.75:
            made, same = self._cloud_event(mark)
        elif draw < 0.85:
            made = Record(self.chance.randbytes(self.size(_MAX_RECORD_BYTES)), b"default:x")
        elif draw < 0.9:
            head = struct.pack(">bI", 0, self.chance.choice([self._sender.schema_id, 0, 2**31]))
            made = Record(head + self.chance.randbytes(self.size(10_000)), b"")
        else:
            made = Record(None, self.chance.choice([None, b"", b"x" * 10_000]))
        headers = made.headers
        if self.chance.random() < 0.1:
            headers += (("ü" * 50, self.chance.randbytes(self.size(30_000))), ("reason", b"none"))
        return made._replace(timestamp_ms=when, headers=headers), mark, same

    def _avro(self, mark: str) -> tuple[Record, str]:
        day = self.chance.choice([0, 0, 0, 1, 40, 700, 9_000, -40, -90_000])
        sent = Sent(
            self._text(),
            self.chance.choice(["in", "view", "buy", self._text()]),
            self._sender.now_ms - day * _DAY_MS,
            json.dumps(self.properties(mark, 1_000_000))
            if self.chance.random() < 0.9
            else f'["{mark}"',
            self.event_id_text(),
            self.chance.choice(["hostile", "hostile", "other", "no project", ""]),
            self.chance.choice([None, 0, self._sender.now_ms + 40 * _DAY_MS, -1]),
        )
        made = record(sent, self._sender.schema_id)
        key = made.key if self.chance.random() < 0.8 else self.chance.randbytes(20)
        # The last part of a datum may be missing, or something may follow it.
        value = made.value or b""
        draw = self.chance.random()
        if draw < 0.05:
            value = value[: self.chance.randrange(len(value))]
        elif draw < 0.1:
            value += self.chance.randbytes(5)
        return Record(value, key), repr((sent.project, sent.person, sent.event_id or mark))

    def _cloud_event(self, mark: str) -> tuple[Record, str]:
        event: Any = {
            "specversion": "1.0",
            "id": self.event_id(),
            "source": "/hostile",
            "type": "in",
            "subject": self.person(),
            "project": "hostile",
        }
        if self.chance.random() < 0.3:
            event["time"] = self.chance.choice(TIMES)
        if self.chance.random() < 0.3:
            event = mutated(self.chance, event, self.value)
        same = mark
        if isinstance(event, dict):
            event["data"] = self.properties(mark, 500_000)
            same = repr([event.get(name) for name in ("project", "source", "subject", "id")])
        if self.chance.random() < 0.2:
            event = [event] * self.chance.randrange(5)
        text = json.dumps(event, ensure_ascii=False).encode(errors="surrogatepass")
        return Record(text, b"hostile:x"), same

    # ── definitions ──────────────────────────────────────────────────────────────────────────────

    def definition(self) -> tuple[str, Any]:
        """A kind of definition, in the plural, and the body of a new one."""
        plural = self.chance.choice(list(DEFINITIONS))
        body = json.loads(json.dumps(self.chance.choice(DEFINITIONS[plural])))
        body["id"] = f"d{self.chance.randrange(10**6)}"
        for _ in range(self.chance.randrange(3)):
            body = mutated(self.chance, body, self.value)
        return plural, body


_EVENTS: Final = [{"event": name} for name in ("in", "view", "buy")]
_YEAR_S: Final = 366 * 86_400
_SEQUENCE: Final = {"sequence": {"steps": _EVENTS, "window_s": _YEAR_S}}
DEFINITIONS: Final[dict[str, list[Any]]] = {
    "funnels": [
        {"steps": _EVENTS, "window_s": _YEAR_S},
        {"steps": _EVENTS, "breakdown": {"property": "plan"}, "hold_constant": ["large", "deep"]},
        {"steps": [_EVENTS[0]] * 32, "once": True, "entries": True, "order": "strict"},
        {"steps": _EVENTS, "order": "any", "exclusions": [{"event": "buy"}]},
    ],
    "cohorts": [
        {"start": _EVENTS[0], "return": _EVENTS[1], "period": "day", "periods": 60},
        {"start": {}, "return": {}, "period": "week", "breakdown": {"property": "mark"}},
    ],
    "segments": [
        {"rule": {"and": [_SEQUENCE] * 32}},
        {"rule": {"not": {"performed": {"event": "in", "at_least": 100, "within_s": 60}}}},
        {"rule": {"person": [{"property": "plan", "value": "undefined"}]}},
    ],
    "metrics": [
        {"measure": "top", "property": "mark", "bucket_s": 60},
        {"measure": "persons", "bucket_s": 60},
        {"measure": "percentiles", "property": "n", "percentiles": [0.5, 0.999], "bucket_s": 60},
        {"measure": "events", "breakdown": {"property": "mark"}, "bucket_s": 86_400},
    ],
}


def mutated(chance: random.Random, value: Any, draw: Callable[[], Any]) -> Any:
    """Return a copy of `value` with another value at one place in it, or more, or less."""
    copy = {"": json.loads(json.dumps(value))}
    places = list(_places(copy))
    holder, at = chance.choice(places)
    match chance.randrange(4):
        case 0 if len(places) > 1 and isinstance(holder, dict) and at:
            del holder[at]
        case 1 if isinstance(holder[at], dict):
            holder[at][chance.choice([*TEXTS, "steps", "rule", "id", "version"])] = draw()
        case 2 if isinstance(holder[at], list):
            holder[at] *= chance.choice([2, 3, 40])
        case _:
            holder[at] = draw()
    return copy[""]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for at, member in members:
        yield value, at
        if isinstance(member, dict | list):
            yield from _places(member)
