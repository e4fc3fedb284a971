"""A data directory of an earlier version opens in this one, and goes on in it."""

import contextlib
import json
import math
import shutil
import sys
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.ports import free_port_base
from tests.stored.system import PROJECT, System, lasting

ESTIMATES: Final = (".median_ms", ".p90_ms")  # figures that are estimates
HERE = Path(__file__).parent
STORED = sorted(path.stem for path in HERE.glob("*.json"))
API = f"/api/projects/{PROJECT}"
STEPS = [{"event": "home"}, {"event": "cart"}, {"event": "buy"}]
PRO = {"property": "plan", "value": "pro"}

# How definitions are shown that were written in words which are others now.
RENAMED: dict[str, dict[str, Any]] = {
    "segments/buyers": {"rule": {"performed": {"event": "buy", "at_least": 2}}},
    "segments/lapsed": {
        "rule": {
            "and": [
                {"sequence": {"steps": STEPS, "window_s": 86_400}},
                {"last_seen": {"event": "buy", "not_within_s": 3_600}},
                {"not": {"performed": {"event": "refund", "within_s": 3_600}}},
            ]
        }
    },
    "metrics/revenue": {"filter": {"event": "buy", "where": [PRO]}},
    "metrics/waiting": {"filter": {"event": "buy"}},
}
OLD_NAMES = {"of"}
SETTLED_TIMEOUT_S = 180.0
# Each of these persons enters the funnel `plain` and gets to its end.
NEW_PERSONS = 20


@pytest.mark.parametrize("name", STORED)
def test_a_stored_data_directory_opens_with_its_figures_and_counts_on(
    name: str, tmp_path: Path
) -> None:
    recorded = unpack(name, tmp_path)
    with running(tmp_path) as system:
        check_definitions(system, recorded)
        check_answers(system, recorded, lambda _: True)
        check_keys_and_plans(system, recorded)
        send_batch(system, 1)
        check_counting(system, recorded, batches=1)
    with running(tmp_path) as system:
        send_batch(system, 2)
        check_counting(system, recorded, batches=2)
        check_answers(system, recorded, is_of_the_past)
        check_counting(system, recorded, batches=2)


@pytest.mark.parametrize("name", STORED)
def test_a_stored_data_directory_that_has_lost_its_snapshots_is_restored_from_its_topics(
    name: str, tmp_path: Path
) -> None:
    recorded = unpack(name, tmp_path)
    shutil.rmtree(tmp_path / "snapshots")
    with running(tmp_path) as system:
        send_batch(system, 1)
        check_counting(system, recorded, batches=1)
        check_answers(system, recorded, is_of_the_past)


def unpack(name: str, data_dir: Path) -> dict[str, Any]:
    """Put a stored data directory there; returns what was recorded when it was made."""
    with tarfile.open(HERE / f"{name}.tar.xz") as archive:
        archive.extractall(data_dir, filter="data")
    recorded: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    return recorded


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[System]:
    """This version's `avila up`."""
    system = System([sys.executable, "-m", "services"], data_dir, free_port_base())
    try:
        yield system
    finally:
        system.stop()


def eventually(ask: Callable[[], Any], lacks: Callable[[Any], str]) -> Any:
    """Ask until an answer lacks nothing; fails with what the last one lacks."""
    deadline = time.monotonic() + SETTLED_TIMEOUT_S
    while True:
        answer = ask()
        if not (lacking := lacks(answer)):
            return answer
        assert time.monotonic() < deadline, lacking
        time.sleep(0.25)


def read(system: System, path: str) -> dict[str, Any]:
    return lasting(system.ask("GET", f"{API}/{path}"))


def difference(answer: Any, recorded: Any, path: str = "") -> str:
    """Where an answer is not what was recorded, empty if nowhere; later versions may say more."""
    if isinstance(recorded, dict) and isinstance(answer, dict):
        named = (
            difference(answer.get(name), value, f"{path}.{name}")
            for name, value in recorded.items()
        )
        return next(filter(None, named), "")
    if isinstance(recorded, list) and isinstance(answer, list) and len(answer) == len(recorded):
        numbered = (
            difference(one, value, f"{path}[{number}]")
            for number, (one, value) in enumerate(zip(answer, recorded, strict=True))
        )
        return next(filter(None, numbered), "")
    same = answer == recorded
    if path.endswith(ESTIMATES) and None not in (answer, recorded):
        # Within 1 % of a time; of what was recorded, some lay beyond all times that there were.
        same = math.isclose(answer, recorded, rel_tol=0.0102, abs_tol=1)
    return "" if same else f"{path} is {answer!r}, and was {recorded!r}"


def check_definitions(system: System, recorded: dict[str, Any]) -> None:
    for path, shown in recorded["shown"].items():
        answer = system.ask("GET", f"{API}/{path}")
        kept = {name: value for name, value in shown.items() if name not in OLD_NAMES}
        expected = kept | RENAMED.get(path, {})
        assert not difference(answer, expected, path)
        assert not OLD_NAMES & answer.keys()
    for kind in ("funnels", "cohorts", "segments", "metrics"):
        page = system.ask("GET", f"{API}/{kind}")
        ids = {one["id"] for one in page[kind]}
        assert ids - {"changed"} == {
            path.split("/")[1] for path in recorded["shown"] if path.startswith(kind)
        }
    changed = system.ask("GET", f"{API}/funnels/changed")
    assert (changed["version"], changed["steps"][2]["event"]) == (2, "buy")


def check_answers(system: System, recorded: dict[str, Any], asked: Callable[[str], bool]) -> None:
    for path, said in recorded["answers"].items():
        if asked(path):
            eventually(partial(read, system, path), partial(difference, recorded=said, path=path))


def is_of_the_past(path: str) -> bool:
    """Whether what happens now changes nothing of an answer."""
    return path.startswith("metrics/")


def check_keys_and_plans(system: System, recorded: dict[str, Any]) -> None:
    assert not difference(system.ask("GET", f"{API}/settings"), recorded["settings"])
    for name, plan in recorded["plans"].items():
        assert not difference(system.ask("GET", f"{API}/plans/{name}"), plan)
    keys = system.command("keys", "list", "--project", PROJECT)
    assert "shop-key-1" in keys
    assert "https://shop.example" in keys
    assert system.command("tokens", "list").count("read") > 1
    free = happening("buy", "newcomer", {"price": "nothing"})
    assert system.send([free]) == ["drop"]


def happening(name: str, person: str, properties: dict[str, Any]) -> dict[str, Any]:
    identified = {"event_id": str(uuid.uuid4()), "event": name, "distinct_id": person}
    return identified | {"properties": properties}


def send_batch(system: System, number: int) -> None:
    """Send the events of some new persons, each event twice."""
    sent = [
        happening(name, f"new-{number}-{person}", {"price": 7, "plan": "pro"})
        for name in ("home", "cart", "buy", "buy")
        for person in range(NEW_PERSONS)
    ]
    assert set(system.send(sent)) == {"ok"}
    system.send(sent)


def check_counting(system: System, recorded: dict[str, Any], batches: int) -> None:
    """Await that all events of so many batches are counted once, with those of before."""
    new = batches * NEW_PERSONS
    steps = recorded["answers"]["funnels/plain/results?source=stream"]["totals"]["steps"]
    reached = [step["reached"] + new for step in steps]
    members = set(recorded["answers"]["segments/buyers/members?source=stream"]["persons"])
    members |= {
        f"new-{batch}-{person}" for batch in range(1, batches + 1) for person in range(NEW_PERSONS)
    }
    for source in ("store", "stream"):
        for path, figure, expected in (
            ("funnels/plain/results?", reached_of, reached),
            ("metrics/frequent/results?", events_of, recorded["events"] + 4 * new),
            ("segments/buyers/members?limit=200&", members_of, members),
        ):
            eventually(
                partial(read, system, f"{path}source={source}"),
                partial(lacking, path, figure, expected),
            )


def lacking(path: str, figure: Callable[[Any], Any], expected: Any, answer: Any) -> str:
    return "" if figure(answer) == expected else f"{path}: {figure(answer)}, not {expected}"


def reached_of(answer: dict[str, Any]) -> list[int]:
    return [step["reached"] for step in answer["totals"]["steps"]]


def events_of(answer: dict[str, Any]) -> int:
    return sum(bucket["events"] for bucket in answer["buckets"])


def members_of(answer: dict[str, Any]) -> set[str]:
    return set(answer["persons"])


@pytest.mark.parametrize("name", STORED)
def test_a_stored_data_directory_stays_small(name: str) -> None:
    assert (HERE / f"{name}.tar.xz").stat().st_size < 2_000_000
