"""What benchmarks share: a broker of their own, events on it, and one way to time a reader.

Every reader of a topic is timed in the same way, from outside: by the offsets that it commits and
the CPU time of its process. The clock starts two seconds after the first commit, so that starting,
compiling and joining a group are not counted. It stops at the end of the topic, or after a minute.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import psutil
import pyarrow as pa
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks.history import publish
from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.definitions import Definition
from schemas.operators.funnel import Funnel, FunnelDefinition, Step
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import (
    BROKER_PORT,
    CONTROLLER_PORT,
    WORKER_PORT,
    Settings,
    read_settings,
)
from schemas.topics import Topic
from services.broker import Broker, install_kafka
from services.topics import ensure_topics
from services.worker import as_environment

ROOT = Path(__file__).parents[1]
PROJECT = "shop"
EVENTS = ("home", "search", "product", "cart", "address", "pay", "purchase", "return")
PARTITIONS = 2
PROPERTIES = tuple(
    f'{{"plan":"{plan}","price":{price}.5,"path":"/products/{price}"}}'
    for plan in ("free", "pro", "team", "school")
    for price in range(5, 45)
)
_PORT_BASE = 21_000
_RIVAL_EVENTS = 300_000
_WARM_UP_S = 2.0
_LONG_ENOUGH_S = 60.0
_FIRST_COMMIT_TIMEOUT_S = 600.0
_ASK_AGAIN_S = 1.0

console = Console()


class Timed(NamedTuple):
    """How fast a reader went."""

    events_per_s: float
    cpu_us_per_event: float


@contextlib.contextmanager
def system(**overrides: Any) -> Iterator[Settings]:
    """Start a broker; yield the settings of a deployment on it, and remove both afterwards."""
    install_kafka()
    with tempfile.TemporaryDirectory(prefix="avila-bench-") as name:
        directory = Path(name)
        settings = read_settings(
            {},
            port_base=_PORT_BASE,
            partitions=PARTITIONS,
            data_dir=directory / "data",
            **overrides,
        )
        broker = Broker.start(
            directory / "kafka",
            settings.host,
            settings.port(BROKER_PORT),
            settings.port(CONTROLLER_PORT),
            log_file=directory / "kafka.log",
        )
        try:
            create_topics(settings, settings.topics)
            yield settings
        finally:
            broker.stop()


def create_topics(settings: Settings, topics: Iterable[Topic]) -> None:
    """Create topics: ours, or the inputs of rivals."""
    ensure_topics(settings.bootstrap, topics, partitions=settings.partitions, replication_factor=1)


class Filler:
    """Writes a project's events to a topic: persons and names are drawn uniformly."""

    def __init__(
        self, settings: Settings, topic: str, *, persons: int, project: str = PROJECT
    ) -> None:
        schema = files.load("event")
        with Registry(settings.bootstrap) as registry:
            self._encoder = Encoder(schema, registry.register(value_subject(topic), schema))
        self._topic = topic
        self._project = project
        self._persons = persons
        self._rng = np.random.default_rng(persons)
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 20,
                "queue.buffering.max.messages": 1_000_000,
            }
        )

    def write(self, events: int, at: int | None = None) -> None:
        """Write `events` events, within the second that begins `at` (ms), or the last one."""
        persons = [f"person-{n}" for n in self._rng.integers(0, self._persons, events)]
        names = [EVENTS[n] for n in self._rng.integers(0, len(EVENTS), events)]
        self.send(persons, names, time.time_ns() // 1_000_000 - 1_000 if at is None else at)

    def send(self, names: list[str], events: list[str], at: int) -> None:
        """Write one event for each person in `names`, within the second that begins `at` (ms)."""
        batch = _batch(self._encoder.arrow, self._rng, self._project, names, events, at)
        for name, value in zip(names, self._encoder.encode(batch), strict=True):
            while True:
                try:
                    self._producer.produce(self._topic, value, f"{self._project}:{name}".encode())
                    break
                except BufferError:
                    self._producer.poll(0.1)
        self._producer.poll(0)

    def close(self) -> None:
        """Wait until all is acknowledged."""
        assert not self._producer.flush(120)


def fill(
    settings: Settings, topic: str, *, events: int, persons: int, project: str = PROJECT
) -> None:
    """Write `events` events of a project to a topic."""
    filler = Filler(settings, topic, persons=persons, project=project)
    for begin in range(0, events, 20_000):
        filler.write(min(20_000, events - begin))
    filler.close()


def _batch(
    schema: pa.Schema,
    rng: np.random.Generator,
    project: str,
    names: list[str],
    events: list[str],
    at: int,
) -> pa.RecordBatch:
    count = len(names)
    ids = rng.bytes(16 * count).hex()
    uuids = [
        f"{i[:8]}-{i[8:12]}-{i[12:16]}-{i[16:20]}-{i[20:]}"
        for i in (ids[32 * n : 32 * n + 32] for n in range(count))
    ]
    columns: dict[str, Any] = {
        "event_id": uuids,
        "project_id": [project] * count,
        "distinct_id": names,
        "person_id": names,
        "anonymous_id": [None] * count,
        "session_id": [None] * count,
        "event": events,
        "timestamp": at + np.arange(count) * 1_000 // count,
        "sent_at": [None] * count,
        "received_at": np.full(count, at + 1_000),
        "properties": [PROPERTIES[n] for n in rng.integers(0, len(PROPERTIES), count)],
        "context": ["{}"] * count,
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(columns[field.name]).cast(field.type) for field in schema], schema=schema
    )


def define(settings: Settings, definitions: Sequence[Definition]) -> None:
    """Put definitions on their topic."""
    producer = Producer({"bootstrap.servers": settings.bootstrap})
    for one in definitions:
        producer.produce(settings.topics.definitions.name, msgspec.json.encode(one), one.key)
    assert not producer.flush(30)


def parts_of(name: str, number: int, project: str = PROJECT) -> dict[str, Any]:
    """Return the fields that all definitions have."""
    return {
        "project_id": project,
        "id": f"{name}-{number}",
        "version": 1,
        "created_at": 0,
        "updated_at": 0,
    }


def define_funnels(settings: Settings, count: int, steps: int = 4, project: str = PROJECT) -> None:
    """Define `count` different funnels of `steps` steps each."""
    definitions = []
    for number in range(count):
        names = [EVENTS[(number + step) % len(EVENTS)] for step in range(steps)]
        funnel = Funnel(steps=tuple(Step(name) for name in names), window_s=3_600)
        definitions.append(FunnelDefinition(**parts_of("funnel", number, project), funnel=funnel))
    define(settings, definitions)


@contextlib.contextmanager
def process(command: list[str], environment: Mapping[str, str]) -> Iterator[psutil.Process]:
    """Run a reader as a process; if it ends by itself, print the end of its output."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield psutil.Process(child.pid)
        finally:
            ended = child.poll()
            if ended is None:
                child.terminate()
                try:
                    child.wait(20)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            else:
                log.seek(0)
                print(log.read()[-4_000:].decode(errors="replace"))


WORKER = [sys.executable, "-m", "services", "worker"]


def faust_command(app: str) -> list[str]:
    """Return the command of a rival that is a Faust app."""
    return [sys.executable, "-m", "faust", "-A", app, "worker", "--without-web"]


def time_ours(settings: Settings, topic: str) -> tuple[Timed, dict[str, float]]:
    """Time our worker; return its metrics, too."""
    with process(WORKER, environment_of(settings)) as reader:
        return timed(settings, reader, settings.app_id, topic), scraped(settings)


def time_faust(settings: Settings, topic: str, persons: int) -> Timed:
    """Time plain Faust on a topic of its own: its agent counts records and does nothing else."""
    create_topics(settings, [Topic(topic, "delete")])
    fill(settings, topic, events=_RIVAL_EVENTS, persons=persons)
    app = faust_command("benchmarks.rivals.faust_count")
    with process(app, rival_environment(settings, topic)) as reader:
        return timed(settings, reader, "rival-faust", topic)


def scraped(settings: Settings) -> dict[str, float]:
    """Return the worker's metrics, by name and labels."""
    url = f"http://{settings.host}:{settings.port(WORKER_PORT)}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        " ".join([sample.name.removeprefix("avila_worker_"), *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def shares(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return each stage's share of a worker's busy time, the largest first."""
    prefix = "seconds_total "
    seconds = {
        name.removeprefix(prefix): value
        for name, value in metrics.items()
        if name.startswith(prefix) and name.removeprefix(prefix) not in ("idle", "restore")
    }
    total = sum(seconds.values())
    longest = sorted(seconds.items(), key=lambda stage: -stage[1])
    return {name: round(value / total, 3) for name, value in longest}


def environment_of(settings: Settings, **more: str) -> dict[str, str]:
    """Return the environment of a process with these settings."""
    return os.environ | as_environment(settings) | more


def rival_environment(settings: Settings, topic: str) -> dict[str, str]:
    """Return the environment of a rival: broker, topic, and a directory for its state."""
    directory = settings.data_dir / "rivals" / uuid.uuid4().hex
    directory.mkdir(parents=True)
    return os.environ | {
        "RIVAL_BOOTSTRAP": settings.bootstrap,
        "RIVAL_TOPIC": topic,
        "RIVAL_DIRECTORY": str(directory),
    }


def timed(
    settings: Settings, reader: psutil.Process, group: str, topic: str, after: int = 0
) -> Timed:
    """Time a reader on a filled topic, as the module's docstring says.

    The first `after` events have been read already.

    Raises:
        RuntimeError: it ended, committed nothing, or reached the end before the clock started.
    """
    there = ends(settings, topic)
    console.print(f"timing {group} on {topic}")
    goal = sum(there.values()) - len(there)  # the last record of a partition may be a marker
    admin = AdminClient({"bootstrap.servers": settings.bootstrap})

    def position_after(least: int, within_s: float) -> int:
        deadline = time.monotonic() + within_s
        while (position := committed(admin, group, topic)) < least:
            if reader.status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError(f"{group} ended after {position} of {goal} events")
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)  # polling more often would slow the broker down
        return position

    if position_after(after + 1, _FIRST_COMMIT_TIMEOUT_S) <= after:
        raise RuntimeError(f"{group} committed nothing")
    time.sleep(_WARM_UP_S)  # its caches, its JIT compiler
    begin = committed(admin, group, topic)
    began, cpu = time.monotonic(), cpu_s(reader)
    if begin >= goal:
        raise RuntimeError(f"{group} reached the end too soon: give it more --events")
    end = position_after(goal, _LONG_ENOUGH_S)
    events, seconds = end - begin, time.monotonic() - began
    found = Timed(events / seconds, 1e6 * (cpu_s(reader) - cpu) / max(events, 1))
    console.print(f"{found.events_per_s:,.0f} events/s, {found.cpu_us_per_event:.1f} µs CPU each")
    return found


def cpu_s(running: psutil.Process) -> float:
    """Return the CPU time (s) of a process so far, of all its threads."""
    times = running.cpu_times()
    return float(times.user + times.system)


def committed(admin: AdminClient, group: str, topic: str) -> int:
    """Return the sum of the group's committed offsets; asks again while the broker is too busy."""
    request = [ConsumerGroupTopicPartitions(group)]
    while True:
        try:
            (answer,) = admin.list_consumer_group_offsets(request).values()
            found = answer.result(timeout=60).topic_partitions
        except (KafkaException, TimeoutError) as error:
            if _is(error, KafkaError.GROUP_ID_NOT_FOUND):
                return 0
            time.sleep(_ASK_AGAIN_S)
        else:
            return sum(max(p.offset, 0) for p in found if p.topic == topic)


def _is(error: Exception, code: int) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() == code


def ends(settings: Settings, topic: str) -> dict[int, int]:
    """Return the end offset of each partition."""
    consumer = Consumer({"bootstrap.servers": settings.bootstrap, "group.id": uuid.uuid4().hex})
    try:
        partitions = consumer.list_topics(topic, 30).topics[topic].partitions
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), 30)[1]
            for number in partitions
        }
    finally:
        consumer.close()


def until(holds: Callable[[], bool], within_s: float, pause_s: float = 0.5) -> None:
    """Wait until `holds()`; raises `TimeoutError` after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s")
        time.sleep(pause_s)


def answers(url: str) -> bool:
    """Return whether a GET of `url` is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=30):
            return True
    except OSError:
        return False


def report(title: str, rows: Mapping[str, Timed], figures: Mapping[str, object]) -> None:
    """Print a table and, as the last line, the figures as JSON; record them if asked to."""
    table = Table(title=title)
    for column in ("", "events/s", "µs CPU an event"):
        table.add_column(column, justify="left" if not column else "right")
    for name, found in rows.items():
        table.add_row(name, f"{found.events_per_s:,.0f}", f"{found.cpu_us_per_event:.1f}")
    console.print(table)
    publish(figures)
