"""The broker in the foreground: what `avila broker` runs."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Final

from schemas.errors import Misconfigured, Unavailable
from schemas.settings import BROKER_PORTS, CONTROLLER_PORTS, Settings
from services.broker.install import install_kafka
from services.broker.process import Broker
from services.broker.storage import storage_directory
from services.data_directory import prepare_data_dir

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class _StoppedError(BaseException):
    """A signal came before the broker was up."""


@contextlib.contextmanager
def _raising_on_signals() -> Iterator[None]:
    """Raise `_StoppedError` in the block when a signal asks us to end."""

    def stop(*_: object) -> None:
        raise _StoppedError

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_broker(settings: Settings, say: Callable[[str], None], number: int = 1) -> None:
    """Run an embedded broker until SIGINT or SIGTERM; report progress and its address to `say`.

    `number` says which one of several it is. It listens on an address of this machine alone unless
    the settings name another one: it lets in whoever reaches it.

    Raises:
        Unavailable: the broker ended by itself.
        Misconfigured, Unavailable: as `Broker.start`, and if the data directory is unusable or has
            the data of another number of brokers.
    """
    if number > settings.brokers:
        raise Misconfigured(f"there is no broker {number}: AVILA_BROKERS is {settings.brokers}")
    prepare_data_dir(settings.data_dir)
    directory = storage_directory(settings.data_dir, number, settings.brokers)
    directory.parent.mkdir(exist_ok=True)
    name = "kafka" if settings.brokers == 1 else f"kafka-{number}"
    log_file = settings.data_dir / "logs" / f"{name}.log"
    try:
        with _raising_on_signals():
            install_kafka(say)
            broker = Broker.start(
                directory,
                settings.local_host,
                settings.port(BROKER_PORTS[number - 1]),
                settings.port(CONTROLLER_PORTS[number - 1]),
                log_file=log_file,
                heap_mb=512 if settings.brokers == 1 else 320,
                number=number,
                controller_ports=[
                    settings.port(port) for port in CONTROLLER_PORTS[: settings.brokers]
                ],
            )
    except _StoppedError:
        return
    over = threading.Event()
    for kind in _SIGNALS:
        signal.signal(kind, lambda *_: over.set())
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
