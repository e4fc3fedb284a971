"""What users of Faust know works on the columnar transport."""

import contextlib
import subprocess

from schemas.settings import Settings
from tests.conftest import PARTITIONS
from tests.kafka import Log
from tests.processes import eventually
from tests.sinks.processes import environment
from tests.workers import ROOT, WorkerProcess, faust

PLAIN = "tests.pipelines.plain_app"


def command(settings: Settings, *arguments: str, app: str = "pipelines.app") -> str:
    """What one of Faust's commands prints."""
    done = subprocess.run(
        [*faust(app), *arguments],
        env=environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_agents_and_tables_are_listed(settings: Settings) -> None:
    agents = command(settings, "agents")
    assert "track" in agents
    assert "analyse" in agents
    tables = command(settings, "tables")
    assert "dedup" in tables
    assert "persons" in tables


def test_agents_of_columns_and_of_messages_share_a_topic(settings: Settings) -> None:
    command(
        settings, "send", "--key-serializer", "raw", settings.topics.inbox.name, "one", app=PLAIN
    )
    with WorkerProcess(settings, app=PLAIN) as worker:
        worker.await_partitions(PARTITIONS)
        command(settings, "send", "@one_by_one", "two", app=PLAIN)
        with contextlib.closing(Log(settings.bootstrap, settings.topics.rejected.name)) as log:
            assert eventually(lambda: len(log.read()) >= 4, 120), worker.output
            found = log.read()
        assert worker.stop() == 0
    said = sorted(message.value() or b"" for message in found)
    assert said == sorted(
        b"%b %b" % (how, what) for how in (b"column", b"message") for what in (b"one", b"two")
    )
