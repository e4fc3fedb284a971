"""The broker in the foreground: what `avila broker` runs."""

import signal
import threading
from collections.abc import Callable

from schemas.errors import Unavailable
from schemas.settings import BROKER_PORT, CONTROLLER_PORT, Settings
from services.broker.install import install_kafka
from services.broker.process import Broker


def run_broker(settings: Settings, say: Callable[[str], None]) -> None:
    """Run the embedded broker until SIGINT or SIGTERM; report progress and its address to `say`.

    Raises:
        Unavailable: the broker ended by itself.
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
