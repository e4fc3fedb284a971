"""Sends shots through all doors at once, so many a second, and keeps what was accepted."""

import contextlib
import functools
import json
import queue
import random
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, cast

import grpc
import httpx
from confluent_kafka import KafkaError, Message, Producer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from schemas.avila_pb2 import TrackResponse, Verdict
from schemas.settings import GRPC_PORT
from tests.credentials import bearer
from tests.events import event_schema_id
from tests.faults.hostile_run.shots import Hostile, Request, Sender
from tests.faults.hostile_run.system import TIMEOUT_S, System

SEED: Final = 20
# How many of a hundred shots go through each door.
HTTP_DOORS: Final = {
    "single": 18,
    "batch": 6,
    "segment": 6,
    "posthog": 6,
    "amplitude": 6,
    "snowplow": 6,
    "wrong": 10,
}
OTHER_DOORS: Final = {"socket": 10, "call": 8, "kafka": 20, "definition": 4}
_HTTP_THREADS: Final = 3
_ACCEPTED: Final = {"ok", "warning"}
_VERDICTS: Final = {Verdict.VERDICT_OK, Verdict.VERDICT_WARNING}


class Accepted(NamedTuple):
    """An event that was accepted: its mark, or who did it and its id; or where its record is.

    Of events with the same `same`, one is stored, and the others are known to be that one.
    """

    door: str
    mark: str
    same: str
    distinct_id: str = ""
    event_id: str = ""
    place: tuple[int, int] = (-1, -1)  # partition and offset on the inbox


class Pace:
    """Lets some shots a second pass, of all threads together; who comes late catches up."""

    def __init__(self, per_s: float) -> None:
        self._seconds = 1 / per_s
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Wait for the next shot's turn."""
        with self._lock:
            now = time.monotonic()
            at = self._next = max(self._next + self._seconds, now - 1)
        time.sleep(max(0.0, at - now))


class Attack:
    """Sends `count` shots through all doors at once, `per_s` of them a second.

    Attributes:
        accepted: what was accepted, and so may not be lost.
        answers: how often each door gave each answer.
        defects: answers that say that the system has failed.
    """

    def __init__(self, system: System, count: int, per_s: float) -> None:
        self._system = system
        self._pace = Pace(per_s)
        self._sender = Sender(
            system.key, event_schema_id(system.settings), time.time_ns() // 1_000_000
        )
        self._count = count
        self._seeds = iter(range(SEED, SEED + 100))
        self.accepted: queue.SimpleQueue[Accepted] = queue.SimpleQueue()
        self.answers: Counter[str] = Counter()
        self.defects: list[str] = []

    def run(self) -> None:
        """Send everything."""
        doors = [door for door, share in HTTP_DOORS.items() for _ in range(self._shots(share))]
        random.Random(SEED).shuffle(doors)
        actors: list[Callable[[], None]] = [
            functools.partial(self._send_requests, doors[number::_HTTP_THREADS], self._hostile())
            for number in range(_HTTP_THREADS)
        ]
        for door, send in (
            ("socket", self._send_messages),
            ("call", self._send_calls),
            ("kafka", self._send_records),
            ("definition", self._send_definitions),
        ):
            actors.append(functools.partial(send, self._shots(OTHER_DOORS[door]), self._hostile()))
        with ThreadPoolExecutor(len(actors)) as pool:
            for actor in [pool.submit(actor) for actor in actors]:
                actor.result()

    def _shots(self, share: int) -> int:
        return self._count * share // 100

    def _hostile(self) -> Hostile:
        return Hostile(self._sender, next(self._seeds))

    def _answered(self, door: str, status: object, shot: object = "") -> None:
        self.answers[f"{door} {status}"] += 1
        if status in {500, 501, 502, "INTERNAL", "UNKNOWN", 1011}:
            self.defects.append(f"{door}: {status} for {shot!r:.2000}")

    def _send_requests(self, doors: list[str], hostile: Hostile) -> None:
        with httpx.Client(base_url=self._system.ingest, timeout=TIMEOUT_S) as client:
            for door in doors:
                self._pace.wait()
                shot: Request = getattr(hostile, door)()
                try:
                    answer = client.request(
                        shot.method, shot.path, content=shot.body, headers=shot.headers
                    )
                except httpx.TransportError as error:  # it is refused before it is all sent
                    self._answered(door, type(error).__name__)
                    continue
                self._answered(door, answer.status_code, shot)
                if answer.status_code != 200:
                    continue
                for mark in shot.marks:
                    self.accepted.put(Accepted(door, mark, mark))
                if shot.path == "/v1/events" and door != "wrong":
                    self._take_results(door, shot.events, answer.json()["results"])

    def _take_results(
        self, door: str, events: Sequence[Any], results: Sequence[dict[str, Any]]
    ) -> None:
        """Note the events of a request whose results say that they are accepted."""
        assert len(events) == len(results)
        for event, result in zip(events, results, strict=True):
            if result["result"] in _ACCEPTED:
                mark = event["properties"]["mark"]
                person, event_id = str(event["distinct_id"]), result["event_id"]
                same = repr(("hostile", person, event["event_id"] or mark))
                self.accepted.put(Accepted(door, mark, same, person, event_id))

    def _send_messages(self, count: int, hostile: Hostile) -> None:
        """Batches over the WebSocket, and messages that are none."""
        url = f"{self._system.ingest.replace('http', 'ws')}/v1/stream"
        left = count
        while left:
            with (
                contextlib.suppress(ConnectionClosed),
                connect(
                    url, additional_headers=bearer(self._system.key), max_size=None, proxy=None
                ) as socket,
            ):
                assert "ready" in json.loads(socket.recv(TIMEOUT_S))
                while left:
                    self._pace.wait()
                    left -= 1
                    self._send_message(socket, hostile)

    def _send_message(self, socket: ClientConnection, hostile: Hostile) -> None:
        draw = hostile.chance.random()
        if draw < 0.1:
            text: str | bytes = hostile.chance.randbytes(hostile.size(1_000_000))
            events = []
        else:
            events = hostile.events()
            text = json.dumps({"id": hostile.value() if draw < 0.3 else 1, "events": events})
        try:
            socket.send(text)
            answer = json.loads(socket.recv(TIMEOUT_S))
        except ConnectionClosed as closed:
            self._answered("socket", closed.rcvd.code if closed.rcvd else "cut", text)
            raise
        self._answered("socket", answer.get("error", {}).get("code", "results"), text)
        if "results" in answer:
            self._take_results("socket", events, answer["results"])

    def _send_calls(self, count: int, hostile: Hostile) -> None:
        address = self._system.settings.local_address(GRPC_PORT)
        metadata = (("authorization", f"Bearer {self._system.key}"),)
        with grpc.insecure_channel(address) as channel:
            call: Any = channel.unary_unary("/avila.v1.Ingest/Track")
            for _ in range(count):
                self._pace.wait()
                request = hostile.message()
                body = request.SerializeToString()
                if hostile.chance.random() < 0.1:
                    body = hostile.chance.randbytes(hostile.size(1_000_000))
                try:
                    answer = call(body, timeout=TIMEOUT_S, metadata=metadata)
                except grpc.RpcError as error:
                    refused: Any = error
                    self._answered("call", refused.code().name, body)
                    continue
                self._answered("call", "OK")
                results = TrackResponse.FromString(answer).results
                if len(results) != len(request.events):
                    continue
                for event, result in zip(request.events, results, strict=True):
                    if result.verdict in _VERDICTS:
                        person, event_id = event.distinct_id, result.event_id
                        same = repr(("hostile", person, event.event_id or event_id))
                        self.accepted.put(Accepted("call", "", same, person, event_id))

    def _send_records(self, count: int, hostile: Hostile) -> None:
        """Records on the inbox; those that the broker takes are accepted."""
        producer = Producer(
            {
                "bootstrap.servers": self._system.settings.bootstrap,
                "message.max.bytes": 10_000_000,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "log_level": 0,
            }
        )

        def delivered(mark: str, same: str, error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._answered("kafka", error.name())
                return
            self._answered("kafka", "ok")
            place = cast(int, message.partition()), cast(int, message.offset())
            self.accepted.put(Accepted("kafka", mark, same, place=place))

        for _ in range(count):
            self._pace.wait()
            shot, mark, same = hostile.record()
            producer.produce(
                self._system.settings.topics.inbox.name,
                shot.value,
                shot.key,
                headers=list(shot.headers),
                timestamp=shot.timestamp_ms,
                on_delivery=functools.partial(delivered, mark, same),
            )
            producer.poll(0)
        assert not producer.flush(TIMEOUT_S)

    def _send_definitions(self, count: int, hostile: Hostile) -> None:
        headers = bearer(self._system.token)
        chance = hostile.chance
        with httpx.Client(timeout=TIMEOUT_S, headers=headers) as client:
            for _ in range(count):
                self._pace.wait()
                plural, body = hostile.definition()
                url = f"{self._system.api}/hostile/{plural}"
                text = json.dumps(body).encode(errors="surrogatepass")
                answer = client.post(url, content=text)
                self._answered(f"definition of {plural}", answer.status_code, text)
                if answer.status_code != 201:
                    continue
                own = f"{url}/{urllib.parse.quote(answer.json()['id'], safe='')}"
                value = urllib.parse.quote(str(hostile.value()), errors="replace")
                for path in (
                    "results",
                    f"results?{chance.choice(['from', 'to', 'period', 'limit', 'x'])}={value}",
                    "results?source=store" if chance.random() < 0.2 else "status",
                ):
                    read = client.get(f"{own}/{path}")
                    self._answered(f"reading {plural}", read.status_code, (path, text))
                self._answered("deleting", client.delete(own).status_code, own)
