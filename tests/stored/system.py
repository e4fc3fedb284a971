"""`avila up` on a data directory, and requests to it: with nothing of any version imported."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

PROJECT: Final = "shop"
KEY: Final = "shop-key-1"
TIMEOUT_S: Final = 300.0
_PAUSE_S: Final = 0.25
# Those that a stored directory was made with, and must be opened with.
_SETTINGS: Final = {
    "AVILA_WORKER_ID": "stored",
    "AVILA_PARTITIONS": "2",
    "AVILA_SNAPSHOT_INTERVAL_S": "2",
}
# What an answer says of the moment it is given at, or repeats of the definition.
_OF_THE_MOMENT: Final = frozenset(
    {"as_of", "now", "active", "complete_until", "positions", "clock", "updated_at"}
    | {"funnel", "cohort", "segment", "metric", "version"}
)


class System:
    """`avila up`, and what else `avila` can do meanwhile; `avila` is the command line of it."""

    def __init__(self, avila: Sequence[str], data_dir: Path, port_base: int) -> None:
        self._avila = list(avila)
        self._data_dir = data_dir
        self._port_base = port_base
        own = {name: text for name, text in os.environ.items() if not name.startswith("AVILA_")}
        self._environment = own | {
            "AVILA_DATA_DIR": str(data_dir),
            "AVILA_PORT_BASE": str(port_base),
            **_SETTINGS,
        }
        self._process = subprocess.Popen(
            [*self._avila, "up"], env=self._environment, stdout=sys.stderr
        )

    def command(self, *arguments: str) -> str:
        """Run another command of `avila` beside it; returns what it prints."""
        done = subprocess.run(
            [*self._avila, *arguments],
            env=self._environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
        """Ask the query service, or with a write key the ingest service; returns the answer.

        It may not be ready, or not know of a new key or token yet: it is asked again until it does.
        """
        deadline = time.monotonic() + TIMEOUT_S
        port = self._port_base + (0 if key else 1)
        while True:
            try:
                token = key or (self._data_dir / "query-token").read_text("utf-8").strip()
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}{path}",
                    None if body is None else json.dumps(body).encode(),
                    {"content-type": "application/json", "authorization": f"Bearer {token}"},
                    method=method,
                )
                with urllib.request.urlopen(request, timeout=30) as answer:
                    content = answer.read()
                    return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                if error.code not in {401, 503} or time.monotonic() > deadline:
                    raise RuntimeError(error.read().decode()) from error
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE_S)

    def send(self, batch: Sequence[dict[str, Any]]) -> list[str]:
        """Send events, 50 a request; returns what is said of each."""
        said: list[str] = []
        for begin in range(0, len(batch), 50):
            answer = self.ask("POST", "/v1/events", batch[begin : begin + 50], key=KEY)
            said += [one["result"] for one in answer["results"]]
        return said

    def stop(self) -> None:
        """Stop it as Ctrl-C does; returns when all of it is gone."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(120)


def lasting(answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer says of the events alone."""
    return {name: value for name, value in answer.items() if name not in _OF_THE_MOMENT}
