"""Makes a stored data directory with a checkout of the version that it is to be of.

    python -m tests.stored.make CHECKOUT NAME PORT_BASE

CHECKOUT has a `.venv` of its own. Its `avila up` is run on a new directory, everything that can be
defined is defined, some hundred events are sent, and once the stream and the store agree about all
of them and a snapshot has been written, it is stopped. NAME.tar.xz is then the directory, and
NAME.json what was defined in the words of that version, and every answer that does not depend on
the time of day.
"""

import json
import lzma
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.stored.contents import BEFORE, LATER, SOURCES, events, plain_event, questions
from tests.stored.system import KEY, PROJECT, TIMEOUT_S, System, lasting

HERE: Final = Path(__file__).parent
# Not needed, or written again by whoever starts on the directory.
_LEFT_OUT: Final = ("logs", "kafka/tmp", "kafka/server.properties")
_DAY_S: Final = 86_400


def make(checkout: Path, name: str, port_base: int) -> None:
    """Make `name`.tar.xz and `name`.json beside this file."""
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = Path(scratch) / "data"
        system = System([str(checkout / ".venv" / "bin" / "avila")], data_dir, port_base)
        try:
            recorded = _fill(system, data_dir)
        finally:
            system.stop()
        _pack(data_dir, HERE / f"{name}.tar.xz")
    (HERE / f"{name}.json").write_text(_lines(recorded), "utf-8")


def _fill(system: System, data_dir: Path) -> dict[str, Any]:
    project = f"/api/projects/{PROJECT}"
    _set_up(system, project)
    for kind, name, body in BEFORE:
        system.ask("POST", f"{project}/{kind}", {"id": name} | body)
    sent = events((time.time_ns() // 1_000_000) - 7 * _DAY_S * 1_000)
    accepted = system.send(sent[:200])
    for kind, name, body in LATER:
        system.ask("POST", f"{project}/{kind}", {"id": name} | body)
    _change_some(system, project)
    accepted += system.send(sent[200:300])
    _await_snapshots(data_dir)
    accepted += system.send(sent[300:])
    assert set(accepted) == {"ok"}, accepted
    # Accepted and, since no clock is that far ahead, rejected by the Tracker.
    system.send([plain_event("home", "person-0", sent[-1]["timestamp"] + 10**10)])
    answers = _await_agreement(system, project, len(sent), sent[-1]["timestamp"])
    shown = {
        f"{kind}/{name}": system.ask("GET", f"{project}/{kind}/{name}")
        for kind, name, _ in [*BEFORE, *LATER]
    }
    plans = {name: system.ask("GET", f"{project}/plans/{name}") for name in ("home", "buy")}
    settings = system.ask("GET", f"{project}/settings")
    return {
        "answers": answers,
        "shown": shown,
        "plans": plans,
        "settings": settings,
        "events": len(sent),
    }


def _set_up(system: System, project: str) -> None:
    """Make keys, limits, a time zone and plans."""
    system.ask("GET", f"{project}/funnels")
    system.command("keys", "create", "--project", PROJECT, "--key", KEY, "--name", "stored")
    system.command(
        *("keys", "create", "--project", PROJECT, "--key", "web-key-1", "--rate", "500"),
        *("--quota", "1000000", "--origin", "https://shop.example"),
    )
    system.command("tokens", "create", "--project", PROJECT, "--scope", "read", "--days", "30")
    system.command("projects", "timezone", PROJECT, "Europe/Lisbon")
    system.command("projects", "limit", PROJECT, "--rate", "100000")
    price = {"properties": {"price": {"type": "number"}}, "required": ["price"]}
    system.ask("PUT", f"{project}/plans/buy", {"event": "buy", "mode": "enforce", "schema": price})
    page = {"properties": {"page": {"type": "string"}}}
    system.ask("PUT", f"{project}/plans/home", {"event": "home", "mode": "observe", "schema": page})


def _change_some(system: System, project: str) -> None:
    """Give a funnel a second version, and delete a segment."""
    steps, window_s = BEFORE[0][2]["steps"], 3_600
    system.ask("POST", f"{project}/funnels", {"id": "changed", "steps": steps[:2]})
    body = {"steps": steps, "window_s": window_s, "version": 1}
    system.ask("PUT", f"{project}/funnels/changed", body)
    system.ask("POST", f"{project}/segments", {"id": "deleted", "rule": {"did": {}}})
    system.ask("DELETE", f"{project}/segments/deleted")


def _await_snapshots(data_dir: Path) -> None:
    """Wait until every snapshot has been written since now."""
    begin, deadline = time.time(), time.monotonic() + TIMEOUT_S
    while True:
        files = [file for file in (data_dir / "snapshots").rglob("*") if file.is_file()]
        if files and all(file.stat().st_mtime > begin for file in files):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"snapshots older than asked for: {files}")
        time.sleep(0.5)


def _await_agreement(system: System, project: str, count: int, last_ms: int) -> dict[str, Any]:
    """The lasting answers, once the stream and the store have all and agree.

    Questions are put one after the other, so it takes two equal rounds of them to know that.
    """
    deadline = time.monotonic() + TIMEOUT_S
    before = None
    while True:
        answers = {
            f"{path}source={source}": lasting(system.ask("GET", f"{project}/{path}source={source}"))
            for path in questions(last_ms)
            for source in SOURCES
        }
        path = next(path for path in answers if path.startswith("metrics/frequent/"))
        counted = sum(day["events"] for day in answers[path]["buckets"])
        live = all(answer.get("state", "live") == "live" for answer in answers.values())
        agreed = all(
            _comparable(answers[f"{path}source=stream"])
            == _comparable(answers[f"{path}source=store"])
            for path in questions(last_ms)
        )
        if live and agreed and counted == count and answers == before:
            return answers
        before = answers
        if time.monotonic() > deadline:
            raise TimeoutError(f"live {live}, agreed {agreed}, counted {counted} of {count}")
        time.sleep(1)


def _comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what says how it was come by; of a segment the store knows no days."""
    return {
        name: value
        for name, value in answer.items()
        if name not in {"source", "approximate", "state", "backfilled", "days", "late_dropped"}
    }


def _lines(recorded: dict[str, Any]) -> str:
    """JSON with a line for each answer."""
    fields = []
    for name, value in recorded.items():
        if isinstance(value, dict):
            inner = [f"{json.dumps(one)}: {json.dumps(said)}" for one, said in value.items()]
            fields.append(f"{json.dumps(name)}: {{\n" + ",\n".join(inner) + "\n}")
        else:
            fields.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _pack(data_dir: Path, archive: Path) -> None:
    with (
        lzma.open(archive, "wb", preset=9) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for file in sorted(data_dir.rglob("*")):
            name = str(file.relative_to(data_dir))
            if name.startswith(_LEFT_OUT):
                continue
            entry = tar.gettarinfo(file, name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            if file.is_file():
                with file.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute(), sys.argv[2], int(sys.argv[3]))
