"""A system that somebody hostile does all to, through every door: nobody else notices."""

import contextlib
import functools
import json
import queue
import random
import statistics
import sys
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from subprocess import Popen
from typing import Any, Final, NamedTuple, cast

import grpc
import httpx
import psutil
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from schemas.avila_pb2 import TrackResponse, Verdict
from schemas.settings import GRPC_PORT, INGEST_PORT, QUERY_PORT, Settings, read_settings
from services.keys.first import read_token
from sinks.connection import connect as connect_clickhouse
from tests.credentials import bearer
from tests.events import await_equal, event_schema_id
from tests.faults.hostile import Hostile, Request, Sender
from tests.faults.test_secured_kafka import avila
from tests.kafka import read_all
from tests.ports import free_port_base
from tests.processes import eventually
from tests.services.test_supervisor import await_ready, up

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SHOTS: Final = 10_000
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
_BEFORE_S: Final = 25.0  # so long is the quiet project watched by itself
_QUIET_EVERY_S: Final = 0.05
_SETTLED_S: Final = 120.0
_TIMEOUT_S: Final = 60.0
_MAX_GROWTH_BYTES: Final = 64 << 20  # of a process, in the last third of the attack
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


class System:
    """A system with everything in it, and two projects."""

    def __init__(self, settings: Settings, processes: Sequence[psutil.Process]) -> None:
        self.settings = settings
        self.processes = {process.pid: " ".join(process.cmdline()) for process in processes}
        self.key = self._key("hostile")
        self.quiet_key = self._key("quiet")
        self.token = read_token(settings)
        self.ingest = f"http://{settings.local_address(INGEST_PORT)}"
        self.api = f"http://{settings.local_address(QUERY_PORT)}/api/projects"

    def _key(self, project: str) -> str:
        return avila(self.settings, "keys", "create", "--project", project).split()[-1]

    def process(self, part: str) -> psutil.Process:
        """The process of a part; beside it, there may be one that watches over it."""
        own = [psutil.Process(pid) for pid, command in self.processes.items() if part in command]
        return max(own, key=lambda process: process.memory_info().rss)

    def assert_all_run(self) -> None:
        """No process has ended, or been started again."""
        for pid, command in self.processes.items():
            assert psutil.pid_exists(pid), f"{command} has ended"
            assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE, f"{command} has ended"

    def ends(self) -> dict[tuple[str, int], int]:
        """How far the inbox and the event store have come, by topic and partition."""
        topics = self.settings.topics
        return {
            (topic, cast(int, one.partition())): cast(int, one.offset()) + 1
            for topic in (topics.inbox.name, topics.events.name)
            for one in read_all(self.settings.cluster, topic)
        }

    def has_read(self, ends: dict[tuple[str, int], int]) -> bool:
        """Whether the worker has read, and committed, everything up to some offsets."""
        admin = AdminClient({"bootstrap.servers": self.settings.bootstrap})
        request = [ConsumerGroupTopicPartitions(self.settings.app_id)]
        (answer,) = admin.list_consumer_group_offsets(request).values()
        found = {
            (one.topic, one.partition): one.offset
            for one in answer.result(timeout=_TIMEOUT_S).topic_partitions
        }
        return all(found.get(place, 0) >= end for place, end in ends.items())


@contextlib.contextmanager
def up_with(patch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Popen[str]]:
    """A system that gives back what it frees: a worker keeps up to a gigabyte for later epochs."""
    small = 1 << 20
    tunables = f"glibc.malloc.mmap_threshold={small}:glibc.malloc.trim_threshold={small}"
    patch.setenv("GLIBC_TUNABLES", tunables)
    with up(settings) as process:
        yield process


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    data_dir = tmp_path_factory.mktemp("hostile") / "data"
    settings = read_settings({}, data_dir=data_dir, port_base=free_port_base(), partitions=2)
    with pytest.MonkeyPatch.context() as patch, up_with(patch, settings) as process:
        await_ready(process)
        yield System(settings, psutil.Process(process.pid).children(recursive=True))


# ── the quiet project ────────────────────────────────────────────────────────────────────────────


class Quiet(threading.Thread):
    """Another project: sends an event every now and then, and reads its funnel."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self._system = system
        self._funnel = f"{system.api}/quiet/funnels"
        self.over = threading.Event()
        self.persons = 0
        # When each was measured, and how long it took (s).
        self.sent: list[tuple[float, float]] = []
        self.read: list[tuple[float, float]] = []
        self.fresh: list[tuple[float, float]] = []
        self.error: BaseException | None = None

    def define(self) -> None:
        body = {"id": "quiet", "steps": [{"event": "in"}, {"event": "buy"}]}
        answer = httpx.post(self._funnel, json=body, headers=bearer(self._system.token))
        assert answer.status_code == 201, answer.text

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error
            raise

    def _run(self) -> None:
        with httpx.Client(timeout=_TIMEOUT_S) as client:
            waiting: tuple[int, float] | None = None
            while not self.over.wait(_QUIET_EVERY_S):
                person = self.persons
                self._send(client, person)
                if waiting is None:
                    waiting = person + 1, time.monotonic()
                reached = self._reached(client)[0]
                if reached >= waiting[0]:
                    now = time.monotonic()
                    self.fresh.append((now, now - waiting[1]))
                    waiting = None

    def _send(self, client: httpx.Client, person: int) -> None:
        """Let one more person come in; every second one buys."""
        for name in ["in"] + ["buy"] * (person % 2):
            event = {"event": name, "distinct_id": f"q{person}", "event_id": str(uuid.uuid4())}
            begin = time.monotonic()
            answer = client.post(
                f"{self._system.ingest}/v1/events",
                json=event,
                headers=bearer(self._system.quiet_key),
            )
            assert answer.status_code == 200, answer.text
            self.sent.append((begin, time.monotonic() - begin))
        self.persons = person + 1

    def _reached(self, client: httpx.Client) -> list[int]:
        begin = time.monotonic()
        answer = client.get(f"{self._funnel}/quiet/results", headers=bearer(self._system.token))
        assert answer.status_code == 200, answer.text
        self.read.append((begin, time.monotonic() - begin))
        return [step["reached"] for step in answer.json()["totals"]["steps"]]

    def reached(self) -> list[int]:
        with httpx.Client(timeout=_TIMEOUT_S) as client:
            return self._reached(client)


def p99(measured: list[tuple[float, float]], begin: float, end: float) -> float:
    """The 99th percentile (ms) of what was measured between two times."""
    own = sorted(took for at, took in measured if begin <= at < end)
    return 1_000 * own[max(0, -(-99 * len(own) // 100) - 1)] if own else float("nan")


class Memory(threading.Thread):
    """Watches the memory that processes have to themselves (PSS)."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        super().__init__(daemon=True)
        self._processes = processes
        self.over = threading.Event()
        self.sizes: dict[str, list[tuple[float, int]]] = {name: [] for name in processes}

    def run(self) -> None:
        while not self.over.wait(0.5):
            for name, process in self._processes.items():
                with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # it ended
                    size = process.memory_full_info().pss
                    self.sizes[name].append((time.monotonic(), size))

    def of_third(self, name: str, number: int, begin: float, end: float) -> float:
        """The median in one third of a span."""
        third = (end - begin) / 3
        first = begin + number * third
        own = [size for at, size in self.sizes[name] if first <= at <= first + third]
        return statistics.median(own)


@contextlib.contextmanager
def watching(one: Quiet | Memory) -> Iterator[None]:
    """Run a thread within the block."""
    one.start()
    try:
        yield
    finally:
        one.over.set()
        one.join()


# ── the attack ───────────────────────────────────────────────────────────────────────────────────


class Attack:
    """Sends shots through all doors at once; keeps what was accepted."""

    def __init__(self, system: System, count: int) -> None:
        self._system = system
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
        with httpx.Client(base_url=self._system.ingest, timeout=_TIMEOUT_S) as client:
            for door in doors:
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
                assert "ready" in json.loads(socket.recv(_TIMEOUT_S))
                while left:
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
            answer = json.loads(socket.recv(_TIMEOUT_S))
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
                request = hostile.message()
                body = request.SerializeToString()
                if hostile.chance.random() < 0.1:
                    body = hostile.chance.randbytes(hostile.size(1_000_000))
                try:
                    answer = call(body, timeout=_TIMEOUT_S, metadata=metadata)
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
            # The other doors take longer: spread over the same time.
            time.sleep(0.02)
        assert not producer.flush(_TIMEOUT_S)

    def _send_definitions(self, count: int, hostile: Hostile) -> None:
        headers = bearer(self._system.token)
        chance = hostile.chance
        with httpx.Client(timeout=_TIMEOUT_S, headers=headers) as client:
            for _ in range(count):
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


class Stored(NamedTuple):
    """What is in ClickHouse and on the topic of what was rejected."""

    marks: set[str]
    ids: set[tuple[str, str]]  # of persons and their events
    places: set[tuple[int, int]]  # on the inbox, of what was rejected

    def has(self, one: Accepted) -> bool:
        return (
            one.mark in self.marks
            or (one.distinct_id, one.event_id) in self.ids
            or one.place in self.places
        )


def stored(settings: Settings) -> Stored:
    client = connect_clickhouse(settings, timeout_s=60, name="judge")
    try:
        rows = client.query(
            "SELECT extract(concat(_properties, toString(properties)), 'mark-[0-9a-f]+'), "
            f"distinct_id, toString(event_id) FROM {settings.clickhouse_database}.events"
        ).result_rows
    finally:
        client.close()
    marks = {mark for mark, _, _ in rows}
    ids = {(person, event_id) for _, person, event_id in rows}
    places = set()
    for message in read_all(settings.cluster, settings.topics.rejected.name):
        headers: dict[str, bytes] = {}
        for name, value in cast(list[tuple[str, bytes]], message.headers() or []):
            headers.setdefault(name, value)  # ours come first
        assert headers["reason"], "it says why"
        if headers["topic"] == settings.topics.inbox.name.encode():
            places.add((int(headers["partition"]), int(headers["offset"])))
    return Stored(marks - {""}, ids, places)


def test_a_hostile_run_stops_nothing_loses_nothing_and_harms_nobody(
    system: System, record_property: Callable[[str, object], None]
) -> None:
    quiet, attack = Quiet(system), Attack(system, SHOTS)
    processes = {"worker": system.process("pipelines.app"), "ingest": system.process("ingest")}
    memory = Memory(processes)
    quiet.define()
    with watching(quiet), watching(memory):
        before = time.monotonic()
        time.sleep(_BEFORE_S)
        begin = time.monotonic()
        attack.run()
        end = time.monotonic()
        system.assert_all_run()
        for _ in range(2):  # what was on the inbox is on the event store by the second time
            has_read = functools.partial(system.has_read, system.ends())
            assert eventually(has_read, _SETTLED_S), "the worker lags behind"
    settled_at = time.monotonic()
    assert quiet.error is None, quiet.error

    accepted = []
    with contextlib.suppress(queue.Empty):
        while True:
            accepted.append(attack.accepted.get_nowait())
    lost: list[Accepted] = accepted

    def all_found() -> bool:
        nonlocal lost
        found = stored(system.settings)
        known = {one.same for one in accepted if found.has(one)}
        lost = [one for one in accepted if one.same not in known]
        return not lost

    settled = eventually(all_found, _SETTLED_S)
    report = {
        "seconds": round(end - begin, 1),
        "seconds_until_no_lag": round(settled_at - end, 1),
        "accepted": len(accepted),
        "answers": dict(sorted(attack.answers.items())),
    }
    for name, measured in (("send", quiet.sent), ("read", quiet.read), ("fresh", quiet.fresh)):
        alone, beside = p99(measured, before, begin), p99(measured, begin, end)
        report[f"{name}_p99_ms"] = [round(alone, 1), round(beside, 1), round(beside / alone, 2)]
    for name in processes:
        thirds = [memory.of_third(name, number, begin, end) for number in range(3)]
        report[f"{name}_mb"] = [round(size / 1e6) for size in thirds]
    sys.stdout.write(json.dumps(report, indent=1) + "\n")  # `pytest -s` shows it
    record_property("hostile_run", json.dumps(report))

    assert settled, f"{len(lost)} of {len(accepted)} are lost: {lost[:5]}"
    assert not attack.defects, attack.defects[:5]
    await_equal([quiet.persons, quiet.persons // 2], quiet.reached, _SETTLED_S)
    for name in processes:
        grown = memory.of_third(name, 2, begin, end) - memory.of_third(name, 1, begin, end)
        assert grown < _MAX_GROWTH_BYTES, f"{name} grows"
    for log in (system.settings.data_dir / "logs").glob("*.log"):
        text = log.read_text(errors="replace")
        assert "ingest_defect" not in text, log
        assert "live_connection_failed" not in text, log
        assert "kernel compiled late" not in text, "everybody waits for it"
    system.assert_all_run()
