"""One worker on a real broker: what goes into the inbox, and what comes out at every end."""

import json
import random
import time
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import NotFound
from schemas.operators import BY_NAME
from schemas.operators.funnel import FUNNEL
from schemas.rejected import MAX_KEY_BYTES, MAX_VALUE_BYTES
from schemas.settings import WORKER_PORT
from schemas.sketches.top_values import TopValues
from schemas.time.buckets import Buckets
from services.broker import Broker
from services.replay import ReplayFilter, replay
from tests.conftest import PARTITIONS, deployment
from tests.events import (
    PersonStep,
    Results,
    Sent,
    await_equal,
    decode,
    define,
    define_cohort,
    define_metric,
    define_segment,
    event_schema_id,
    figures,
    measured,
    person_steps,
    record,
    rejected,
    retention,
    retention_by_value,
    segmented,
    send,
    steps_timed_out,
    stored_events,
    values,
)
from tests.kafka import Record, produce
from tests.oracles import funnel_options
from tests.oracles import segment as segment_oracle
from tests.oracles.cohort import Act, grid, grids
from tests.oracles.events import Event as OracleEvent
from tests.oracles.funnel import Happening, fold
from tests.oracles.funnel_options import DAY_MS
from tests.oracles.metric import Act as MetricAct
from tests.oracles.metric import measure, persons
from tests.oracles.values import name_of, name_of_shown
from tests.ports import free_port_base
from tests.workers import WorkerProcess

NOW_MS = time.time_ns() // 1_000_000
AFTER = Sent("ann", "home", NOW_MS, project="after")
HOUR_MS = 3_600_000
STEPS = ["home", "cart", "purchase"]
SEGMENT: dict[str, Any] = {
    "or": [
        {"performed": {"event": "purchase", "exactly": 3}},
        {
            "and": [
                {"first_seen": {"event": "cart", "after": "2020-01-01"}},
                {"performed": {"at_most": 9}},
            ]
        },
        {"sequence": {"steps": [{"event": step} for step in STEPS], "window_s": 3_600}},
        {"not": {"last_seen": {"event": "home", "within_s": 2 * 86_400}}},
    ]
}
OPTIONS: dict[str, dict[str, Any]] = {
    "strict": {"order": "strict", "entries": True, "timezone": "Asia/Kathmandu"},
    "any": {"order": "any", "exclusions": [{"event": "purchase", "after": 2}]},
    "values": {
        "once": True,
        "entries": True,
        "hold_constant": ["list"],
        "breakdown": {"property": "plan", "attribution": 2},
    },
}
COHORT: dict[str, Any] = {
    "start": {"event": "home"},
    "periods": 3,
    "timezone": "Asia/Kathmandu",
    "breakdown": {"property": "plan"},
}
NAMES: dict[str, Any] = {"measure": "events", "by_event": True, "bucket_s": 3_600}
ACTIVES: dict[str, Any] = {"measure": "persons", "bucket_s": 86_400, "timezone": "Asia/Kathmandu"}


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
        define(settings, "local", STEPS, 3_600, "random", timezone="Asia/Kathmandu")
        for name, options in OPTIONS.items():
            define(settings, name, STEPS, window_s=2 * 86_400, project="random", **options)
        define(settings, "quick", STEPS, window_s=1, project="timeouts")
        define_cohort(settings, "before", COHORT, "random")
        define_metric(settings, "names-before", NAMES, "random")
        define_metric(settings, "actives-before", ACTIVES, "random")
        define_metric(settings, "paid", {"measure": "sum", "property": "price"}, "paying")
        define_segment(settings, "before", SEGMENT, "random")
        online = {"last_seen": {"within_s": 1}}
        define_segment(settings, "online", online, "segments")
        pro = {"person": [{"property": "plan", "value": "pro"}]}
        define_segment(settings, "pro", pro, "segments")
        with WorkerProcess(settings, AVILA_DATA_DIR="/proc/avila") as worker:
            worker.await_partitions(2 * PARTITIONS)
            yield worker
            assert "Traceback" not in worker.output
            lines = worker.output.splitlines()
            assert [line for line in lines if "kernel compiled late" in line] == []
            assert worker.stop() == 0


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
    await_equal(3, lambda: len(of_project(results, "repeated")))


def test_a_record_that_is_not_an_event_is_rejected_with_its_reason(
    worker: WorkerProcess, results: Results
) -> None:
    settings = worker.settings
    schema_id = event_schema_id(settings)
    sound = Sent("ann", "home", NOW_MS, project="bad")
    whole = record(sound, schema_id)
    assert whole.value is not None
    text_at = whole.value.index(b"home")
    ahead = NOW_MS + 40 * DAY_MS
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
            record(sound._replace(at_ms=ahead, received_at_ms=ahead), schema_id).value,
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
    cut = [None if value is None else value[:MAX_VALUE_BYTES] for value in values]
    await_equal(len(cut), lambda: len([r for r in rejected(results) if r.value in cut]))
    found = {(r.value, r.reason) for r in rejected(results) if r.value in cut}
    assert found == {
        (None if value is None else value[:MAX_VALUE_BYTES], reason)
        for reason, several in bad.items()
        for value in several
    }
    assert all(r.detail for r in rejected(results))

    produce(settings.bootstrap, settings.topics.inbox.name, [whole._replace(key=None)])
    await_equal(1, lambda: len(of_project(results, "bad")))


def test_a_record_of_megabytes_is_rejected_with_the_beginning_of_its_value(
    worker: WorkerProcess, results: Results
) -> None:
    settings = worker.settings
    large = b"no event" + b"x" * 4_100_000
    headers = (("own", b"1"), ("large", b"y" * 20_000))
    produce(
        settings.bootstrap,
        settings.topics.inbox.name,
        [Record(large, b"k" * 5_000, headers=headers), record(AFTER, event_schema_id(settings))],
        **{"message.max.bytes": 4_194_304},
    )
    await_equal(1, lambda: len(of_project(results, "after")))
    (found,) = [
        message
        for message in results.read(settings.topics.rejected)
        if (message.value() or b"").startswith(b"no event")
    ]
    assert found.value() == large[:MAX_VALUE_BYTES]
    assert found.key() == b"k" * MAX_KEY_BYTES
    written = dict(found.headers() or [])
    assert written["reason"] == b"not_an_event"
    assert written["length"] == str(len(large)).encode()
    assert {"topic", "partition", "offset", "own"} <= written.keys()
    assert "large" not in written


@pytest.mark.parametrize(("funnel", "window_ms"), [("buy", HOUR_MS), ("slow", 2 * DAY_MS)])
def test_a_funnel_has_the_figures_of_its_definition(
    results: Results, random_events: list[Sent], funnel: str, window_ms: int
) -> None:
    assert_counted(results, random_events, funnel, window_ms)


def test_a_funnel_has_the_days_of_its_time_zone(
    results: Results, random_events: list[Sent]
) -> None:
    assert_counted(results, random_events, "local", HOUR_MS, "Asia/Kathmandu")


def test_a_funnel_defined_afterwards_has_the_figures_of_one_that_was_there(
    worker: WorkerProcess, results: Results, random_events: list[Sent]
) -> None:
    await_equal(len(random_events), lambda: len(of_project(results, "random")))
    define(worker.settings, "after", STEPS, window_s=2 * 86_400, project="random")
    assert_counted(results, random_events, "after", 2 * DAY_MS)


def test_a_funnel_counts_no_event_before_the_time_that_it_names(
    worker: WorkerProcess, results: Results, random_events: list[Sent]
) -> None:
    await_equal(len(random_events), lambda: len(of_project(results, "random")))
    since_ms = sorted(event.at_ms for event in random_events)[len(random_events) // 2]
    since = datetime.fromtimestamp(since_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    define(worker.settings, "since", STEPS, 2 * 86_400, "random", since=since)
    later = [event for event in random_events if event.at_ms >= since_ms]
    assert 0 < len(later) < len(random_events)
    assert_counted(results, later, "since", 2 * DAY_MS)
    # Where nothing is that new, nothing is read for it.
    define(worker.settings, "future", STEPS, 2 * 86_400, "random", since="2100-01-01")
    await_equal([0] * len(STEPS), lambda: figures(results, "future", "random").totals)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_a_funnel_with_options_has_the_figures_of_its_definition(
    worker: WorkerProcess, results: Results, random_events: list[Sent], name: str, when: str
) -> None:
    options, defined = OPTIONS[name], name
    if when == "afterwards":
        await_equal(len(random_events), lambda: len(of_project(results, "random")))
        defined = f"{name}-later"
        define(worker.settings, defined, STEPS, 2 * 86_400, "random", **options)
    steps = [{"event": step} for step in STEPS]
    funnel = {"steps": steps, "window_s": 2 * 86_400} | options
    expected = funnel_options.figures(funnel, map(oracle_event, random_events))
    await_equal(
        (expected.reached, {day: own.reached for day, own in expected.days.items()}, 0),
        lambda: tuple(figures(results, defined, "random")),
    )
    if "breakdown" in options:
        by_name = {
            name_of(value): funnel_options.OfValue(*counts)
            for value, counts in values(results, defined, "random").items()
        }
        assert by_name == expected.values


def oracle_event(event: Sent) -> OracleEvent:
    return OracleEvent(event.person, event.event, event.at_ms, json.loads(event.properties))


def act_of(event: Sent) -> Act:
    person = int(event.person.split()[1])
    value = json.loads(event.properties).get("plan")
    return Act(person, event.at_ms, event.event == "home", True, value)


@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_a_cohort_has_the_figures_of_its_definition(
    worker: WorkerProcess, results: Results, random_events: list[Sent], when: str
) -> None:
    if when == "afterwards":
        await_equal(len(random_events), lambda: len(of_project(results, "random")))
        define_cohort(worker.settings, when, COHORT, "random")
    acts = list(map(act_of, random_events))
    await_equal(
        grid(acts, "day", COHORT["periods"], COHORT["timezone"]),
        lambda: retention(results, when, "random"),
    )
    found = retention_by_value(results, when, "random")
    by_value = {name_of_shown(value or ""): rows for value, rows in found.items()}
    assert by_value == grids(acts, "day", COHORT["periods"], COHORT["timezone"])


@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_a_metric_has_the_figures_of_its_definition(
    worker: WorkerProcess, results: Results, random_events: list[Sent], when: str
) -> None:
    if when == "afterwards":
        await_equal(len(random_events), lambda: len(of_project(results, "random")))
        define_metric(worker.settings, "names-afterwards", NAMES, "random")
        define_metric(worker.settings, "actives-afterwards", ACTIVES, "random")
    acts = [
        MetricAct(int(event.person.split()[1]), event.at_ms, event.event) for event in random_events
    ]
    await_equal(
        {
            number * HOUR_MS: (found.events, dict(found.names))
            for number, found in measure(acts, 3_600, "UTC").items()
        },
        lambda: names_of(results, f"names-{when}"),
    )
    zone = ACTIVES["timezone"]
    days = Buckets(86_400, zone)
    await_equal(
        {days.begin(day): of for day, of in persons(acts, 86_400, zone, (1, 7, 30)).items()},
        lambda: {
            begin: [sum(of) for of in zip(*(part["persons"] for part in parts), strict=True)]
            for begin, parts in measured(results, f"actives-{when}", "random").items()
        },
    )


def names_of(results: Results, metric: str) -> dict[int, tuple[int, dict[Any, int]]]:
    found = {}
    for begin, parts in measured(results, metric, "random").items():
        merged = TopValues()
        for part in parts:
            merged = merged.merged(TopValues.read(part["sketch"]))
        found[begin] = sum(part["events"] for part in parts), dict(merged.top(10).values)
    return found


def test_a_sum_is_of_the_numbers_and_counts_what_is_none(
    worker: WorkerProcess, results: Results
) -> None:
    begin = NOW_MS // 60_000 * 60_000
    prices = ['{"price": 2.5}', '{"price": "2.5"}', "{}", '{"price": 4}']
    events = [
        Sent(f"p{n}", "buy", begin + n, price, project="paying") for n, price in enumerate(prices)
    ]
    send(worker.settings, events)
    await_equal(
        (4, 2, 6.5),
        lambda: tuple(
            sum(part[name] for part in measured(results, "paid", "paying").get(begin, []))
            for name in ("events", "unmeasured", "sum")
        ),
    )


@pytest.mark.parametrize("when", ["before", "afterwards"])
def test_a_segment_has_the_members_of_its_rule(
    worker: WorkerProcess, results: Results, random_events: list[Sent], when: str
) -> None:
    if when == "afterwards":
        await_equal(len(random_events), lambda: len(of_project(results, "random")))
        define_segment(worker.settings, when, SEGMENT, "random")
    events = list(map(oracle_event, random_events))
    # The project's clock is that of its newest event, so much behind that all is within the spans.
    now = max(event.at_ms for event in random_events)
    persons = segment_oracle.members(SEGMENT, events, now)
    await_equal((persons, len(persons)), lambda: tuple(segmented(results, when, "random")))


def test_persons_enter_by_events_and_leave_by_time_without_a_further_event(
    worker: WorkerProcess, results: Results
) -> None:
    settings = worker.settings
    now = time.time_ns() // 1_000_000
    traits = json.dumps({"$set": {"plan": "pro"}})
    send(
        settings,
        [
            Sent("ann", "home", now, project="segments"),
            Sent("ben", "$identify", now, traits, project="segments"),
        ],
    )
    await_equal({"ben"}, lambda: segmented(results, "pro", "segments").members)
    await_equal((set(), 0), lambda: tuple(segmented(results, "online", "segments")))
    changes = [
        (change["person_id"], change["change"], change["event_at"] is None)
        for message in results.read(BY_NAME["segment"].changes[0].topic(results.topics))
        if message.value() is not None
        and (change := decode("segment-change", message))["segment_id"] == "online"
        and change["project_id"] == "segments"
    ]
    assert sorted(changes) == [
        ("ann", "entered", False),
        ("ann", "left", True),
        ("ben", "entered", False),
        ("ben", "left", True),
    ]


def test_a_changed_segment_begins_without_members(worker: WorkerProcess, results: Results) -> None:
    settings = worker.settings
    define_segment(settings, "some", {"performed": {"event": "home"}}, "anew")
    send(settings, [Sent(name, "home", NOW_MS, project="anew") for name in ("ann", "ben")])
    send(settings, [Sent("ben", "cart", NOW_MS, project="anew")])
    await_equal(({"ann", "ben"}, 2), lambda: tuple(segmented(results, "some", "anew")))
    define_segment(settings, "some", {"performed": {"event": "cart"}}, "anew", version=2)
    await_equal(({"ben"}, 1), lambda: tuple(segmented(results, "some", "anew")))


def assert_counted(
    results: Results, events: list[Sent], funnel: str, window_ms: int, timezone: str = "UTC"
) -> None:
    happenings = [
        Happening(event.person, event.at_ms, [STEPS.index(event.event) + 1]) for event in events
    ]
    expected = fold(happenings, len(STEPS), window_ms, timezone)
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
            rng.choice(['{"list": 1}', '{"list": 2, "plan": "pro"}', '{"list": 2, "plan": 1.5}']),
            event_id=f"{number:032x}",
            project="random",
        )
        for number in range(3_000)
    )
    in_order.sort(key=lambda event: event.at_ms + rng.randrange(HOUR_MS))
    send(worker.settings, in_order + rng.sample(in_order, 300))
    return in_order


def test_a_worker_whose_disk_cannot_be_written_logs_it_and_works(
    worker: WorkerProcess, results: Results
) -> None:
    send(worker.settings, [Sent("ann", "home", NOW_MS, project="full")])
    await_equal(1, lambda: len(of_project(results, "full")))
    await_equal(True, lambda: "snapshot not written" in worker.output)


def test_prometheus_can_scrape_what_a_worker_has_read_and_keeps(
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
    covered = "avila_worker_dedup_covered_seconds", "metrics"
    await_equal(settings.dedup_window_s, lambda: scraped(worker).get(covered))


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


def test_a_funnel_counts_all_events_and_again_when_it_is_changed(
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


def test_everything_of_a_project_can_be_replayed(
    worker: WorkerProcess, results: Results, random_events: list[Sent]
) -> None:
    settings = worker.settings
    own = [replace_project(event, "everything") for event in random_events]
    define(settings, "buy", STEPS, window_s=3_600, project="everything")
    define_cohort(settings, "back", COHORT, "everything")
    send(settings, own)
    acts = list(map(act_of, own))
    expected = grid(acts, "day", COHORT["periods"], COHORT["timezone"])
    await_equal(expected, lambda: retention(results, "back", "everything"))
    before = figures(results, "buy", "everything")
    assert replay(settings, ReplayFilter("everything"), quiet=True) == 2
    await_equal(expected, lambda: retention(results, "back", "everything"))
    await_equal(before, lambda: figures(results, "buy", "everything"))


def replace_project(event: Sent, project: str) -> Sent:
    return event._replace(project=project, event_id=f"{uuid.uuid4()}")


def test_a_replayed_funnel_is_counted_again(worker: WorkerProcess, results: Results) -> None:
    settings = worker.settings
    define(settings, "again", ["home", "cart"], window_s=60, project="replayed")
    send(settings, [Sent("ann", "home", NOW_MS, project="replayed")])
    await_equal([1, 0], lambda: figures(results, "again", "replayed").totals)
    with pytest.raises(NotFound):
        replay(settings, ReplayFilter("replayed", id="another"), quiet=True)
    assert replay(settings, ReplayFilter("replayed", "funnel"), quiet=True) == 1
    await_equal([1, 0], lambda: figures(results, "again", "replayed").totals)
    versions = {
        decode("funnel-result", message)["version"]
        for message in results.read(FUNNEL.aggregates.topic(results.topics))
        if (message.key() or b"").startswith(b"replayed/again/") and message.value() is not None
    }
    assert versions == {1, 2}
