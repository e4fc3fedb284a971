"""Notifiers as processes of their own, which tests kill."""

import os
import subprocess
import sys

from schemas.settings import PREFIX, Settings
from services.worker import as_environment
from tests.ports import free_port_base


def start_notifier(settings: Settings, name: str = "one") -> "subprocess.Popen[bytes]":
    """Start a notifier that calls itself `name`."""
    other = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    own = {"AVILA_PORT_BASE": str(free_port_base()), "AVILA_WORKER_ID": name}
    return subprocess.Popen(
        [sys.executable, "-m", "services", "notifier"],
        env=other | as_environment(settings) | own,
    )
