"""The shell examples of the pages, typed into a system that `avila up` runs."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from schemas.settings import (
    GRPC_PORT,
    INGEST_PORT,
    QUERY_PORT,
    REGISTRY_PORT,
    STORE_PORT,
    Settings,
)
from tests.docs.pages import PAGES, ROOT, name_of, script_of
from tests.ports import free_port_base

_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 120.0
_PLACEHOLDER = re.compile(r"^key=\S+", re.MULTILINE)
_WITH_EXAMPLES = [page for page in PAGES if script_of(page)]
# What a reader sees as an error of HTTP must be one of the script's.
_PRELUDE = 'curl() { command curl --fail-with-body --silent --show-error --max-time 60 "$@"; }\n'


class System(NamedTuple):
    """A system that runs, and what a shell has to know of it."""

    settings: Settings
    environment: dict[str, str]
    key: str

    def rewritten(self, script: str) -> str:
        """A script of the pages with this system's ports and write key."""
        for port in (INGEST_PORT, QUERY_PORT, REGISTRY_PORT, GRPC_PORT, STORE_PORT):
            script = script.replace(f"localhost:{port}", f"127.0.0.1:{self.settings.port(port)}")
        return _PLACEHOLDER.sub(f"key={self.key}", script)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """`avila up` in a directory of its own, as the README has it."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed: the examples cannot be typed")
    home = tmp_path_factory.mktemp("docs")
    base = free_port_base()
    settings = Settings(data_dir=home / ".avila", port_base=base, partitions=2)
    bin_dir = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{bin_dir}:{os.environ['PATH']}",
        "AVILA_DATA_DIR": str(settings.data_dir),
        "AVILA_PORT_BASE": str(base),
        "AVILA_PARTITIONS": "2",
    }
    log = home / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["avila", "up"], env=environment, cwd=ROOT, stdout=output, stderr=output
        )
    try:
        key = _await_ready(process, log, settings)
        yield System(settings, environment | {"HOME_OF_EXAMPLES": str(home)}, key)
    finally:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)


def _await_ready(process: "subprocess.Popen[bytes]", log: Path, settings: Settings) -> str:
    """Wait until both services are ready; returns the write key that was printed."""
    waiting = {
        f"http://127.0.0.1:{settings.port(port)}/readyz" for port in (INGEST_PORT, QUERY_PORT)
    }
    deadline = time.monotonic() + _START_TIMEOUT_S
    while waiting:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        for url in list(waiting):
            try:
                urllib.request.urlopen(url, timeout=5).close()
            except OSError:
                time.sleep(0.2)
            else:
                waiting.remove(url)
    found = re.search(r"awk_\w+", log.read_text())
    assert found is not None, log.read_text()
    return found[0]


@pytest.mark.parametrize("page", _WITH_EXAMPLES, ids=name_of)
def test_the_examples_of_a_page_do_what_it_says(system: System, page: Path) -> None:
    home = Path(system.environment["HOME_OF_EXAMPLES"])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", _PRELUDE + system.rewritten(script_of(page))],
        env=system.environment,
        cwd=home,  # where `.avila` is
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
