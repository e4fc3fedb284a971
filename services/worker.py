"""The stream worker as a process: Faust's own worker on our app."""

import os
import sys
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.settings import PREFIX, Settings

# Every epoch takes some tens of megabytes of columns and gives them back. Taken in large pages, and
# kept for the next epoch instead of being returned to the system, they cost less, the more the
# dearer a page fault is (as on virtual machines). Other allocators than glibc's take no notice.
# Python's own allocator keeps the small objects, of which a batch has a hundred thousand.
MEMORY: Final = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"
    ":glibc.malloc.mmap_threshold=1000000000"
    ":glibc.malloc.trim_threshold=1000000000",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def run_worker(settings: Settings) -> None:
    """Become a worker: does not return. It stops in order on SIGTERM and SIGINT.

    How memory is taken is set for it, where the environment does not say.
    """
    environment = MEMORY | os.environ | as_environment(settings)
    faust = [sys.executable, "-m", "faust", "-A", "pipelines.app"]
    command = [*faust, "worker", "-l", "info", "--without-web"]
    os.execve(sys.executable, command, environment)  # noqa: S606


def partitions_held(settings: Settings) -> int:
    """How many partitions of the event store the running workers have; 0 if Kafka is away."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": 0})
    try:
        (answer,) = admin.describe_consumer_groups([settings.app_id]).values()
        members = answer.result(timeout=10).members
    except (KafkaException, TimeoutError):
        return 0
    return sum(
        partition.topic == settings.topics.events.name
        for member in members
        for partition in member.assignment.topic_partitions
    )


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables that make another process read the same settings, wherever it is run."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    values["data_dir"] = settings.data_dir.absolute()
    return {PREFIX + name.upper(): str.__str__(str(value)) for name, value in values.items()}
