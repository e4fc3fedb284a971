"""Starts the processes of a system in order, keeps them running, stops them.

    broker ─▶ topics ─▶ first keys ─▶ store ─▶ worker, sink, ingest, query, notifier, registry

A process that ends by itself is restarted after a pause. The pause doubles with each restart, up to
half a minute, and starts again from half a second once the process has run for a minute. A process
that cannot run until the user changes something ends the system. At the end the processes are
stopped in reverse order, and killed if they do not stop in time.
"""

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final

from schemas.errors import Misconfigured, Unavailable
from schemas.settings import (
    GRPC_PORT,
    INGEST_PORT,
    QUERY_PORT,
    REGISTRY_PORT,
    STORE_PORT,
    Settings,
)
from services.broker import storage_directory, storage_in_use
from services.child_process import MISCONFIGURED
from services.data_directory import locked_data_dir, prepare_data_dir
from services.keys.first import ensure_first_keys
from services.supervisor.child import Child, Say
from services.supervisor.ports import check_ports, needed_ports
from services.supervisor.readiness import unready
from services.topics import ensure_topics, require_brokers
from sinks.store_password import password_file

_STOP_TIMEOUT_S: Final = 9.0
_BROKER_TIMEOUT_S: Final = 240.0
_KEYS_TIMEOUT_S: Final = 60.0
_PREDECESSOR_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.5
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def run_system(settings: Settings, say: Say) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP; return within ten seconds of the signal.

    Says what it waits for, and the addresses of the services once all of them can be used.

    Raises:
        Misconfigured: another system runs on the data directory or listens on the ports (nothing
            has been started then), a topic differs from its declaration, or a part cannot run.
        Unavailable: the broker did not start (the text is what it said last), or does not accept
            the first keys.
    """
    prepare_data_dir(settings.data_dir)
    if not settings.kafka_bootstrap:
        storage_directory(settings.data_dir, 1, settings.brokers)  # which may refuse the number
    with locked_data_dir(settings.data_dir) as abandoned:
        _System(settings, say).run(abandoned=abandoned)


class _System:
    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._stop, self._news = threading.Event(), threading.Event()
        self._backends: list[Child] = []  # what the other parts need: broker and store
        self._parts: list[Child] = []

    def run(self, *, abandoned: bool) -> None:
        def on_signal(number: int, _: FrameType | None) -> None:
            if number != signal.SIGCHLD:
                self._stop.set()
            self._news.set()

        before = {
            number: signal.signal(number, on_signal)
            for number in _SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN  # as under nohup
        }
        try:
            self._await_ports(_PREDECESSOR_TIMEOUT_S if abandoned else 0.0)
            self._start()
            self._tend()
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _await_ports(self, timeout_s: float) -> None:
        """Check that nothing is in our way; the processes of a killed system get `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        ports = needed_ports(self._settings)
        said = False
        while not self._stop.is_set():
            try:
                check_ports(ports)
                if not self._storage_in_use():
                    return
            except Misconfigured:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                return  # the broker itself says who uses its storage
            if not said:
                self._say("waiting for the processes of the previous system to end")
                said = True
            self._stop.wait(_POLL_S)

    def _storage_in_use(self) -> bool:
        settings = self._settings
        return not settings.kafka_bootstrap and any(
            storage_in_use(storage_directory(settings.data_dir, number, settings.brokers))
            for number in range(1, settings.brokers + 1)
        )

    def _start(self) -> None:
        settings = self._settings
        if not settings.kafka_bootstrap:
            numbers = range(1, settings.brokers + 1) if settings.brokers > 1 else ()
            self._backends = [Child("broker", settings, "--number", str(n)) for n in numbers] or [
                Child("broker", settings)
            ]
            for broker in self._backends:
                broker.start()
        self._await_topics(list(self._backends))
        if not self._stop.is_set():
            self._say(f"broker at {settings.bootstrap}")
        self._await_first_keys()
        if not settings.clickhouse_dsn:
            self._backends.append(Child("store", settings))
        names = ["worker", "sink", "ingest", "query", "notifier"]
        if not settings.schema_registry_url:
            names.append("registry")
        self._parts = [Child(name, settings) for name in names]

    def _tend(self) -> None:
        """Keep the processes running until `stop`, and say when all of them can be used."""
        children = [*self._backends, *self._parts]
        watch = threading.Thread(target=self._announce, args=(children,), daemon=True)
        watch.start()
        while not self._stop.is_set():
            self._news.clear()
            pauses = [child.tend(self._say) for child in children]
            self._news.wait(min((pause for pause in pauses if pause), default=None))

    def _announce(self, children: Sequence[Child]) -> None:
        """Say what is being waited for whenever that changes, and in the end the addresses."""
        said = ""
        while not self._stop.is_set():
            waiting = {
                child.name: unready(self._settings, child.name) if child.runs else "starting"
                for child in children
            }
            if not any(waiting.values()):
                self._say_addresses()
                return
            text = ", ".join(f"{name} ({state})" for name, state in waiting.items() if state)
            if text != said:
                self._say(f"waiting for {text}")
                said = text
            self._stop.wait(_POLL_S)

    def _say_addresses(self) -> None:
        settings = self._settings
        lines = [
            f"ready: events to http://{settings.local_address(INGEST_PORT)}/v1/events",
            f"  or by gRPC to {settings.local_address(GRPC_PORT)}",
            f"queries to http://{settings.local_address(QUERY_PORT)}/api",
        ]
        if not settings.clickhouse_dsn:
            lines.append(
                f"ClickHouse at http://{settings.local_address(STORE_PORT)}, user "
                f"{settings.clickhouse_user}, password in {password_file(settings)}"
            )
        if not settings.schema_registry_url:
            lines.append(f"schemas at http://{settings.local_address(REGISTRY_PORT)}/subjects")
        lines.append(f"logs in {settings.data_dir / 'logs'}; stop with Ctrl-C")
        self._say("\n".join(lines))

    def _end(self) -> None:
        self._stop.set()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for group in (self._parts, self._backends):  # the parts may still have rows to write
            for child in group:
                child.terminate()
            for child in group:
                child.reap(deadline)

    def _await_topics(self, brokers: Sequence[Child]) -> None:
        """Wait until the broker answers and every topic exists as declared, or `stop` is set."""
        deadline = time.monotonic() + _BROKER_TIMEOUT_S
        settings, said = self._settings, ""
        while not self._stop.is_set():
            try:
                require_brokers(settings.cluster, len(brokers), timeout_s=1)
                ensure_topics(
                    settings.cluster,
                    settings.topics,
                    partitions=settings.partitions,
                    replication_factor=settings.replication_factor,
                    timeout_s=1,
                )
            except Unavailable:
                for broker in brokers:
                    if broker.ended:
                        kind = Misconfigured if broker.code == MISCONFIGURED else Unavailable
                        raise kind(f"{broker.name}: {broker.last_words()}") from None
                if time.monotonic() > deadline:
                    raise
                words = dict.fromkeys(broker.last_words() for broker in brokers)
                doing = [text for text in words if text and not text.startswith("broker at")]
                state = ", ".join(doing) or "starting"
                if state != said:
                    self._say(f"waiting for the broker ({state})")
                    said = state
            else:
                return

    def _await_first_keys(self) -> None:
        """Create the first keys; retry, since a new broker is slow to start a transaction."""
        deadline = time.monotonic() + _KEYS_TIMEOUT_S
        while not self._stop.is_set():
            try:
                ensure_first_keys(self._settings, self._say)
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            else:
                return
