"""Logs say what went wrong, and not what senders sent."""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DEFECT: Final = """
import structlog
from schemas.logs import configure_logs

def take(key):
    raise ZeroDivisionError("of a defect")

configure_logs()
try:
    take("awk_" + "secret")
except ZeroDivisionError:
    structlog.get_logger().exception("ingest_defect", format="native")
"""


def test_a_traceback_names_lines_and_no_values() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEFECT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "ingest_defect" in done.stdout
    assert "format=native" in done.stdout
    assert "Traceback (most recent call last)" in done.stdout
    assert "ZeroDivisionError: of a defect" in done.stdout
    assert "awk_secret" not in done.stdout + done.stderr
