"""One worker on a real broker: what goes into the inbox, and what comes out at every end."""

import json
import random
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import NotFound
from schemas.settings import _PORTS, WORKER_PORT
from services.broker import Broker
from services.replay import replay
from tests.cohort_oracle import Act, grid
from tests.conftest import PARTITIONS, deployment, free_ports
from tests.events import (
    PersonStep,
    Results,
    Sent,
    await_equal,
    decode,
    define,
    define_cohort,
    event_schema_id,
    figures,
    person_steps,
    record,
    rejected,
    retention,
    send,
    steps_timed_out,
    stored_events,
)
from tests.kafka import Record, produce
from tests.oracle import DAY_MS, Happening, fold
from tests.workers import WorkerProcess

NOW_MS = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000
STEPS = ["home", "cart", "purchase"]
COHORT: dict[str, Any] = {"start": {"event": "home"}, "periods": 3, "timezone": "Asia/Kathmandu"}


@pytest.fixture(scope="module")
def worker(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """A worker on a deployment of this module's; each test has a project of its own there.

    Its disk takes nothing, which makes no difference to anything.
    """
    directory = tmp_path_factory.mktemp("worker")
    with deployment(broker, directory) as own:
        settings = replace(own, port_base=free_port_base(), snapshot_interval_s=1)
        define(settings, "buy", STEPS, window_s=3_600)
        define(settings, "buy", STEPS, window_s=3_600, project="random")
        define(settings, "slow", STEPS, window_s=2 * 86_400, project="random")
        define(settings, "quick", STEPS, window_s=1, project="timeouts")
        define_cohort(settings, "before", COHORT, "random")
        with WorkerProcess(settings, AVILA_DATA_DIR="/proc/avila") as worker:
            worker.await_partitions(2 * PARTITIONS)
            yield worker
            assert "Traceback" not in worker.output
            assert worker.stop() == 0


def free_port_base() -> int:
    """A base that puts the worker's metrics on a free port; it listens on no other."""
    (port,) = free_ports(1)
    return port - _PORTS.index(WORKER_PORT)


@pytest.fixture(scope="module")
def results(worker: WorkerProcess) -> Iterator[Results]:
    results = Results(worker.settings)
    yield results
    results.close()


def of_project(results: Results, project: str) -> list[dict[str, Any]]:
    return [event for event in stored_events(results) if event["project_id"] == project]


def test_an_event_of_every_format_reaches_the_event_store(
    worker: WorkerProcess, results: Results
) -> None:
    settings = worker.settings
    sent = Sent("ann", "home", NOW_MS - 1_000, '{"plan":"pro"}', project="formats")
    envelope = {
        "specversion": "1.0",
        "id": "1",
        "source": "shop",
        "type": "cart",
        "subject": "ann",
        "time": "2026-01-02T03:04:05Z",
        "project": "formats",
    }
    structured = json.dumps(envelope | {"data": {"n": 1}}).encode()
    binary = Record(
        b'{"n": 2}',
        b"formats:ann",
        headers=(
            ("content-type", b"application/json"),
            *((f"ce_{name}", value.encode()) for name, value in (envelope | {"id": "2"}).items()),
        ),
    )
    produce(
        settings.bootstrap,
        settings.topics.inbox.name,
        [
            record(sent, event_schema_id(settings)),
            Record(
                structured,
                b"formats:ann",
                headers=(("content-type", b"application/cloudevents+json"),),
            ),
            binary,
        ],
    )
    await_equal(
        [("cart", {"n": 1}), ("cart", {"n": 2}), ("home", {"plan": "pro"})],
        lambda: sorted(
            ((e["event"], json.loads(e["properties"])) for e in of_project(results, "formats")),
            key=str,
        ),
    )
    assert {event["person_id"] for event in of_project(results, "formats")} == {"ann"}


def test_a_repeated_event_counts_once(worker: WorkerProcess, results: Results) -> None:
    settings = worker.settings
    name = "0b7cf1de-8d36-4c4e-8a86-5ad2a7f3c1aa"
    once = Sent("ann", "home", NOW_MS, event_id=name, project="repeated")
    again = [once, once._replace(person="ben"), once._replace(event_id="")]
    send(settings, [once, once])
    send(settings, again)
    await_equal(2, lambda: len(of_project(results, "repeated")))


def test_what_is_no_event_is_rejected_with_its_reason(
    worker: WorkerProcess, results: Results
) -> None:
    settings = worker.settings
    schema_id = event_schema_id(settings)
    sound = Sent("ann", "home", NOW_MS, project="bad")
    whole = record(sound, schema_id)
    assert whole.value is not None
    text_at = whole.value.index(b"home")
    bad: dict[str, list[bytes | None]] = {
        "undecodable": [
            whole.value[:-4],  # truncated
            b"\0" + schema_id.to_bytes(4) + b"\xff" * 40,  # of other types
            whole.value[:text_at] + b"\xff\xfe\xfd\xfc" + whole.value[text_at + 4 :],  # not UTF-8
        ],
        "unknown_schema": [b"\0" + (2**31 - 1).to_bytes(4) + whole.value[5:]],
        "timestamp_out_of_range": [
            record(sound._replace(at_ms=0), schema_id).value,
            record(sound._replace(at_ms=4_102_444_800_000), schema_id).value,
        ],
        "too_large": [
            record(sound._replace(properties=json.dumps({"a": "x" * 1_000_000})), schema_id).value
        ],
        "invalid_properties": [record(sound._replace(properties="[1]"), schema_id).value],
        "invalid_field": [
            record(sound._replace(event=""), schema_id).value,
            record(sound._replace(project="no project"), schema_id).value,
        ],
        "not_an_event": [b"", b"garbage", b'{"specversion": "0.3"}'],
        "not_wire_format": [None],
    }
    values = [value for several in bad.values() for value in several]
    keys = [b"bad:ann", None]
    records = [Record(value, keys[n % 2]) for n, value in enumerate(values)]
    produce(settings.bootstrap, settings.topics.inbox.name, records)
    await_equal(len(values), lambda: len([r for r in rejected(results) if r.value in values]))
    found = {(r.value, r.reason) for r in rejected(results) if r.value in values}
    assert found == {(value, reason) for reason, several in bad.items() for value in several}
    assert all(r.detail for r in rejected(results))

    produce(settings.bootstrap, settings.topics.inbox.name, [whole._replace(key=None)])
    await_equal(1, lambda: len(of_project(results, "bad")))


@pytest.mark.parametrize(("funnel", "window_ms"), [("buy", HOUR_MS), ("slow", 2 * DAY_MS)])
def test_the_streams_figures_are_those_of_the_definition(
    results: Results, random_events: list[Sent], funnel: str, window_ms: int
) -> None:
    assert_counted(results, random_events, funnel, window_ms)


def test_a_funnel_defined_afterwards_has_the_figures_of_one_that_was_there(
    worker: WorkerProcess, results: Results, random_events: list[Sent]
) -> None:
    await_equal(len(random_events), lambda: len(of_project(results, "random")))
    define(worker.settings, "after", STEPS, window_s=2 * 86_400, project="random")
    assert_counted(results, random_events, "after", 2 * DAY_MS)


@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_a_cohort_has_the_figures_of_its_definition(
    worker: WorkerProcess, results: Results, random_events: list[Sent], when: str
) -> None:
    if when == "afterwards":
        await_equal(len(random_events), lambda: len(of_project(results, "random")))
        define_cohort(worker.settings, when, COHORT, "random")
    acts = [
        Act(int(event.person.split()[1]), event.at_ms, event.event == "home", True)
        for event in random_events
    ]
    await_equal(
        grid(acts, "day", COHORT["periods"], COHORT["timezone"]),
        lambda: retention(results, when, "random"),
    )


def assert_counted(results: Results, events: list[Sent], funnel: str, window_ms: int) -> None:
    happenings = [
        Happening(event.person, event.at_ms, [STEPS.index(event.event) + 1]) for event in events
    ]
    expected = fold(happenings, len(STEPS), window_ms)
    await_equal(
        (expected.totals, {day: own.reached for day, own in expected.days.items()}, 0),
        lambda: tuple(figures(results, funnel, "random")),
    )
    steps = person_steps(results, funnel, "random")
    by_day: dict[tuple[int, int], list[int]] = {}
    for (_, day, step), took in steps.items():
        by_day.setdefault((day, step), []).append(took)
    assert {key: sorted(times) for key, times in by_day.items()} == {
        (day, number): times
        for day, own in expected.days.items()
        for number, times in enumerate(own.times, 1)
        if times
    }


@pytest.fixture(scope="module")
def random_events(worker: WorkerProcess) -> list[Sent]:
    """Events of some days, with ties, repeated and shuffled within the lateness, sent."""
    rng = random.Random(7)
    begin = NOW_MS - 3 * DAY_MS
    in_order = sorted(
        Sent(
            f"person {rng.randrange(150)}",
            rng.choice(STEPS),
            begin + rng.randrange(2 * DAY_MS // 60_000) * 60_000,
            event_id=f"{number:032x}",
            project="random",
        )
        for number in range(3_000)
    )
    in_order.sort(key=lambda event: event.at_ms + rng.randrange(HOUR_MS))
    send(worker.settings, in_order + rng.sample(in_order, 300))
    return in_order


def test_a_worker_whose_disk_takes_nothing_says_so_and_works(
    worker: WorkerProcess, results: Results
) -> None:
    send(worker.settings, [Sent("ann", "home", NOW_MS, project="full")])
    await_equal(1, lambda: len(of_project(results, "full")))
    await_equal(True, lambda: "snapshot not written" in worker.output)


def test_a_worker_tells_prometheus_what_it_has_read_and_keeps(
    worker: WorkerProcess, results: Results
) -> None:
    settings = worker.settings
    before = scraped(worker)
    send(settings, [Sent("ann", "home", NOW_MS, project="metrics")])
    await_equal(1, lambda: len(of_project(results, "metrics")))
    inbox = "avila_worker_records_total", settings.topics.inbox.name
    await_equal(True, lambda: scraped(worker)[inbox] > before.get(inbox, 0))
    now = scraped(worker)
    assert now["avila_worker_partitions", ""] == 2 * PARTITIONS
    assert now["avila_worker_table_rows", "dedup"] > before["avila_worker_table_rows", "dedup"]
    assert now["avila_worker_commits_total", ""] > before["avila_worker_commits_total", ""]
    assert {"idle", "read", "tracker: decode"} <= {
        label for name, label in now if name == "avila_worker_seconds_total"
    }


def scraped(worker: WorkerProcess) -> dict[tuple[str, str], float]:
    """What the worker's metrics say, by name and label."""
    settings = worker.settings
    url = f"http://{settings.host}:{settings.port(WORKER_PORT)}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name, "".join(sample.labels.values())): sample.value
        for family in families
        if family.name.startswith("avila_worker_")
        for sample in family.samples
    }


def test_a_window_that_closes_is_announced_without_a_further_event(
    worker: WorkerProcess, results: Results
) -> None:
    settings = worker.settings
    at = time.time_ns() // 1_000_000
    send(
        settings,
        [Sent("ann", step, at + n, project="timeouts") for n, step in enumerate(STEPS[:2])],
    )
    send(settings, [Sent("ben", step, at + n, project="timeouts") for n, step in enumerate(STEPS)])
    day = at // DAY_MS
    await_equal({PersonStep("ann", day, 2)}, lambda: steps_timed_out(results, "quick", "timeouts"))
    await_equal([2, 2, 1], lambda: figures(results, "quick", "timeouts").totals)


def test_a_funnel_counts_all_that_ever_happened_and_anew_when_it_is_changed(
    worker: WorkerProcess, results: Results
) -> None:
    settings = worker.settings
    send(settings, [Sent("early", "home", NOW_MS, project="later")])
    await_equal(1, lambda: len(of_project(results, "later")))
    define(settings, "late", ["home", "cart"], window_s=60, project="later")
    await_equal([1, 0], lambda: figures(results, "late", "later").totals)
    send(settings, [Sent("early", "cart", NOW_MS + 1, project="later")])
    await_equal([1, 1], lambda: figures(results, "late", "later").totals)
    define(settings, "late", ["cart", "home"], window_s=60, project="later", version=2)
    await_equal([1, 0], lambda: figures(results, "late", "later").totals)


def test_a_funnel_that_is_replayed_is_counted_anew(worker: WorkerProcess, results: Results) -> None:
    settings = worker.settings
    define(settings, "again", ["home", "cart"], window_s=60, project="replayed")
    send(settings, [Sent("ann", "home", NOW_MS, project="replayed")])
    await_equal([1, 0], lambda: figures(results, "again", "replayed").totals)
    with pytest.raises(NotFound):
        replay(settings, "replayed", "another", quiet=True)
    assert replay(settings, "replayed", quiet=True) == 1
    await_equal([1, 0], lambda: figures(results, "again", "replayed").totals)
    versions = {
        decode("funnel-result", message)["version"]
        for message in results.read(results.topics.funnels)
        if (message.key() or b"").startswith(b"replayed/again/") and message.value() is not None
    }
    assert versions == {1, 2}
