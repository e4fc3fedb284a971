"""The stream worker as a process: Faust's own worker on our app."""

import asyncio
import os
import re
import sys
import urllib.request
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.cluster import client_config
from schemas.kafka_properties import FILE_KEY, kafka_variables
from schemas.settings import PREFIX, WORKER_PORT, Settings
from services.data_directory import prepare_data_dir

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
# A worker that processes a partition, by its metrics: see `pipelines.worker.telemetry`.
_RESTORED: Final = re.compile(r"^avila_worker_partitions [1-9]", re.MULTILINE)


def run_worker(settings: Settings) -> None:
    """Replace this process by a worker; does not return. SIGTERM and SIGINT stop it in order.

    The environment's own settings of memory allocation take precedence over ours.
    """
    prepare_data_dir(settings.data_dir)
    environment = MEMORY | _kernel_cache(settings) | os.environ | as_environment(settings)
    faust = [sys.executable, "-m", "faust", "-A", "pipelines.app"]
    command = [*faust, "worker", "-l", "info", "--without-web"]
    os.execve(sys.executable, command, environment)  # noqa: S606


def _kernel_cache(settings: Settings) -> dict[str, str]:
    """Return where kernels are cached for a user without a home directory, which is the default."""
    try:
        Path.home()
    except RuntimeError:
        return {"NUMBA_CACHE_DIR": str(settings.data_dir.absolute() / "kernels")}
    return {}


def partitions_held(settings: Settings) -> int:
    """Return how many partitions of the event store workers hold; 0 if Kafka does not answer."""
    admin = AdminClient(client_config(settings.cluster, {"log_level": 0}))
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


def worker_unready(settings: Settings) -> str:
    """Return what the workers are doing before all partitions are processed; nothing after.

    The worker of this machine is asked for its progress. Blocks for up to ten seconds.
    """
    held = partitions_held(settings)
    try:
        metrics = get(f"http://{settings.local_address(WORKER_PORT)}/metrics", timeout_s=5)
    except OSError:
        # All partitions may be those of workers on other machines.
        return "" if held == settings.partitions else "starting"
    if held == 0:
        return "compiling its kernels, which takes minutes on the first start"
    if held < settings.partitions:
        return f"{held} of {settings.partitions} partitions are assigned"
    return "" if _RESTORED.search(metrics) else "restoring its state"


class WorkerCheck:
    """A readiness check that passes once the workers have processed all partitions at one time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._passed = False

    async def __call__(self) -> str:
        """Return what is being waited for; nothing if the check passes."""
        if self._passed:
            return ""
        state = await asyncio.to_thread(worker_unready, self._settings)
        self._passed = not state
        return state


class WorkersNow:
    """A check that passes while workers process all partitions, again each time it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self) -> str:
        """Return what is amiss; nothing if the check passes."""
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> str:
        settings = self._settings
        if not settings.kafka_bootstrap:  # the worker is on this machine
            try:
                get(f"http://{settings.local_address(WORKER_PORT)}/metrics", timeout_s=2)
            except OSError as error:
                # Kafka counts a killed worker as a member for ten seconds more.
                return f"the worker does not answer: {error}"
        held = partitions_held(settings)
        if held < settings.partitions:
            return f"{held} of {settings.partitions} partitions are processed"
        return ""


def get(url: str, *, timeout_s: float) -> str:
    """Return the body at an address of this machine, without any proxy.

    Raises:
        OSError: nothing answers there, or it answers with an error.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout_s) as answer:
        body: bytes = answer.read()
    return body.decode("utf-8", "replace")


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables from which another process reads the same settings."""
    values = {name: getattr(settings, name) for name in settings.__struct_fields__}
    # The properties are those of the file as well.
    del values["kafka_properties_file"], values["kafka_properties"]
    own = {PREFIX + name.upper(): _as_text(value) for name, value in values.items()}
    return own | {FILE_KEY: ""} | kafka_variables(settings.kafka_properties)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    # The other process may run in another directory.
    return str.__str__(str(value.absolute() if isinstance(value, Path) else value))
