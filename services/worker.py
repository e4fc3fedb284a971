"""The stream worker as a process: Faust's own worker on our app."""

import os
import sys
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.settings import PREFIX, Settings

# Every epoch allocates and frees some tens of megabytes of columns. Huge pages that are kept for
# the next epoch, instead of being returned to the system, save page faults, which are expensive
# on virtual machines. Allocators other than glibc's ignore these variables. Python's own
# allocator keeps the small objects, of which a batch has a hundred thousand.
MEMORY: Final = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"
    ":glibc.malloc.mmap_threshold=1000000000"
    ":glibc.malloc.trim_threshold=1000000000",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


def run_worker(settings: Settings) -> None:
    """Replace this process by a worker; does not return. SIGTERM and SIGINT stop it in order.

    The environment's own settings of memory allocation take precedence over ours.
    """
    environment = MEMORY | os.environ | as_environment(settings)
    faust = [sys.executable, "-m", "faust", "-A", "pipelines.app"]
    command = [*faust, "worker", "-l", "info", "--without-web"]
    os.execve(sys.executable, command, environment)  # noqa: S606


def partitions_held(settings: Settings) -> int:
    """Return how many partitions of the event store workers hold; 0 if Kafka does not answer."""
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
    """Return the environment variables from which another process reads the same settings."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    values["data_dir"] = settings.data_dir.absolute()
    return {PREFIX + name.upper(): str.__str__(str(value)) for name, value in values.items()}
