"""No record of the state is larger than its topic takes, whatever one person does."""

import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipelines.columnar.varint import LONGEST
from pipelines.engine.changelog import keep_latest
from pipelines.engine.changelog_meta import BackfillMeta, LogMeta, cut_meta, join_meta
from pipelines.engine.changelog_rows import pack_due, unpack
from pipelines.engine.constants import DAY_MS
from pipelines.engine.events import MatchedEvents
from pipelines.engine.operator import AnyOperator
from pipelines.engine.partition import Partition, Pass
from pipelines.engine.person_record import MAX_RECORD_BYTES
from pipelines.matching.matcher import Matcher, Selection
from pipelines.operators import OPERATORS
from pipelines.operators.funnel.columns import MAX_EVENTS
from pipelines.operators.funnel.operator import FUNNEL
from pipelines.operators.funnel.pack import max_packed_size
from pipelines.operators.sequence.columns import MAX_TAIL
from schemas import rules
from schemas.definitions import MAX_WINDOW_S
from schemas.operators.funnel import MAX_STEPS
from schemas.settings import Settings
from schemas.topic import MAX_MESSAGE_BYTES
from services.broker import Broker
from tests.conftest import deployment
from tests.kafka import read_all
from tests.pipelines.batches import events as happened
from tests.pipelines.in_process import Engine, Named, published, put, store
from tests.pipelines.test_partition import DEFINITION, feed, rows_of

MINUTE_MS: Final = 60_000
PERSONS: Final = ["ann", "ben", "cem"]
# A funnel with options, which keeps the events of a person.
WITH_OPTIONS: Final = replace(DEFINITION, funnel=replace(DEFINITION.funnel, once=True))


def with_funnels(count: int) -> Partition:
    """Return a partition with some funnels that keep a person's events."""
    empty = Partition()
    for number in range(count):
        of = FUNNEL.instance(replace(WITH_OPTIONS, id=f"f{number}"), 0)
        empty.instances[of.key] = of
    return empty


def logged(of: Partition, max_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records that are due, in order."""
    for columns in pack_due(of, 0, max_bytes):
        yield from zip(*(column.to_pylist() for column in columns), strict=True)


def restored(count: int, log: Sequence[tuple[bytes, bytes]]) -> Partition:
    """Return a partition with the latest records of a log."""
    partition, latest = with_funnels(count), dict[bytes, bytes | None]()
    keep_latest(latest, *zip(*log, strict=True))
    unpack(partition, list(latest), [value for value in latest.values() if value])
    return partition


def all_rows(of: Partition) -> dict[str, dict[str, bytes]]:
    return {key.id: rows_of(of, key) for key in of.instances}


@settings(max_examples=30, deadline=None)
@given(
    events=st.lists(st.sampled_from(PERSONS), min_size=1, max_size=60),
    limits=st.lists(st.integers(150, 900), min_size=1, max_size=4),
    one_by_one=st.booleans(),
)
def test_rows_that_are_logged_in_parts_are_restored_whole(
    events: list[str], limits: list[int], one_by_one: bool
) -> None:
    partition, log = with_funnels(5), list[tuple[bytes, bytes]]()
    size = 1 if one_by_one else 7
    turns = itertools.cycle(limits)
    for offset in range(0, len(events), size):
        keys = list(partition.instances)
        for key in keys[: 1 + offset % len(keys)]:  # not every event concerns every funnel
            feed(partition, events[offset : offset + size], offset, due=0, key=key, at=offset)
        limit = next(turns)
        for record in logged(partition, limit):
            assert sum(map(len, record)) <= limit
            log.append(record)
    failed = {of.key.id for of in partition.instances.values() if of.failed}
    found = all_rows(restored(5, log))
    for name, rows in all_rows(partition).items():
        if name not in failed:
            assert found[name] == rows


def test_a_definition_with_a_row_that_fits_into_no_record_fails_alone() -> None:
    partition = with_funnels(2)
    large, small = partition.instances.values()
    feed(partition, ["ann"] * 500, offset=0, due=0, key=large.key)
    feed(partition, ["ann"], offset=500, due=0, key=small.key)
    records = list(logged(partition, 300))
    assert "accepted are 300" in large.failed
    assert not small.failed
    assert all_rows(restored(2, records))["f1"] == rows_of(partition, small.key)


def test_the_largest_row_of_a_funnel_fits_into_a_record() -> None:
    row = np.zeros(1, [("length", np.int16)])
    row["length"] = MAX_EVENTS
    assert max_packed_size(row, np.zeros(1, np.int32)) < MAX_RECORD_BYTES < MAX_MESSAGE_BYTES


YEAR_S: Final = MAX_WINDOW_S
LATENESS_MS: Final = 31 * DAY_MS
EVENTS: Final = [{"event": f"e{number}"} for number in range(32)]


def sequence(number: int) -> dict[str, Any]:
    """The longest there is, of 29 events and one that never comes, and each a different one."""
    steps = [EVENTS[(number * 5 + step * 3) % 29] for step in range(7)]
    return {"sequence": {"steps": [*steps, EVENTS[29]], "window_s": YEAR_S}}


# Of each operator, the definitions with the largest rows that are accepted.
LARGEST: Final[dict[str, list[dict[str, Any]]]] = {
    "funnel": [
        {"steps": EVENTS, "window_s": YEAR_S},
        {
            "steps": EVENTS,
            "window_s": YEAR_S,
            "once": True,
            "hold_constant": ["a", "b", "c", "d"],
            "breakdown": {"property": "plan"},
        },
    ],
    "cohort": [
        {
            "start": EVENTS[0],
            "return": EVENTS[0],
            "period": "day",
            "periods": 60,
            "breakdown": {"property": "plan"},
        }
    ],
    "segment": [
        {"rule": {"and": [sequence(number) for number in range(32)]}},
        {
            "rule": {
                "or": [
                    {"performed": {"event": f"e{number}", "at_least": 85, "within_s": YEAR_S}}
                    for number in range(3)
                ]
                + [sequence(number) for number in range(29)]
            }
        },
    ],
    "prediction": [
        {
            "goal": EVENTS[0],
            "within_s": YEAR_S,
            "events": EVENTS[:3],
            "steps": EVENTS[:8],
            "conditions": [
                {"filter": event, "within_s": YEAR_S, "at_least": 8} for event in EVENTS[:4]
            ],
            "amount": "a",
            "property": "b",
            "category": "c",
            "category_bits": 6,
        }
    ],
    "metric": [
        {"measure": "persons", "of": EVENTS[0], "bucket_s": bucket_s}
        for bucket_s in (60, 3_600, 86_400)
    ],
}


def life(days: int) -> list[tuple[int, str]]:
    """What a person does: all but the last few events, every day, and then some without end.

    Those of the last month, in which nothing is late, come last and fill what rows keep.
    """
    draw = random.Random(5)
    done = [
        (day * DAY_MS + number * 1_000, EVENTS[number]["event"])
        for day in range(days)
        for number in range(29)
    ]
    begin = done[-1][0] - LATENESS_MS + 1
    return done + [
        (begin + place * (LATENESS_MS // 5_000), EVENTS[draw.randrange(29)]["event"])
        for place in range(5_000)
    ]


def live(partition: Partition, operator: AnyOperator, definition: Any) -> None:
    """Let one person with the longest id live for more than a year, as the worker would see it."""
    [key] = partition.instances
    matcher = Matcher([Selection(key, operator.selectors(definition), operator.reads(definition))])
    done = life(430)
    for begin in range(0, len(done), 2_000):
        at, names = zip(*done[begin : begin + 2_000], strict=True)
        texts = [
            json.dumps({name: f"{name}{moment}" for name in ("a", "b", "c", "d", "plan")})
            for moment in at
        ]
        batch = happened(["x" * 200] * len(at), begin, at, names=names, properties=texts)
        found = matcher.match(batch.projects, batch.names, batch.properties)
        partition.process(MatchedEvents(batch, found.matches), Pass.LIVE, 0)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.spec.name)
def test_the_largest_row_that_anybody_can_make_fits_into_a_record(operator: AnyOperator) -> None:
    """By all that definitions and events may be; a new operator adds its largest definitions."""
    for body in LARGEST[operator.spec.name]:
        record = Named(operator.spec.name, "large").record(body)
        definition = operator.spec.decode(json.dumps(record).encode())
        partition, again = Partition(), Partition()
        for into in (partition, again):
            one = operator.instance(definition, LATENESS_MS)
            into.instances[one.key] = one
        [key] = partition.instances
        live(partition, operator, definition)
        assert not partition.instances[key].failed
        [log] = logged(partition, MAX_RECORD_BYTES)
        assert sum(map(len, log)) < MAX_RECORD_BYTES
        unpack(again, [log[0]], [log[1]])
        assert not again.instances[key].failed
        assert rows_of(again, key) == rows_of(partition, key)


def test_rows_of_sequences_are_bounded_by_their_windows_and_tails() -> None:
    """Whatever numbers they hold: each takes `LONGEST` bytes at most."""
    days = (YEAR_S * 1_000 + LATENESS_MS) // DAY_MS + 2
    tail = 2 * MAX_TAIL
    of_funnel = 6 + tail + days * (2 + 2 * MAX_STEPS)
    of_sequence = 6 + tail + rules.MAX_STEPS * (2 + 2 * rules.MAX_STEPS)
    own_row = 100 + 8 * (rules.MAX_TIMES_PER_RULE + 2 * rules.MAX_LEAVES)
    largest = max(of_funnel * LONGEST, rules.MAX_LEAVES * (of_sequence * LONGEST + 12) + own_row)
    assert largest < MAX_RECORD_BYTES - 2_000  # of keys


@given(
    names=st.lists(st.text(max_size=60), max_size=40, unique=True), max_bytes=st.integers(100, 900)
)
def test_how_far_the_log_has_come_is_logged_in_parts(names: list[str], max_bytes: int) -> None:
    half = len(names) // 2
    backfills = {name: BackfillMeta(1, 2, 3) for name in names[half:]}
    meta = LogMeta(7, names[:half], backfills, {"shop": -5}, dict.fromkeys(names, 6))
    records = cut_meta(meta, max_bytes)
    assert all(len(value) <= max_bytes for value in records.values())
    assert join_meta(records) == meta
    # Of a longer one that was written before, parts are left over.
    longer = LogMeta(8, [*names, "x" * 2_000], {}, {})
    assert join_meta(cut_meta(longer, max_bytes) | records) == meta


@pytest.fixture
def engine(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with deployment(broker, tmp_path_factory.mktemp("records")) as own:
        running = Engine(replace(own, checkpoint_interval_ms=0))
        yield running
        running.close()


def sizes(settings: Settings) -> list[int]:
    """Return the sizes of all records of the state."""
    messages = read_all(settings.bootstrap, settings.topics.person_state.name)
    return [len(message.key() or b"") + len(message.value() or b"") for message in messages]


def test_one_id_with_thousands_of_events_and_fifty_funnels_is_logged_and_restored(
    engine: Engine,
) -> None:
    body: dict[str, Any] = {
        "steps": [{"event": "home"}, {"event": "cart"}],
        "breakdown": {"property": "plan"},
        "hold_constant": ["plan"],
    }
    funnels = [Named("funnel", f"f{number}") for number in range(50)]
    put(engine.settings, {of: of.record(body) for of in funnels})
    engine.await_definitions(lambda one: len(one.partition.instances) == len(funnels))
    now = time.time_ns() // 1_000_000
    for begin in range(0, 4_500, 500):
        store(engine.settings, ["home"] * 500, now + begin, "undefined")
        engine.run()
    found = published(engine.settings)
    assert {of: found[of][1, None]["failed"] for of in funnels} == dict.fromkeys(funnels)
    assert max(sizes(engine.settings)) < MAX_RECORD_BYTES
    rows = {key: rows_of(engine.partition, key) for key in engine.partition.instances}
    again = engine.restarted()
    try:
        assert {key: rows_of(again.partition, key) for key in again.partition.instances} == rows
    finally:
        again.close()
