"""A whole system for the browser to look at, and the means to send to it from other processes."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from playwright.sync_api import Page

from schemas.settings import INGEST_PORT, QUERY_PORT, Settings, read_settings
from services.keys.admin import run_with_key_admin
from services.keys.first import read_token
from tests.ports import free_port_base
from tests.processes import eventually
from tests.services.test_supervisor import await_ready, up

TIMEOUT_S = 60.0
# A machine that others share may take long for what is not measured.
PATIENCE_MS = 60_000
Open = Callable[..., Page]
# Sends one event as another process would, and prints when it was acknowledged (s since 1970).
_SENDER = """
import json, sys, time, urllib.request
address, key, body = sys.argv[1:]
import base64
request = urllib.request.Request(address, body.encode(), {
    "content-type": "application/json",
    "authorization": "Basic " + base64.b64encode((key + ":").encode()).decode(),
})
urllib.request.urlopen(request, timeout=30).close()
print(time.time())
"""


class System(NamedTuple):
    """A system that runs, the token of its user, and a write key by project."""

    settings: Settings
    process: "subprocess.Popen[str]"
    token: str
    keys: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://{self.settings.local_address(QUERY_PORT)}"

    def key(self, project: str) -> str:
        """A write key of a project."""
        if project not in self.keys:
            with ThreadPoolExecutor(1) as apart:  # Playwright has a loop of its own in this one
                made = apart.submit(
                    run_with_key_admin,
                    self.settings,
                    lambda admin: admin.create_write_key(project),
                )
            self.keys[project] = made.result().id
        return self.keys[project]

    def send(self, project: str, *events: dict[str, Any]) -> float:
        """Send events from another process; return when they were acknowledged (s since 1970)."""
        address = f"http://{self.settings.local_address(INGEST_PORT)}/v1/events"
        command = [sys.executable, "-c", _SENDER, address, self.key(project)]
        body = json.dumps({"events": events})
        done = run([*command, body])
        # A new key is known to the ingest service within a second.
        deadline = time.monotonic() + TIMEOUT_S
        while done.returncode and time.monotonic() < deadline:
            done = run([*command, body])
        assert not done.returncode, done.stderr
        return float(done.stdout)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the API, or define something with a body."""
        request = urllib.request.Request(
            f"{self.address}/api/projects/{path}",
            None if body is None else json.dumps(body).encode(),
            {"authorization": f"Bearer {self.token}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)

    def change(self, method: str, path: str, body: dict[str, Any]) -> Any:
        """Change what the path names, by a method such as PUT."""
        request = urllib.request.Request(
            f"{self.address}/api/projects/{path}",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {self.token}", "content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)

    def child(self, *words: str) -> psutil.Process:
        """The process of one part, such as `-m services query`."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            line = process.cmdline()
            if "python" in Path(line[0] if line else "").name and all(one in line for one in words):
                return process
        raise AssertionError(f"no process runs {words}")

    def await_answer(self, path: str, body: Any) -> None:
        """Wait until the API answers like this."""
        assert eventually(lambda: self.ask(path) == body, TIMEOUT_S), self.ask(path)


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def running(directory: Path) -> Iterator[System]:
    """`avila up` on one partition; it has ended after the block."""
    settings = read_settings(
        {},
        data_dir=directory / "data",
        port_base=free_port_base(),
        partitions=1,
        webhook_networks="127.0.0.0/8",
    )
    with up(settings) as process:
        await_ready(process)
        yield System(settings, process, read_token(settings), {})


def await_state(system: System, path: str, state: str) -> None:
    assert eventually(lambda: system.ask(f"{path}/status")["state"] == state, TIMEOUT_S)


def event(name: str, person: str, **properties: Any) -> dict[str, Any]:
    return {"event": name, "distinct_id": person, "properties": properties}
