"""Kernels are compiled before a worker starts, and once on a machine."""

import re
import subprocess
import sys

from tests.workers import ROOT


def kernels_compiled() -> int:
    """How many kernels `make kernels` had to compile."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    ready = re.search(r"kernels ready\s+compiled=(\d+)", done.stdout + done.stderr)
    assert ready, done.stdout + done.stderr
    return int(ready[1])


def test_a_second_start_compiles_no_kernel() -> None:
    kernels_compiled()
    assert kernels_compiled() == 0


def test_no_definition_needs_a_kernel_that_was_not_compiled_before() -> None:
    """A funnel with a window of a month once stopped the worker for as long as that took."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.late_kernels"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stdout
