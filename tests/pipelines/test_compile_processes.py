"""Kernels are compiled in processes that share the calls and end with the one that needs them."""

import os
import subprocess
import sys
import time
from pathlib import Path

from pipelines.worker.compile_processes import compile_in_processes

ROOT = Path(__file__).parents[2]
# Each call leaves a file named by its number and its process.
NOTING = """
import os, sys
from functools import partial
from pathlib import Path
from pipelines.worker.compile_processes import make_calls

def note(number):
    Path(sys.argv[1], f"{number}-{os.getpid()}").touch()

make_calls([partial(note, number) for number in range(30)], int(sys.argv[-1]))
"""
WAITING = """
import os, sys, time
from pathlib import Path
from pipelines.worker.compile_processes import make_calls

def wait():
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(600)

make_calls([wait], int(sys.argv[-1]))
"""
ASKING = """
import sys
from pipelines.worker.compile_processes import compile_in_processes

compile_in_processes([0], sys.argv[1:])
"""


def test_each_call_is_made_once_by_one_of_the_processes(tmp_path: Path) -> None:
    compile_in_processes(range(3, 30), ("-c", NOTING, str(tmp_path)))
    assert sorted(int(file.name.split("-")[0]) for file in tmp_path.iterdir()) == [*range(3, 30)]


def test_a_process_ends_with_the_one_that_has_asked_for_it(tmp_path: Path) -> None:
    file = tmp_path / "process"
    asking = subprocess.Popen([sys.executable, "-c", ASKING, "-c", WAITING, str(file)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not (file.exists() and file.read_text()):
            assert asking.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        asking.kill()
        asking.wait()
    compiling = int(file.read_text())
    deadline = time.monotonic() + 30
    while is_running(compiling):
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


def is_running(process: int) -> bool:
    """Whether a process has neither ended nor become a zombie."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
