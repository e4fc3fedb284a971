"""A system that somebody hostile does all to, through every door: nobody else notices."""

import contextlib
import functools
import json
import queue
import sys
import time
from collections.abc import Callable, Iterator
from subprocess import Popen
from typing import Final, NamedTuple, cast

import psutil
import pytest

from schemas.settings import Settings, read_settings
from sinks.connection import connect as connect_clickhouse
from tests.events import await_equal
from tests.faults.hostile_run.attack import Accepted, Attack
from tests.faults.hostile_run.system import System
from tests.faults.hostile_run.watch import Memory, Quiet, p99, watching
from tests.kafka import read_all
from tests.ports import free_port_base
from tests.processes import eventually
from tests.services.test_supervisor import await_ready, up

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SHOTS: Final = 10_000
# A rate at which attack, system and judge have the two cores of a laptop: what is slow then is slow
# because somebody else's request is in the way.
SHOTS_PER_S: Final = 100.0
_BEFORE_S: Final = 25.0  # so long is the quiet project watched by itself
_SETTLED_S: Final = 120.0
_MAX_GROWTH_BYTES: Final = 64 << 20  # of a process, in the last third of the attack


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
    quiet, attack = Quiet(system), Attack(system, SHOTS, SHOTS_PER_S)
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
