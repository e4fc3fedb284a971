"""A loop on a thread of its own that begins again whenever Kafka has failed it."""

import threading
from abc import ABC, abstractmethod
from typing import Final

import structlog
from confluent_kafka import KafkaException

log = structlog.get_logger(__name__)

_PAUSE_S: Final = 1.0


class KafkaLoop(ABC):
    """Runs `serve` until `stop`; what it raises of Kafka's starts it again from what is committed.

    Attributes:
        failure: what any other exception was; the process should end then.
        ready: whether it has its partitions.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self.ready = False
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self.stopped.set()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        self._thread.join(timeout_s)

    @abstractmethod
    def serve(self) -> None:
        """Work until `stopped` is set, from what was committed."""

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                self.serve()
            except KafkaException as error:
                log.warning("loop_restarts", loop=self.name, reason=str(error))
                self.ready = False
                self.stopped.wait(_PAUSE_S)
            except BaseException as error:
                log.exception("loop_failed", loop=self.name)
                self.failure = error
                return
