"""The ingest service that the vendors' clients are pointed at."""

import fcntl
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.services.ingest.conftest import TIMEOUT_S, Ingest, ingest, serve, shared

__all__ = ["ingest", "serve", "shared"]

HERE = Path(__file__).parent


def stored(ingest: Ingest) -> list[dict[str, Any]]:
    """Return the events on the inbox by name, with JSON decoded."""
    events = ingest.inbox()
    for event in events:
        event["properties"] = json.loads(event["properties"])
        event["context"] = json.loads(event["context"])
    return sorted(events, key=lambda event: str(event["event"]))


@contextmanager
def losing_one_answer(port: int) -> Iterator[str]:
    """A proxy to `port` that takes the first events and says it did not, as a broken one may."""
    lost = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
            upstream.request("POST", self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            assert answer.status == 200, content
            if not lost.is_set() and not self.path.startswith("/flags"):
                lost.set()
                self.send_response(503)
                content = b'{"code":"lost","message":"on the way back"}'
            else:
                self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="losing proxy")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The Node clients as `package-lock.json` pins them, installed once for all checkouts."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not there: the vendors' Node clients cannot run")
    lock = (HERE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avila"
    home = cache / f"node-clients-{hashlib.sha256(lock).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "node-clients.lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not home.exists():
            _install(home)
    return home / "node_modules"


def _install(home: Path) -> None:
    """Install the Node clients there, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=home.parent) as directory:
        partial = Path(directory) / "partial"
        partial.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, partial)
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(npm, cwd=partial, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        partial.rename(home)
