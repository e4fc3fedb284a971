"""The system under attack: its processes, its doors, and how far its worker is."""

from collections.abc import Sequence
from typing import Final, cast

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from schemas.settings import INGEST_PORT, QUERY_PORT, Settings
from services.keys.first import read_token
from tests.faults.test_secured_kafka import avila
from tests.kafka import read_all

TIMEOUT_S: Final = 60.0
_SHOWN: Final = 3_000  # characters of a log


class System:
    """A system with everything in it, and two projects."""

    def __init__(self, settings: Settings, processes: Sequence[psutil.Process]) -> None:
        self.settings = settings
        self.processes = {process.pid: " ".join(process.cmdline()) for process in processes}
        self.key = self._key("hostile")
        self.quiet_key = self._key("quiet")
        self.token = read_token(settings)
        self.ingest = f"http://{settings.local_address(INGEST_PORT)}"
        self.api = f"http://{settings.local_address(QUERY_PORT)}/api/projects"

    def _key(self, project: str) -> str:
        return avila(self.settings, "keys", "create", "--project", project).split()[-1]

    def process(self, part: str) -> psutil.Process:
        """The process of a part; beside it, there may be one that watches over it."""
        own = [psutil.Process(pid) for pid, command in self.processes.items() if part in command]
        return max(own, key=lambda process: process.memory_info().rss)

    def assert_all_run(self) -> None:
        """No process has ended, or been started again."""
        for pid, command in self.processes.items():
            runs = psutil.pid_exists(pid)
            runs = runs and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
            assert runs, f"{command} has ended\n{self._ends_of_logs()}"

    def _ends_of_logs(self) -> str:
        logs = sorted((self.settings.data_dir / "logs").glob("*.log"))
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-_SHOWN:]}" for path in logs
        )

    def ends(self) -> dict[tuple[str, int], int]:
        """How far the inbox and the event store have come, by topic and partition."""
        topics = self.settings.topics
        return {
            (topic, cast(int, one.partition())): cast(int, one.offset()) + 1
            for topic in (topics.inbox.name, topics.events.name)
            for one in read_all(self.settings.cluster, topic)
        }

    def has_read(self, ends: dict[tuple[str, int], int]) -> bool:
        """Whether the worker has read, and committed, everything up to some offsets."""
        admin = AdminClient({"bootstrap.servers": self.settings.bootstrap})
        request = [ConsumerGroupTopicPartitions(self.settings.app_id)]
        (answer,) = admin.list_consumer_group_offsets(request).values()
        found = {
            (one.topic, one.partition): one.offset
            for one in answer.result(timeout=TIMEOUT_S).topic_partitions
        }
        return all(found.get(place, 0) >= end for place, end in ends.items())
