"""The pinned jars of Kafka: which they are, and how each is fetched and verified."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final, NamedTuple

from schemas.errors import Misconfigured, Unavailable

_LOCK_FILE: Final = Path(__file__).with_name("kafka.lock")
_OWN_KAFKA: Final = "or set AVILA_KAFKA_BOOTSTRAP to a Kafka of your own"
_THREADS: Final = 8
_FETCH_TIMEOUT_S: Final = 30


class Jar(NamedTuple):
    """One pinned jar of the lock file."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        """Return the jar's file name, in the cache and on Maven Central."""
        return f"{self.artifact}-{self.version}.jar"


def _read_lock() -> tuple[Jar, ...]:
    lines = (line.split() for line in _LOCK_FILE.read_text("utf-8").splitlines())
    return tuple(Jar(sha256, *coordinate.split(":")) for sha256, coordinate in lines)


JARS: Final = _read_lock()
KAFKA_VERSION: Final = next(jar.version for jar in JARS if jar.artifact == "kafka_2.13")


def missing_jars(directory: Path) -> list[Jar]:
    """Return the jars that `directory` lacks, or holds with other contents than the pinned ones."""
    return [jar for jar in JARS if not is_intact(directory / jar.file_name, jar)]


def is_intact(path: Path, jar: Jar) -> bool:
    """Return whether the file at `path` has the contents of `jar`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def fetch_jars(
    jars: list[Jar], partial: Path, directory: Path, progress: Callable[[str], None] | None
) -> None:
    """Fetch `jars` into `directory`, several at once; report each to `progress`.

    Raises:
        Unavailable, Misconfigured: see `fetch_jar`; the other downloads are abandoned.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        fetches = {pool.submit(fetch_jar, jar, partial, directory): jar for jar in jars}
        try:
            for number, fetch in enumerate(as_completed(fetches), 1):
                fetch.result()
                if progress:
                    progress(f"{fetches[fetch].file_name} ({number} of {len(jars)})")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def fetch_jar(jar: Jar, partial: Path, directory: Path) -> None:
    """Fetch `jar` into `directory` by way of `partial`; only a verified jar arrives there.

    Raises:
        Unavailable: Maven Central does not answer.
        Misconfigured: what was downloaded is not the pinned jar.
    """
    # Imported late: only the first start needs it.
    from jgo.maven import MavenContext  # noqa: PLC0415

    maven = MavenContext(repo_cache=partial, timeout=_FETCH_TIMEOUT_S)
    artifact = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    try:
        path = artifact.resolve()
    except (OSError, RuntimeError) as error:
        raise Unavailable(
            f"Kafka {KAFKA_VERSION} is not in the cache and {jar.file_name} cannot be fetched from "
            f"Maven Central ({type(error).__name__}): go online for the first start, copy "
            f"{directory} from a machine that has it, {_OWN_KAFKA}"
        ) from error
    if not is_intact(path, jar):
        raise Misconfigured(
            f"the downloaded {jar.file_name} is not the pinned one (its SHA-256 differs): check "
            f"the proxies between this machine and Maven Central, {_OWN_KAFKA}"
        )
    path.replace(directory / jar.file_name)
