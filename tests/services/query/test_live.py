"""Live results: figures and events come by themselves, and no reader holds anything up."""

import contextlib
import io
import json
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import fastavro
import httpx
import msgspec
import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from schemas.avro.codec import Encoder
from schemas.avro.files import load
from schemas.operators import metric as metrics
from schemas.operators.funnel import FUNNEL, FunnelDefinition, decode_funnel, encode
from schemas.operators.metric import METRIC, MetricDefinition, decode_metric
from schemas.operators.prediction import PREDICTION
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from services.listening import listen
from services.places import MAX_STRANGERS
from services.query.app import make_query_app
from services.query.live.event_tail import MAX_EVENTS_PER_S, evenly
from services.query.server import serving_config
from tests.conftest import PARTITIONS
from tests.credentials import KEY, TOKEN, bearer, put, query_token, write_key
from tests.kafka import Record, produce
from tests.services.query.conftest import Place, SharedService, Worker
from tests.services.query.predictions import Publisher, good

TIMEOUT_S = 120.0
TIMESTAMP = 1_772_323_200_000
READER, WRITER, ELSEWHERE, LEAVING = (f"aqt_{name}" for name in ("read", "write", "other", "soon"))


class Events:
    """Writes events as the Tracker does."""

    def __init__(self, place: Place) -> None:
        settings = self._settings = place.settings
        self._place = place
        with Registry(settings.bootstrap) as registry:
            subject = value_subject(settings.topics.events.name)
            self._header = struct.pack(">bI", 0, registry.register(subject, load("event")))
        self._schema = fastavro.parse_schema(load("event").plain)

    def publish(self, *names: str, project: str = "shop", **fields: str) -> None:
        self.produce([self._record(name, project, fields) for name in names])

    def produce(self, records: list[Record]) -> None:
        produce(self._settings.bootstrap, self._settings.topics.events.name, records)

    def _record(self, name: str, project: str, more: dict[str, str]) -> Record:
        out = io.BytesIO()
        project = self._place.renamed(project)
        fields = {
            "event_id": str(uuid.uuid4()),
            "project_id": project,
            "distinct_id": "ada",
            "person_id": "ada",
            "event": name,
            "timestamp": TIMESTAMP,
            **more,
        }
        fastavro.schemaless_writer(out, self._schema, fields)
        return Record(self._header + out.getvalue(), f"{project}:ada".encode())


class Measurer:
    """Publishes what a worker measures of metrics."""

    def __init__(self, place: Place) -> None:
        settings = self._settings = place.settings
        self._project = place.renamed("shop")
        self._topic = METRIC.aggregates.topic(settings.topics).name
        schema = load("metric-result")
        with Registry(settings.bootstrap) as registry:
            self._encoder = Encoder(schema, registry.register(value_subject(self._topic), schema))

    def publish(self, name: str, **fields: Any) -> None:
        """Write a record; what is not given has a value that is most ordinary."""
        times = dict.fromkeys(("bucket", "newest_at", "complete_until", "seen_until"))
        progress = {"position": 0, "backfilling_to": None, "live_since": None, "failed": None}
        measured = {"events": 0, "unmeasured": 0, "sum": 0.0, "persons": [], "seen": []}
        sketched = dict.fromkeys(("minimum", "maximum", "sketch"))
        common = {"project_id": self._project, "version": 1, "partition": 0, "updated_at": 1_000}
        common |= {"metric_id": name, "late_dropped": 0}
        row: dict[str, Any] = common | progress | times | measured | sketched | fields
        (value,) = self._encoder.encode_records([row])
        key = (
            f"{self._project}/{name}/{row['version']}/{row['bucket'] or 'total'}/{row['partition']}"
        )
        record = Record(value, key.encode(), row["partition"])
        produce(self._settings.bootstrap, self._topic, [record])


class Service:
    """A query service that runs, and the test's project there."""

    def __init__(self, place: Place) -> None:
        self.port = place.port
        self.project = place.renamed("shop")

    def refused(self, code: str) -> float:
        """How many connections the service has refused or closed for this."""
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=TIMEOUT_S).text
        found = re.search(
            rf'^avila_query_live_refused_total{{code="{code}"}} (\S+)$', text, re.MULTILINE
        )
        return float(found[1]) if found else 0

    @contextlib.contextmanager
    def connected(self, **options: Any) -> Iterator["Feed"]:
        options = {"proxy": None, "open_timeout": TIMEOUT_S} | options
        address = f"ws://127.0.0.1:{self.port}/api/projects/{self.project}/live"
        with connect(address, **options) as connection:
            yield Feed(connection)

    @contextlib.contextmanager
    def ready(self, token: str = READER, **options: Any) -> Iterator["Feed"]:
        with self.connected(additional_headers=bearer(token), **options) as feed:
            assert feed.receive() == {"ready": {"project_id": self.project}}
            yield feed


class Feed:
    """One connection, in JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, message: Any) -> None:
        self.connection.send(json.dumps(message))

    def receive(self) -> Any:
        return json.loads(self.connection.recv(TIMEOUT_S))

    def ask(self, message: Any) -> Any:
        self.send(message)
        return self.receive()

    def end(self) -> tuple[list[Any], int, str]:
        last = []
        try:
            while True:
                last.append(self.receive())
        except ConnectionClosed as closed:
            # 1006 stands for a line that was cut without a word.
            return (last, *((end.code, end.reason) if (end := closed.rcvd) else (1006, "")))

    def subscribe(self, kind: str, **options: Any) -> None:
        """Subscribe, again for as long as the broker is too slow for it."""
        while (answer := self.ask({"subscribe": kind, **options})) != {"subscribed": kind}:
            assert answer["error"]["code"] == "back_off"

    def events(self, until: Callable[[list[Any], int, int], bool]) -> tuple[list[Any], int, int]:
        """The events that came, and how many were left out and dropped, until that is enough."""
        events: list[Any] = []
        sampled_out = dropped = 0
        while not until(events, sampled_out, dropped):
            message = self.receive()
            events += message["events"]
            sampled_out += message["sampled_out"]
            dropped += message["dropped"]
        return events, sampled_out, dropped

    def metric(self, name: str, is_right: Callable[[Any], bool] = bool) -> Any:
        """A metric as soon as it is right."""
        while True:
            for one in self.receive()["metrics"]:
                if one["id"] == name and is_right(one):
                    return one


def define(place: Place, name: str, version: int = 1, *, replaces: bool = False) -> None:
    """Write a funnel of two steps; one that `replaces` another has that as its previous version."""
    funnel = decode_funnel(
        json.dumps({"window_s": 60, "steps": [{"event": "view"}, {"event": "buy"}]}).encode()
    )
    one = FunnelDefinition(
        project_id=place.renamed("shop"),
        id=name,
        version=version,
        created_at=0,
        updated_at=0,
        funnel=funnel,
    )
    if replaces:
        before = msgspec.structs.replace(one, version=version - 1)
        one = FUNNEL.with_previous(one, before)
    write(place, Record(encode(one), one.key))


def define_metric(place: Place, name: str, version: int = 1, **metric: Any) -> None:
    """Have a metric stand, in buckets of days unless it says so: few of them end during a test."""
    body = json.dumps({"bucket_s": 86_400} | metric).encode()
    one = MetricDefinition(
        project_id=place.renamed("shop"),
        id=name,
        version=version,
        created_at=0,
        updated_at=0,
        metric=decode_metric(body),
    )
    write(place, Record(metrics.encode(one), one.key))


def delete(place: Place, kind: str, name: str) -> None:
    """Write a tombstone of a definition."""
    write(place, Record(None, f"{place.renamed('shop')}/{kind}/{name}".encode()))


def write(place: Place, record: Record) -> None:
    """Write a record to the definitions."""
    produce(place.settings.bootstrap, place.settings.topics.definitions.name, [record])


@pytest.fixture(scope="module", autouse=True)
def tokens(shared_service: SharedService) -> None:
    """Make more tokens and a write key known to the shared service."""
    put(
        shared_service.settings,
        query_token(WRITER, scopes=("write",)),
        query_token(ELSEWHERE, "other"),
        write_key(),
        query_token(READER, scopes=("read",)),  # the last
    )
    wait_until_ready(Service(Place(shared_service.settings, "", shared_service.port)), READER)


def wait_until_ready(service: Service, token: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            with service.ready(token):
                return
        except (InvalidStatus, OSError):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def service(place: Place) -> Service:
    """The shared service, with a project of the test's own."""
    return Service(place)


# ── who may look ─────────────────────────────────────────────────────────────────────────────────


def test_the_token_may_be_the_first_message(service: Service) -> None:
    with service.connected() as feed:
        assert feed.ask({"token": READER}) == {"ready": {"project_id": service.project}}


def test_strangers_who_never_show_a_token_shut_nobody_out(service: Service) -> None:
    """As many as there may be, and more: they are cheap for who opens them."""
    with contextlib.ExitStack() as strangers:
        for _ in range(MAX_STRANGERS + 4):
            strangers.enter_context(service.connected())
        with service.connected() as feed, service.ready():
            assert feed.ask({"token": READER}) == {"ready": {"project_id": service.project}}


@pytest.mark.parametrize(
    ("token", "status"),
    [("aqt_unknown", 401), (KEY, 401), (WRITER, 403), (ELSEWHERE, 403)],
)
def test_what_is_no_token_for_this_is_refused(service: Service, token: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, service.ready(token):
        pass
    assert refused.value.response.status_code == status
    with service.connected() as feed:
        feed.send({"token": token})
        [answer], code, _ = feed.end()
    assert code == 1008
    assert answer["error"]["code"] == ("unauthorized" if status == 401 else "forbidden")
    assert "id" not in answer


def test_a_token_that_is_revoked_ends_the_connection(service: Service, place: Place) -> None:
    put(place.settings, query_token(LEAVING))
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        with contextlib.suppress(InvalidStatus), service.ready(LEAVING) as feed:
            one = query_token(LEAVING, expires_at=1)
            put(place.settings, one)
            [answer], code, _ = feed.end()
            break
        assert time.monotonic() < deadline
    assert (code, answer["error"]["code"]) == (1008, "unauthorized")


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("message", "field", "why"),
    [
        (
            {"subscribe": "cohorts"},
            "subscribe",
            "accepted are events, funnels, metrics, predictions",
        ),
        (
            {"unsubscribe": "cohorts"},
            "unsubscribe",
            "accepted are events, funnels, metrics, predictions",
        ),
        ({"subscribe": "events", "sample": 0}, "sample", "above 0"),
        ({"subscribe": "events", "sample": 2}, "sample", "up to 1"),
        ({"subscribe": "funnels", "sample": 1}, "sample", "for events"),
        ({"subscribe": "metrics", "sample": 1}, "sample", "for events"),
        ({"subscribe": "funnels", "unsubscribe": "funnels"}, "", "either"),
        ({}, "", "either"),
        ([], "", "cannot be read"),
    ],
)
def test_what_is_not_understood_is_answered_and_the_rest_goes_on(
    service: Service, message: Any, field: str, why: str
) -> None:
    with service.ready() as feed:
        answer = feed.ask(message)
        assert (answer["id"], answer["error"].get("field", "")) == (None, field)
        assert why in answer["error"]["message"]
        assert feed.ask({"subscribe": "funnels"}) == {"subscribed": "funnels"}
        assert feed.ask({"unsubscribe": "funnels"}) == {"unsubscribed": "funnels"}


# ── funnels ──────────────────────────────────────────────────────────────────────────────────────


def reached(message: Any, name: str) -> list[int]:
    [funnel] = [one for one in message["funnels"] if one["id"] == name]
    return [step["reached"] for step in funnel["totals"]["steps"]]


def test_a_funnel_comes_at_first_and_whenever_it_changes(
    service: Service, place: Place, worker: Worker
) -> None:
    define(place, "buy")
    with service.ready() as feed:
        feed.subscribe("funnels")
        assert reached(feed.receive(), "buy") == [0, 0]
        worker.publish({"reached": [5, 2]}, {"reached": [1, 1], "partition": 1})
        while (now := reached(feed.receive(), "buy")) != [6, 3]:
            assert now in ([5, 2], [1, 1])
        define(place, "other")
        assert reached(feed.receive(), "other") == [0, 0]
        define(place, "buy", version=2)
        assert reached(feed.receive(), "buy") == [0, 0]
        delete(place, "funnel", "buy")
        assert feed.receive() == {"funnels": [], "deleted": ["buy"]}


def test_a_changed_funnel_comes_with_its_previous_version_until_it_is_live(
    service: Service, place: Place, worker: Worker
) -> None:
    live = [{"partition": number, "live_since": 1} for number in range(PARTITIONS)]
    define(place, "buy")
    worker.publish(*({"reached": [5, 2]} | one for one in live))
    define(place, "buy", version=2, replaces=True)
    with service.ready() as feed:
        feed.subscribe("funnels")
        funnel: Any = {"previous": None}
        while not (funnel["previous"] and funnel["previous"]["state"] == "live"):
            [funnel] = feed.receive()["funnels"]
        assert (funnel["version"], funnel["state"]) == (2, "backfilling")
        before = funnel["previous"]
        assert before["version"] == 1
        assert [step["reached"] for step in before["totals"]["steps"]] == [10, 4]

        worker.publish({"version": 2, "reached": [3, 1]} | live[0])
        [funnel] = feed.receive()["funnels"]
        assert (funnel["state"], funnel["previous"]) == ("backfilling", before)
        worker.publish(*({"version": 2, "reached": [3, 1]} | one for one in live))
        [funnel] = feed.receive()["funnels"]
        assert (funnel["version"], funnel["state"], funnel["previous"]) == (2, "live", None)


def test_who_reads_slowly_gets_the_newest_figures_and_no_backlog(
    service: Service, place: Place, worker: Worker
) -> None:
    define(place, "buy")
    figures: list[int] = []
    with service.ready() as feed:
        feed.subscribe("funnels")
        worker.publish(*({"reached": [count, 0], "position": count} for count in range(1, 301)))
        while figures[-1:] != [300]:
            figures.append(reached(feed.receive(), "buy")[0])
    assert figures == sorted(set(figures))
    assert len(figures) < 200


# ── metrics ──────────────────────────────────────────────────────────────────────────────────────


def sums(metric: Any) -> list[float]:
    return [figure["value"] for figure in metric["buckets"]]


def test_a_metric_comes_at_first_and_whenever_it_changes(service: Service, place: Place) -> None:
    measurer = Measurer(place)
    sales: dict[str, Any] = {"measure": "sum", "property": "p"}
    define_metric(place, "sales", **sales)
    today = int(time.time()) // 86_400 * 86_400_000
    with service.ready() as feed:
        feed.subscribe("metrics")
        first = feed.receive()
        assert first["deleted"] == []
        [metric] = first["metrics"]
        assert (metric["id"], metric["version"], metric["state"]) == ("sales", 1, "backfilling")
        assert (metric["now"]["value"], metric["active"], metric["buckets"]) == (0, None, [])
        measurer.publish("sales", bucket=today, events=2, sum=5.0)
        measurer.publish("sales", bucket=today, events=1, sum=2.5, partition=1)
        # Of days that ended before yesterday nothing is shown.
        measurer.publish("sales", bucket=today - 5 * 86_400_000, events=1, sum=1.0)
        feed.metric("sales", lambda one: sums(one) == [7.5])
        measurer.publish("sales", late_dropped=3)
        assert sums(feed.metric("sales", lambda one: one["late_dropped"] == 3)) == [7.5]
        define_metric(place, "other", **sales)
        assert sums(feed.metric("other")) == []
        define_metric(place, "sales", version=2, **sales)
        assert sums(feed.metric("sales", lambda one: one["version"] == 2)) == []
        delete(place, "metric", "sales")
        assert feed.receive() == {"metrics": [], "deleted": ["sales"]}


def test_persons_are_active_no_more_as_time_passes_for_all_who_look(
    service: Service, place: Place
) -> None:
    define_metric(place, "users", measure="persons")
    # Somebody was last active in each second of the half hour: so one less is, each second.
    Measurer(place).publish("users", seen_until=int(time.time()), seen=[1] * 1_800)
    with service.ready() as one, service.ready() as other:
        for feed in (one, other):
            feed.subscribe("metrics")
        for feed in (one, other):
            feed.metric("users", lambda metric: active(metric) > 0)
            persons = [active(feed.metric("users")) for _ in range(3)]
            assert persons == sorted(set(persons), reverse=True)


def active(metric: Any) -> int:
    persons: int = metric["active"][-1]["persons"]
    return persons


def test_a_metric_of_which_nothing_changes_comes_once(service: Service, place: Place) -> None:
    define_metric(place, "users", measure="persons")
    with service.ready() as feed:
        feed.subscribe("metrics")
        feed.metric("users")
        with pytest.raises(TimeoutError):  # nothing comes, whatever the time is
            feed.connection.recv(3)
        define_metric(place, "other", measure="persons")
        assert [one["id"] for one in feed.receive()["metrics"]] == ["other"]


# ── events ───────────────────────────────────────────────────────────────────────────────────────


def test_events_of_ones_own_project_come_from_now_on(service: Service, place: Place) -> None:
    events = Events(place)
    events.publish("before")
    with service.ready() as feed:
        feed.subscribe("events")
        events.publish("foreign", project="other")
        events.publish("broken-key", project="shop2")
        events.produce([Record(b"no event", f"{service.project}:ada".encode())])
        events.publish("view", "buy", properties='{"amount": 12.5}', context="}, no JSON")
        came, sampled_out, dropped = feed.events(lambda events, *_: len(events) == 2)
        assert [one["event"] for one in came] == ["view", "buy"]
        assert (came[0]["properties"], came[0]["context"]) == ({"amount": 12.5}, "}, no JSON")
        assert came[0]["timestamp"] == TIMESTAMP
        assert "project_id" not in came[0]
        assert sampled_out <= 1  # what cannot be read
        assert dropped == 0
        feed.ask({"unsubscribe": "events"})
        eventually_no_tail()


def test_more_events_than_may_be_shown_are_sampled_and_the_rest_is_counted(
    service: Service, place: Place
) -> None:
    events = Events(place)
    count = 20 * MAX_EVENTS_PER_S
    with service.ready() as feed:
        feed.subscribe("events")
        begun = time.monotonic()
        events.publish(*(str(number) for number in range(count)))
        came, sampled_out, dropped = feed.events(
            lambda events, sampled_out, _: len(events) + sampled_out == count
        )
        took_s = time.monotonic() - begun
    assert dropped == 0
    assert 0 < len(came) <= MAX_EVENTS_PER_S * (2 + took_s)
    assert sampled_out > 0


def test_a_sample_is_the_share_asked_for(service: Service, place: Place) -> None:
    events = Events(place)
    with service.ready() as feed:
        feed.subscribe("events", sample=0.25)
        events.publish(*(str(number) for number in range(80)))
        came, sampled_out, _ = feed.events(
            lambda events, sampled_out, _: len(events) + sampled_out == 80
        )
    assert (len(came), sampled_out) == (20, 60)


def test_nothing_is_read_while_nobody_looks(service: Service) -> None:
    eventually_no_tail()
    with service.ready() as feed:
        feed.subscribe("events")
        assert tails() == 1
        with service.ready() as other:
            other.subscribe("events")
            assert tails() == 1
    eventually_no_tail()


def tails() -> int:
    return sum(thread.name == "tail" for thread in threading.enumerate())


def eventually_no_tail() -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while tails():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("count", "picked"), [(0, []), (1, [0]), (2, [0, 5]), (20, [*range(10)])])
def test_values_are_picked_evenly(count: int, picked: list[int]) -> None:
    assert evenly(range(10), count) == picked


# ── slow readers ─────────────────────────────────────────────────────────────────────────────────


def all_of(count: int) -> Callable[[list[Any], int, int], bool]:
    """Whether so many events are accounted for."""
    return lambda events, sampled_out, dropped: len(events) + sampled_out + dropped == count


@contextlib.contextmanager
def unread(service: Service) -> Iterator[Feed]:
    """A subscriber to events whose own side holds as little as may be of what comes."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        line.connect(("127.0.0.1", service.port))
        with service.ready(sock=line, max_queue=1) as feed:
            feed.subscribe("events")
            yield feed


def test_who_reads_slowly_loses_events_and_is_told_how_many(service: Service, place: Place) -> None:
    events = Events(place)
    wide = json.dumps({"text": "x" * 60_000})
    names = [str(number) for number in range(80)]
    with unread(service) as feed, service.ready() as quick:
        quick.subscribe("events")
        events.publish(*names, properties=wide)
        quick.events(all_of(80))  # so there is nothing more to come for the slow one
        came, sampled_out, dropped = feed.events(all_of(80))
    assert dropped > 0
    assert came[-1]["event"] == "79"
    assert len(came) < 80 - sampled_out


def test_who_reads_slowly_may_unsubscribe_meanwhile(service: Service, place: Place) -> None:
    events = Events(place)
    with unread(service) as feed, service.ready() as quick:
        feed.subscribe("funnels")
        quick.subscribe("events")
        events.publish(*map(str, range(80)), properties=json.dumps({"text": "x" * 60_000}))
        quick.events(all_of(80))
        feed.send({"unsubscribe": "funnels"})
        while feed.receive() != {"unsubscribed": "funnels"}:
            pass
        events.publish("last")
        feed.events(lambda events, *_: bool(events) and events[-1]["event"] == "last")


def test_who_reads_nothing_is_closed(service: Service, place: Place) -> None:
    events = Events(place)
    wide = json.dumps({"text": "x" * 60_000})
    deadline = time.monotonic() + TIMEOUT_S
    before = service.refused("slow_reader")
    with unread(service) as feed:
        while service.refused("slow_reader") == before:
            assert time.monotonic() < deadline
            events.publish("view", "view", properties=wide)
        # 1006 if what waited for it was not read within some seconds either.
        _, code, reason = feed.end()
    assert (code, reason) in {(1013, "nothing was read for 10 s: connect again"), (1006, "")}


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def test_a_service_that_stops_says_so(settings: Settings) -> None:
    with listen("127.0.0.1", 0, "test") as listener:
        server = uvicorn.Server(serving_config(make_query_app(settings)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        service = Service(Place(settings, "", listener.getsockname()[1]))
        wait_until_ready(service, TOKEN)
        with service.ready(TOKEN) as feed:
            feed.subscribe("events")
            server.should_exit = True
            assert feed.end()[1] == 1012
        thread.join()


# ── predictions ──────────────────────────────────────────────────────────────────────────────────


def test_a_prediction_comes_whenever_it_has_asked_learned_or_scored(
    service: Service, place: Place
) -> None:
    body = {"goal": {"event": "buy"}, "within_s": 60}
    names: dict[str, Any] = {"project_id": place.renamed("shop"), "id": "buys", "version": 1}
    record = msgspec.json.encode({**names, "created_at": 0, "updated_at": 0, "prediction": body})
    write(place, Record(record, PREDICTION.decode(record).key))
    publisher = Publisher(place)
    with service.ready() as feed:
        feed.subscribe("predictions")
        [prediction] = feed.receive()["predictions"]
        assert (prediction["state"], prediction["asked"]) == ("backfilling", 0)
        assert prediction["withheld_because"] == "it has learned nothing yet"
        publisher.questions({"asked": 3}, {"asked": 4, "partition": 1})
        while prediction["asked"] != 7:
            [prediction] = feed.receive()["predictions"]
        publisher.model(good())
        while not prediction["models"][0]["learned"]:
            [prediction] = feed.receive()["predictions"]
        assert (prediction["withheld"], prediction["models"][0]["better_than_base"]) == (
            False,
            True,
        )
        assert {band["persons"] for band in prediction["bands"]} == {0}
        publisher.scores({"ann": 0.25, "ben": 0.95})
        while not prediction["bands"][9]["persons"]:
            [prediction] = feed.receive()["predictions"]
        assert prediction["bands"][2] == {"from": 0.2, "to": 0.3, "persons": 1}
        assert prediction["complete"] is True
