"""The broker in the foreground: what `avila broker` runs."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Final

from schemas.errors import Unavailable
from schemas.settings import BROKER_PORT, CONTROLLER_PORT, Settings
from services.broker.install import install_kafka
from services.broker.process import Broker
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


def run_broker(settings: Settings, say: Callable[[str], None]) -> None:
    """Run the embedded broker until SIGINT or SIGTERM; report progress and its address to `say`.

    Raises:
        Unavailable: the broker ended by itself.
        Misconfigured, Unavailable: as `Broker.start`, and if the data directory is unusable.
    """
    prepare_data_dir(settings.data_dir)
    log_file = settings.data_dir / "logs" / "kafka.log"
    try:
        with _raising_on_signals():
            install_kafka(say)
            broker = Broker.start(
                settings.data_dir / "kafka",
                settings.host,
                settings.port(BROKER_PORT),
                settings.port(CONTROLLER_PORT),
                log_file=log_file,
            )
    except _StoppedError:
        return
    over = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: over.set())
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
