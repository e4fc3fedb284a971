"""The progress of a long restore is logged."""

import pytest
from structlog.testing import capture_logs

from pipelines.worker.restore_progress import progress_of


def test_a_restore_that_takes_long_logs_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("pipelines.worker.restore_progress.time.monotonic", lambda: now)
    with capture_logs() as logs, progress_of("events/0") as show:
        show("persons", 0.1)
        now = 6.0
        show("persons", 0.25)
        show("persons", 0.5)
    assert [(line["table"], line["read"]) for line in logs] == [("persons", "25%")]
