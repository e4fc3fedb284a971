"""Who waits for a restore is told how far it is."""

import pytest
from structlog.testing import capture_logs

from pipelines.worker import restore_progress as restoring


def test_a_restore_that_takes_long_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("pipelines.worker.restore_progress.time.monotonic", lambda: now)
    with capture_logs() as logs, restoring.told("events/0") as tell:
        tell("persons", 0.1)
        now = 6.0
        tell("persons", 0.25)
        tell("persons", 0.5)
    assert [(line["table"], line["read"]) for line in logs] == [("persons", "25%")]
