"""A child process ends with its parent, however that ends, and no terminal signals it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from services.child_process import reap, spawn
from tests.processes import eventually, processes_of_session

ROOT = Path(__file__).parents[2]
# A parent that prints the process ids of its children: one that heeds SIGTERM, one that ignores it,
# and one that replaces itself with another program.
_PARENT = """
import sys, time
from services.child_process import spawn
python, sleeping = sys.executable, "import time; time.sleep(600)"
children = [
    spawn([python, "-c", "import time; time.sleep(600)"], None),
    spawn([python, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"],
          None),
    spawn([python, "-c", f"import os; os.execv({python!r}, ['x', '-c', {sleeping!r}])"], None),
]
print(*(child.pid for child in children), flush=True)
time.sleep(600)
"""


@pytest.fixture
def parent() -> Iterator[tuple["subprocess.Popen[str]", list[int]]]:
    """A parent with three children, and their process ids; all have ended afterwards."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        children = [int(pid) for pid in process.stdout.readline().split()]
        try:
            yield process, children
        finally:
            process.kill()
            for pid in children:
                for child in processes_of_session(pid):
                    child.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV])
def test_children_end_with_their_parent_whatever_ends_it(
    parent: tuple["subprocess.Popen[str]", list[int]], number: signal.Signals
) -> None:
    process, children = parent
    assert all(psutil.pid_exists(pid) for pid in children)
    process.send_signal(number)
    process.wait(60)
    assert eventually(lambda: not any(map(processes_of_session, children)), 60)


def test_a_child_that_has_ended_leaves_nothing_behind() -> None:
    child = spawn([sys.executable, "-c", "raise SystemExit(3)"], None)
    assert reap(child) == 3
    assert eventually(lambda: not processes_of_session(child.pid), 60)


def test_a_child_runs_in_a_session_of_its_own() -> None:
    child = spawn([sys.executable, "-c", "import time; time.sleep(600)"], None)
    try:
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
    finally:
        child.kill()
        assert reap(child) == -signal.SIGKILL
